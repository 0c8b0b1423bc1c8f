"""The minimiser of G: Newton's method in control space, from an easy problem to the one asked for, on finer meshes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize
from scipy.sparse.linalg import LinearOperator, cg

from hamjl.control.certificate import Hermite
from hamjl.control.collocation import Mesh
from hamjl.control.transcription import Transcription
from hamjl.dynamics import full_dynamics_of
from hamjl.lowered import LawCode, NetworkField, SymbolicField

Array = NDArray[np.floating]

FACTOR = 3.0  # between the loss weights of two problems on the way
EASY = 0.03  # curvature of the loss, relative to that of the control's cost, from which the way begins
STAGES = 20  # on the way, at most
ROUGH = 1e-2  # tolerance on the way
POLISH = 10  # Newton steps without a trust region, where differences of G are lost in rounding
MOST = 4  # parts of one interval when a mesh is refined


@dataclass
class Minimum:
    """The best control found: states and costates of (12) at the nodes, its cost and how good it is."""

    curve: Hermite
    cost: float
    gradient: float  # Euclidean norm by the unknown of the transcription
    certificate: float  # the largest residual of (12), see `Hermite.residual`
    iterations: int
    status: str


class Search:
    """The search for the minimum of G over the controls.

    Parameters
    ----------
    field, initial, span : of the run; only x(0) and w(0) of `initial` are looked at.
    tolerance : of the certificate.
    nodes, max_nodes, max_iterations : of the first mesh, of the last, and of Newton's method in all.
    guess : (times (k,), v (k, control)), optional
        A control to start from.
    look : called now and then; what it raises ends the search.
    transcribe : what makes a transcription of a field, a mesh and initial values.
    """

    def __init__(
        self,
        field: NetworkField | SymbolicField,
        initial: Array,
        span: tuple[float, float],
        *,
        tolerance: float,
        nodes: int,
        max_nodes: int,
        max_iterations: int,
        guess: tuple[Array, Array] | None = None,
        look: Callable[[], None] = lambda: None,
        transcribe: Callable[..., Transcription] = Transcription,
    ) -> None:
        self.field, self.initial, self.tolerance = field, initial, tolerance
        self.max_nodes, self.max_iterations, self.look = max_nodes, max_iterations, look
        self.dynamics = full_dynamics_of(field, LawCode())
        self.iterations = 0
        stops = np.concatenate([np.zeros(0), *(table.stops for table in self.dynamics.signals())])
        self.transcribe = transcribe
        self.here = transcribe(field, Mesh.over(span, nodes, stops), initial)
        v = np.zeros(self.here.control.shape)
        if guess is not None:
            for k in range(v.shape[-1]):
                v[..., k] = np.interp(self.here.mesh.stages, guess[0], guess[1][:, k])
        self.best = self.here.control.unknown(v)
        self.warm = guess is not None
        self.whole: Transcription | None = None  # the problem asked for, while easier ones are solved

    def run(self) -> Minimum | None:
        """Search until the certificate meets the tolerance, or no further; None where no x was found to start from."""
        if not np.isfinite(self.here.cost(self.best)):
            self.best = np.zeros_like(self.best)
        if not np.isfinite(self.here.cost(self.best)):
            return None
        interrupted = False
        try:
            self._approach()
            while self._improve():
                pass
        except KeyboardInterrupt:
            interrupted = True
            self.here = self.whole or self.here
        if not np.isfinite(self.here.cost(self.best)):
            self.best = np.zeros_like(self.best)
        curve, gradient = self._curve(), self._gradient_norm()
        certificate = float(curve.residual().max())
        status = "interrupted" if interrupted else "success" if certificate <= self.tolerance else "uncertified"
        return Minimum(curve, self.here.cost(self.best), gradient, certificate, self.iterations, status)

    def _approach(self) -> None:
        """Go through problems with a growing weight of the loss, each solved roughly from the one before."""
        if self.warm or not isinstance(self.field, NetworkField):
            return
        gradient = self.here.gradient(self.best)
        size = float(gradient @ gradient)
        stiff = abs(float(gradient @ self.here.curvature(self.best, gradient))) / size if size else 0.0
        stages = int(np.ceil(np.log(max(stiff / EASY, 1.0)) / np.log(FACTOR)))
        whole = self.whole = self.here
        for k in range(min(stages, STAGES), 0, -1):
            easier = replace(self.field, loss_scale=self.field.loss_scale / FACTOR**k)
            self.here = self.transcribe(easier, whole.mesh, self.initial)
            self.here.guess = whole.guess
            self._descend(ROUGH * np.sqrt(abs(self.here.cost(self.best))))
            whole.guess = self.here.guess
        self.here, self.whole = whole, None
        if not np.isfinite(whole.cost(self.best)):  # the way led astray
            self.best = np.zeros_like(self.best)

    def _improve(self) -> bool:
        """Minimise on the present mesh; refine it where the certificate says so. False when there is no more to do."""
        mesh, field = self.here.mesh, self.field
        inertia = field.inertia if isinstance(field, NetworkField) else 1.0
        goal = self.tolerance / 10 * np.sqrt(inertia * float(self.here.measure.min()))
        self._descend(max(goal, 1e-5 * np.sqrt(abs(self.here.cost(self.best)))))
        self._polish(goal)
        residual = self._curve().residual()
        ratio = residual / self.tolerance
        if ratio.max() <= 1.0 or self.iterations >= self.max_iterations:
            return False
        parts = np.clip(np.ceil((1.3 * ratio) ** (1 / 3)), 1, MOST).astype(int)
        if parts.max() == 1 or parts.sum() > self.max_nodes:
            return False
        pieces = [
            np.linspace(a, b, k, endpoint=False) for a, b, k in zip(mesh.nodes[:-1], mesh.nodes[1:], parts, strict=True)
        ]
        return self._transfer(Mesh(np.append(np.concatenate(pieces), mesh.nodes[-1])))

    def _transfer(self, mesh: Mesh) -> bool:
        """Go on from the same control on another mesh, if x is found there."""
        curve = self._curve()
        finer = self.transcribe(self.field, mesh, self.initial)
        states = curve.at(mesh.stages.ravel()).reshape(*mesh.stages.shape, -1)
        finer.guess = states[..., : finer.model.states]
        unknown = finer.control.unknown(finer.model.best_control(states, finer.drive))
        if not np.isfinite(finer.cost(unknown)):
            return False
        self.here, self.best = finer, unknown
        return True

    def _descend(self, goal: float) -> None:
        """Newton's method with a trust region, its steps by truncated conjugate gradients (Steihaug)."""
        here = self.here

        def both(unknown: Array) -> tuple[float, Array]:
            self.look()
            cost = here.cost(unknown)
            return cost, here.gradient(unknown) if np.isfinite(cost) else np.full_like(unknown, np.nan)

        def accepted(unknown: Array) -> None:
            self.best = unknown.copy()
            self.iterations += 1

        left, cost = self.max_iterations - self.iterations, here.cost(self.best)
        if left <= 0 or not np.isfinite(cost):
            return
        radius = 3.0 * np.sqrt(abs(cost)) + 1e-3
        options = {"gtol": goal, "maxiter": left, "initial_trust_radius": radius, "max_trust_radius": 1e3 * radius}
        with np.errstate(all="ignore"):
            optimize.minimize(
                both, self.best, jac=True, hessp=here.curvature, method="trust-ncg", callback=accepted, options=options
            )

    def _polish(self, goal: float) -> None:
        """Newton steps judged by the gradient alone."""
        here, size = self.here, self._gradient_norm()
        if size <= goal:
            return
        operator = LinearOperator((self.best.size,) * 2, matvec=lambda d: here.curvature(self.best, d.ravel()))
        for _ in range(POLISH):
            self.look()
            step, _ = cg(operator, -here.gradient(self.best), rtol=1e-3, maxiter=200)
            if not np.isfinite(here.cost(self.best + step)):
                return
            tried = float(np.linalg.norm(here.gradient(self.best + step)))
            if not tried < size:
                return
            self.best, size = self.best + step, tried
            self.iterations += 1
            if size <= goal:
                return

    def _gradient_norm(self) -> float:
        return float(np.linalg.norm(self.here.gradient(self.best)))

    def _curve(self) -> Hermite:
        return Hermite(self.dynamics, self.here.mesh.nodes, self.here.nodes(self.best))
