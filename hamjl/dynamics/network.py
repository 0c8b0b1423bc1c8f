"""Hamilton's equations of a network in NumPy: right-hand sides, sparse Jacobian, energies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.dynamics.model import NetworkModel
from hamjl.lowered import LawCode, NetworkField
from hamjl.piecewise import Piecewise

Array = NDArray[np.floating]


class NetworkDynamics(NetworkModel):
    """Equations (14), (18), (23) of a `NetworkField`, with costates divided by φ; states may carry leading axes."""

    parts: tuple[str, ...] = ("x", "w", "p_x", "p_w")

    def __init__(self, field: NetworkField, law: LawCode) -> None:
        super().__init__(field)
        self.law = law
        self.guess: Array = np.zeros(0)
        n, moving = field.neurons, field.moving
        self.dimension = 2 * (n + moving)
        self._x, self._w = slice(0, n), slice(n, n + moving)
        self._p, self._pw = slice(n + moving, 2 * n + moving), slice(2 * n + moving, self.dimension)
        phi = field.dissipation
        self._dissipative = isinstance(phi, Piecewise) or phi.only(["rate"]).results != (("rate", "0"),)

    def split(self, y: Array) -> tuple[Array, Array, Array, Array]:
        """Views x, w, p_x/φ, p_w/φ of a state; of the weights that move."""
        return y[..., self._x], y[..., self._w], y[..., self._p], y[..., self._pw]

    def labelled(self, y: Array, *, change: bool = False) -> dict[str, Array]:
        """The parts of a state by the names in `parts`: w of all arcs, p_w of all weights; or of a change of it."""
        x, w, p, pw = self.split(y)
        every = np.zeros((*pw.shape[:-1], self.weights.count(pw.shape[-1])))
        every[..., self.weights.moving] = pw
        spread = self.weights.tangent(w) if change else self.weights.spread(w)
        return dict(zip(self.parts, (x, spread, p, every), strict=True))

    def packed(self, values: Mapping[str, Array]) -> Array:
        """The states (…, state) of what `labelled` gives; NaN for the parts that are left out."""
        given = dict(values)
        if "w" in given:
            given["w"] = self.weights.known(given["w"])
        if "p_w" in given:
            given["p_w"] = given["p_w"][..., self.weights.moving]
        shape = next(iter(given.values())).shape[:-1]
        sizes = (self.field.neurons, self.field.moving, self.field.neurons, self.field.moving)
        parts = [given.get(name, np.full((*shape, k), np.nan)) for name, k in zip(self.parts, sizes, strict=True)]
        return np.concatenate(parts, axis=-1)

    def restrict(self, y: Array) -> Array:
        """A copy of what is integrated: all of the state."""
        return y.copy()

    def full(self, y: Array, drive: Array) -> Array:
        """The full state: `y` itself."""
        return y

    # -- the equations of motion -------------------------------------------------------------------------------------
    def rhs(self, y: Array, drive: Array, s: Any, out: Array) -> Array:
        """Write the time derivative of `y` to `out`; `s` is the sign s(t), a number or broadcastable to (…, 1)."""
        x, w, p, pw = self.split(y)
        dx, dw, dp, dpw = self.split(out)
        sp = s * self.law.costate_sign
        at = self.at(x, w, drive)
        np.multiply(s, at.speed(), out=dx)
        np.multiply(pw, -s / self.field.inertia, out=dw)
        np.multiply(-sp, at.by_state(p), out=dp)
        at.by_driver(p, dpw)
        dpw *= -sp
        if self._dissipative:
            rate = drive[..., -1:]
            dp -= rate * p
            dpw -= rate * pw
        return out

    def lead(self, dy: Array, s: Any, step: float) -> Array:
        """Let w' in `dy` follow from the p_w at the end of a step, in place."""
        dy[..., self._w] -= s * step / self.field.inertia * dy[..., self._pw]
        return dy

    def jacobian(self, y: Array, drive: Array, s: float) -> Any:
        """∂(rhs)/∂y as a sparse CSC matrix (state, state), for one state."""
        import scipy.sparse as sp

        f, n, inner = self.field, self.field.neurons, self.inner
        x, driver, p, _ = self.split(y)
        sc = s * self.law.costate_sign
        at = self.at(x, driver, drive)
        arc, parent, moving = np.arange(len(f.source)), f.source[inner] - f.inputs, f.moving
        # da = a_x dx + a_w dw
        a_x = sp.csr_array((at.w[inner], (f.target[inner], parent)), shape=(n, n))
        a_w = sp.csr_array((at.v[f.source], (f.target, arc)), shape=(n, len(arc)))
        slope, one = sp.diags_array(at.gain), sp.eye_array(moving)
        g, decay = at.gain * p, sp.diags_array(np.broadcast_to(f.velocity * at.decay, n))
        g_w = sp.csr_array((g[f.target[inner]], (parent, inner)), shape=(n, len(arc)))  # through w_ki in Σ_k w_ki g_k
        by_a, mixed, by_xx = at.curvature
        second = sp.diags_array(f.velocity * by_a * p)
        hessian = self.loss.hessian(x, drive)
        row, column = np.nonzero(hessian)
        pull_x = sp.csr_array((hessian[row, column], (f.outputs[row], f.outputs[column])), shape=(n, n))
        pull_x = pull_x + a_x.T @ second @ a_x
        pull_w = a_x.T @ second @ a_w + g_w
        if mixed is not None and by_xx is not None:
            cross = sp.diags_array(f.velocity * mixed * p)
            pull_x = pull_x + a_x.T @ cross + cross @ a_x + sp.diags_array(f.velocity * by_xx * p)
            pull_w = pull_w + cross @ a_w
        twist = a_w.T @ second @ a_w
        if f.weights is not None:
            spread = sp.csr_array(self.weights.tangent(np.eye(moving)).T)
            a_w, pull_w, twist = a_w @ spread, pull_w @ spread, spread.T @ twist @ spread
        rate, speed = float(drive[-1]), sp.diags_array(np.broadcast_to(-s / f.inertia, moving))
        v_ww = sp.diags_array(self.cost_by_weight(self.regularizer_curvature, driver))
        blocks = [
            [s * (slope @ a_x + decay), s * (slope @ a_w), None, None],
            [None, sp.csr_array((moving, moving)), None, speed],
            [-sc * pull_x, -sc * pull_w, -sc * (decay + a_x.T @ slope) - rate * sp.eye_array(n), None],
            [-sc * pull_w.T, -sc * (twist + v_ww), -sc * (a_w.T @ slope), -rate * one],
        ]
        return sp.block_array(blocks, format="csc")

    # -- energies ----------------------------------------------------------------------------------------------------
    def kinetic(self, y: Array) -> Array:
        """(m c/2)|w'|² = |p_w/φ|²/(2 m c), (…)."""
        inertia = self.field.inertia
        if np.ndim(inertia):
            return (y[..., self._pw] ** 2 / (2 * inertia)).sum(axis=-1)
        return (y[..., self._pw] ** 2).sum(axis=-1) / (2 * inertia)

    def lagrangian(self, y: Array, drive: Array) -> Array:
        """Λ/φ (…): running cost and kinetic term."""
        return self.cost(y[..., self._x], y[..., self._w], drive) + self.kinetic(y)

    def hamiltonian(self, y: Array, drive: Array) -> Array:
        """H/φ (…), equation (11)."""
        x, w, p, _ = self.split(y)
        return self.cost(x, w, drive) - self.kinetic(y) + (p * self.at(x, w, drive).speed()).sum(axis=-1)

    def normalized_costate(self, y: Array, drive: Array) -> Array:
        """λ_i = ∂f/∂a p_x^i/φ (…, neuron), equation (15): σ'(a_i) p_x^i/φ where neurons are leaky."""
        x, w, p, _ = self.split(y)
        return self.at(x, w, drive).slope * p

    def local_gradient(self, y: Array, drive: Array) -> Array:
        """g_i x_j = c_i λ_i x_j (…, arc): what the law in the state `y` takes for ∂(c q L)/∂w_ij."""
        x, w, p, _ = self.split(y)
        return self.at(x, w, drive).arc_by_costate(p)

    def equilibrium_residual(self, y: Array, drive: Array, rates: Array) -> Array:
        """`rates` with x and p_x replaced by the residuals of f(x, a) = 0 and of (17), for the backprop limit."""
        x, w, p, _ = self.split(y)
        at, result = self.at(x, w, drive), rates.copy()
        result[..., self._x] = at.value
        result[..., self._p] = at.by_state(p) / self.field.velocity
        return result

    def powers(self, t: Array, y: Array, s: Array, inside: Array | None = None) -> dict[str, Array]:
        """The terms that make up d(H/φ)/dt along the law, each (…).

        ``dissipation`` ρ (Λ/φ - H/φ); ``target`` c q ∂L/∂z·z'; ``input`` p_x·∂f/∂u·u'; ``reversal``, the work done
        because the law does not follow the Hamiltonian flow (zero for Cauchy and sign flip); ``loss_weight`` c L·q',
        where losses have weights of their own. `inside` is as in `drive`.
        """
        f, drive, slopes = self.field, self.drive(t, inside), self.slopes(t, inside)
        behind = f.inputs + len(f.outputs)
        x, w, p, pw = self.split(y)
        at = self.at(x, w, drive)
        flow = (p * at.speed()).sum(axis=-1)
        entering = self.arcs.forward(at.w, np.concatenate((slopes[..., : f.inputs], np.zeros_like(x)), axis=-1))
        work = (pw * at.by_driver(p) / f.inertia).sum(axis=-1) - (at.speed() * at.by_state(p)).sum(axis=-1)
        own = {"loss_weight": self.loss.weight_power(x, drive, slopes[..., behind:])} if f.loss_weights else {}
        return {
            "dissipation": drive[..., -1] * (2 * self.kinetic(y) - flow),
            "target": self.loss.power(x, drive, slopes[..., f.inputs : behind]),
            "input": (at.gain * p * entering).sum(axis=-1),
            "reversal": s * (self.law.costate_sign - 1) * work,
            **own,
        }
