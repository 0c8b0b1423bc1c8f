"""The minimum of G over controls: a race of many starts on a coarse mesh, the best of them followed to finer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hamjl.control import curvature
from hamjl.control.certificate import Hermite
from hamjl.control.collocation import Mesh
from hamjl.control.descent import Descent
from hamjl.control.starts import Path, Start, starts
from hamjl.control.transcription import Transcription, exact
from hamjl.dynamics import FullDynamics, full_dynamics_of
from hamjl.lowered import LawCode, NetworkField, SymbolicField

Array = NDArray[np.floating]

FACTOR = 3.0  # between the loss weights of two problems on the way
EASY = 0.03  # curvature of the loss, relative to that of the control's cost, from which the way begins
STAGES = 20  # on the way, at most
ROUGH = 1e-2  # tolerance on the way
ROUND = 6  # iterations between two drops of the worse half
ALIKE = 1e-4  # costs this near to each other are of one minimum
MOST = 4  # parts of one interval when a mesh is refined
PER_UNIT, PER_PERIOD = 2.0, 10.0  # intervals of the first mesh, by 1/c and by the period of the fastest signal
FEWEST, MANY = 40, 5000
ROUNDING = 1e-9  # of costs that are compared
LOSS, FEW = 0.02, 4  # of the cost, at most, where the control goes to a finer mesh, unless few intervals are cut
HORIZONS = (1 / 8, 1 / 4, 1 / 2)  # of the whole, on the way
ESCAPES = 3  # from saddles
EXACT = 1e-4  # of the cost, by which a given start's may differ on its first mesh


@dataclass
class Minimum:
    """The best control found: states and costates of (12) at the nodes, its cost and how good it is."""

    curve: Hermite
    path: Path  # of the driver itself: what is not a minimum does not follow (12) between the nodes
    cost: float
    gradient: float  # Euclidean norm by the unknown of the transcription
    certificate: float  # of all intervals the largest residual of (12), a root mean square: see `Hermite.residual`
    curvature: float  # the smallest found, in units of that of kinetic term and regulariser
    iterations: int
    ends: dict[str, float]  # cost at which each start ended or was dropped
    status: str


class Search:
    """The search for the minimum of G over the controls.

    Parameters
    ----------
    field, initial, span : of the run; only x(0) and w(0) of `initial` are looked at.
    tolerance : of the certificate.
    nodes, max_nodes, max_iterations : of the first mesh (0: as horizon, velocities and signals ask), of the last, and
        of Newton's method in all.
    starts : how many are tried.
    effort : by which the iterations before the worse half is dropped are multiplied.
    given : controls to start from, each as times (k,) and v (k, control).
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
        starts: int,
        effort: float = 1.0,
        given: Sequence[tuple[Array, Array]] = (),
        look: Callable[[], None] = lambda: None,
        transcribe: Callable[..., Transcription] = Transcription,
    ) -> None:
        self.field, self.initial, self.span, self.tolerance = field, initial, span, tolerance
        self.max_nodes, self.max_iterations, self.look = max_nodes, max_iterations, look
        self.count, self.effort, self.given, self.transcribe = starts, effort, given, transcribe
        self.dynamics = full_dynamics_of(field, LawCode())
        self.mesh = first_mesh(field, self.dynamics, span, nodes, max_nodes)
        self.running: dict[str, Descent] = {}
        self.ends: dict[str, float] = {}
        self.iterations, self.exact = 0, exact(field)
        self.best: Descent | None = None
        self.value = np.inf  # G of the best, apart from its mesh

    def run(self) -> Minimum | None:
        """Search until the certificate meets the tolerance, or no further; None where no x was found to start from."""
        interrupted = False
        try:
            self._begin()
            self._race()
            ranked = sorted(self.running.values(), key=lambda descent: descent.cost)
            for k, descent in enumerate(ranked):
                if k == 0 or descent.cost < self.value * (1 - ALIKE):
                    self._finish(descent)
        except KeyboardInterrupt:
            interrupted = True
            for descent in self.running.values():
                self._consider(descent)
        best = self.best
        if best is None:
            return None
        curve = self._curve(best)
        certificate = float(curve.residual().max())
        bend = np.nan if interrupted else curvature.smallest(best.problem, best.unknown)[0]
        status = "interrupted" if interrupted else "success" if certificate <= self.tolerance else "uncertified"
        path = best.problem.control.path(best.unknown)
        return Minimum(curve, path, best.cost, best.size(), certificate, bend, self.iterations, self.ends, status)

    # -- many starts -------------------------------------------------------------------------------------------------
    def _begin(self) -> None:
        """Put all starts on a mesh."""
        for k, (times, v) in enumerate(self.given):
            path = self.transcribe(self.field, self.mesh, self.initial).control.path_of(times, v)
            self._represent(Start("given" if len(self.given) == 1 else f"given {k}", path), times)
        for start in islice(starts(self.field, self.initial, self.span), max(0, self.count - len(self.given))):
            self.look()
            self._add(start.name, self._descent(start.path, self.mesh))
            if start.name == "rest":
                self._growing_loss()
                self._growing_horizon()

    def _descent(self, path: Path, mesh: Mesh) -> Descent:
        problem = self.transcribe(self.field, mesh, self.initial)
        return Descent(problem, problem.control.along(path), self.look)

    def _add(self, name: str, descent: Descent) -> None:
        self.ends[name] = descent.cost
        if np.isfinite(descent.cost):
            self.running[name] = descent

    def _represent(self, start: Start, knots: Array) -> None:
        """Take in a start, which may bend at some times, on a mesh so fine that its cost is right."""
        mesh = self.mesh.through(knots) if len(knots) <= len(self.mesh) else self.mesh
        here, finer = (self._descent(start.path, one) for one in (mesh, mesh.refined(2)))
        most = max(self.max_nodes, MANY) / 2
        while not abs(here.cost - finer.cost) <= EXACT * abs(finer.cost) and len(finer.problem.mesh) <= most:
            here, finer = finer, self._descent(start.path, finer.problem.mesh.refined(2))
        self._add(start.name, here if np.isfinite(here.cost) else finer)
        if np.isfinite(here.cost):
            self._consider(here)

    def _growing_loss(self) -> None:
        """Start from problems with a growing weight of the loss, each solved roughly from the one before."""
        whole = self.running.get("rest")
        if whole is None or not isinstance(self.field, NetworkField):
            return
        problem, unknown = whole.problem, whole.unknown
        gradient = problem.gradient(unknown)
        size = float(gradient @ gradient)
        stiff = abs(float(gradient @ problem.curvature(unknown, gradient))) / size if size else 0.0
        stages = int(np.ceil(np.log(max(stiff / EASY, 1.0)) / np.log(FACTOR)))
        for k in range(min(stages, STAGES), 0, -1):
            easier = replace(self.field, loss_scale=self.field.loss_scale / FACTOR**k)
            eased = Descent(self.transcribe(easier, problem.mesh, self.initial), unknown, self.look)
            eased.advance(ROUGH * np.sqrt(abs(eased.cost)), ROUND)
            self.iterations += eased.iterations
            unknown = eased.unknown
        again = self.transcribe(self.field, problem.mesh, self.initial)
        self._add("growing loss", Descent(again, unknown, self.look))

    def _growing_horizon(self) -> None:
        """Start from problems with a growing horizon, each solved roughly from the one before and nothing after it."""
        rest = self.running.get("rest")
        if rest is None:
            return
        path, nodes = rest.problem.control.path(rest.unknown), self.mesh.nodes
        for part in HORIZONS:
            shorter = self._descent(path, Mesh(nodes[: max(1, round(part * len(self.mesh))) + 1]))
            shorter.advance(ROUGH * np.sqrt(abs(shorter.cost)), 2 * ROUND)
            self.iterations += shorter.iterations
            path = held(shorter.problem.control.path(shorter.unknown), shorter.problem.mesh.nodes[-1])
        self._add("growing horizon", self._descent(path, self.mesh))

    def _race(self) -> None:
        """Let all descend, drop the worse half again and again, and all but one of those that meet."""
        budget = max(1, round(ROUND * self.effort))
        going = True
        while going and self.running and (len(self.running) > 1):
            going = False
            for name, descent in self.running.items():
                going |= self._advance(descent, ROUGH * np.sqrt(abs(descent.cost)), budget)
                self.ends[name] = descent.cost
            ranked = sorted(self.running, key=lambda name: self.running[name].cost)
            kept = list[str]()
            for name in ranked[: (len(ranked) + 1) // 2]:
                costs = [self.running[other].cost for other in kept]
                if all(abs(self.running[name].cost - cost) > ALIKE * abs(cost) for cost in costs):
                    kept.append(name)
            self.running = {name: self.running[name] for name in kept}

    def _advance(self, descent: Descent, goal: float, most: int) -> bool:
        left = min(most, self.max_iterations - self.iterations)
        before = descent.iterations
        more = descent.advance(goal, left)
        self.iterations += descent.iterations - before
        return more and self.iterations < self.max_iterations

    # -- one of them, to the end -------------------------------------------------------------------------------------
    def _finish(self, descent: Descent) -> None:
        """Minimise, and refine the mesh where the certificate says so, until it is met."""
        descent = self._descend(descent)
        for _ in range(ESCAPES):
            away = self._escape(descent)
            if away is None:
                break
            descent = self._descend(away)
        while True:
            self._consider(descent)
            finer = self._refine(descent)
            if finer is None:
                return
            descent = self._descend(finer)

    def _descend(self, descent: Descent) -> Descent:
        inertia = float(np.mean(self.field.inertia)) if isinstance(self.field, NetworkField) else 1.0
        goal = self.tolerance / 10 * np.sqrt(inertia * float(descent.problem.measure.min()))
        self._advance(descent, goal, self.max_iterations)
        return descent

    def _escape(self, descent: Descent) -> Descent | None:
        """From a saddle, to a lower point; None where this is none."""
        problem, unknown = descent.problem, descent.unknown
        if self.iterations >= self.max_iterations:
            return None
        bend, direction = curvature.smallest(problem, unknown)
        if not bend < -1e-6:
            return None
        length = np.sqrt(abs(descent.cost)) + 1e-3
        for _ in range(20):
            tried = min((unknown + length * direction, unknown - length * direction), key=problem.cost)
            if problem.cost(tried) < descent.cost:
                return Descent(problem, tried, self.look)
            length /= 2
        return None

    def _consider(self, descent: Descent) -> None:
        """Keep the best, by the cost that its control has on a mesh twice as fine."""
        value = self._on(descent, descent.problem.mesh.refined(2)).cost
        if not np.isfinite(value) and self.best is None:
            value = descent.cost
        if value <= self.value * (1 + ROUNDING):
            self.best, self.value = copy(descent), min(value, self.value)

    def _refine(self, descent: Descent) -> Descent | None:
        """The control on a mesh on which the certificate should hold; None where it does, or none finer is to be tried.

        Where that loses much of what was gained on the mesh so far, fewer intervals are cut at a time.
        """
        mesh, ratio = descent.problem.mesh, self._curve(descent).residual() / self.tolerance
        parts = np.clip(np.ceil((1.3 * ratio) ** (1 / 3)), 1, MOST).astype(int)
        finer = None
        while parts.max() > 1 and parts.sum() <= self.max_nodes and self.iterations < self.max_iterations:
            finer = self._on(descent, mesh.refined(parts))
            if finer.cost <= descent.cost + LOSS * abs(descent.cost) or (parts > 1).sum() < FEW:
                break
            parts = np.where(ratio > np.median(ratio[parts > 1]), np.minimum(parts, 2), 1)
        return finer if finer is not None and np.isfinite(finer.cost) else None

    def _on(self, descent: Descent, mesh: Mesh) -> Descent:
        """The same control on another mesh."""
        problem = self.transcribe(self.field, mesh, self.initial)
        states = self._curve(descent).at(mesh.stages.ravel()).reshape(*mesh.stages.shape, -1)
        problem.guess = states[..., : problem.model.states]
        path = descent.problem.control.path(descent.unknown)
        return Descent(problem, problem.control.along(path), self.look)

    def _curve(self, descent: Descent) -> Hermite:
        return Hermite(self.dynamics, descent.problem.mesh.nodes, descent.problem.nodes(descent.unknown))


def held(path: Path, last: float) -> Path:
    """A path that stays where it is at a time."""
    return lambda t: path(np.minimum(t, last))


def first_mesh(
    field: NetworkField | SymbolicField, dynamics: FullDynamics, span: tuple[float, float], nodes: int, most: int
) -> Mesh:
    """Evenly spaced intervals and a node at each stop; their number, if not given, follows velocities and signals."""
    length, tables = span[1] - span[0], dynamics.signals()
    if not nodes:
        waves = [np.abs(table.omega[table.amplitude != 0.0]) for table in tables]
        fastest = max((float(wave.max()) for wave in waves if wave.size), default=0.0)
        rate = float(field.velocity.mean()) if isinstance(field, NetworkField) else 0.0
        asked = length * max(PER_UNIT * rate, PER_PERIOD * fastest / (2 * np.pi))
        nodes = int(min(max(asked, FEWEST), max(FEWEST, min(most, MANY))))
    return Mesh.over(span, nodes, np.concatenate([np.zeros(0), *(table.stops for table in tables)]))
