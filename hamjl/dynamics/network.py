"""Hamilton's equations of a network in NumPy: right-hand sides, sparse Jacobian, energies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.dynamics.model import NetworkModel
from hamjl.lowered import LawCode, NetworkField

Array = NDArray[np.floating]


class NetworkDynamics(NetworkModel):
    """Equations (14), (18), (23) of a `NetworkField`, with costates divided by φ; states may carry leading axes."""

    parts: tuple[str, ...] = ("x", "w", "p_x", "p_w")

    def __init__(self, field: NetworkField, law: LawCode) -> None:
        super().__init__(field)
        self.law = law
        self.guess: Array = np.zeros(0)
        n, arcs = field.neurons, len(field.source)
        self.dimension = 2 * (n + arcs)
        self._x, self._w = slice(0, n), slice(n, n + arcs)
        self._p, self._pw = slice(n + arcs, 2 * n + arcs), slice(2 * n + arcs, self.dimension)
        self._dissipative = field.dissipation.only(["rate"]).results != (("rate", "0"),)

    def split(self, y: Array) -> tuple[Array, Array, Array, Array]:
        """Views x, w, p_x/φ, p_w/φ of a state."""
        return y[..., self._x], y[..., self._w], y[..., self._p], y[..., self._pw]

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
        x, w, p, _ = self.split(y)
        sc = s * self.law.costate_sign
        at = self.at(x, w, drive)
        arc, parent = np.arange(len(w)), f.source[inner] - f.inputs
        # da = a_x dx + a_w dw
        a_x = sp.csr_array((w[inner], (f.target[inner], parent)), shape=(n, n))
        a_w = sp.csr_array((at.v[f.source], (f.target, arc)), shape=(n, len(w)))
        first, second = sp.diags_array(at.gain), sp.diags_array(f.velocity * at.curvature * p)
        c, one = sp.diags_array(f.velocity), sp.eye_array(len(w))
        g = at.gain * p
        g_w = sp.csr_array((g[f.target[inner]], (parent, inner)), shape=(n, len(w)))  # through w_ki in Σ_k w_ki g_k
        hessian = self.loss.hessian(x, drive)
        row, column = np.nonzero(hessian)
        loss_xx = sp.csr_array((hessian[row, column], (f.outputs[row], f.outputs[column])), shape=(n, n))
        rate = float(drive[-1])
        v_ww = sp.diags_array(f.regularizer_scale * self.regularizer_curvature(w))
        blocks = [
            [s * (first @ a_x - c), s * (first @ a_w), None, None],
            [None, sp.csr_array((len(w), len(w))), None, -s / f.inertia * one],
            [
                -sc * (a_x.T @ second @ a_x + loss_xx),
                -sc * (a_x.T @ second @ a_w + g_w),
                sc * (c - a_x.T @ first) - rate * sp.eye_array(n),
                None,
            ],
            [
                -sc * (a_w.T @ second @ a_x + g_w.T),
                -sc * (a_w.T @ second @ a_w + v_ww),
                -sc * (a_w.T @ first),
                -rate * one,
            ],
        ]
        return sp.block_array(blocks, format="csc")

    # -- energies ----------------------------------------------------------------------------------------------------
    def kinetic(self, y: Array) -> Array:
        """(m c/2)|w'|² = |p_w/φ|²/(2 m c), (…)."""
        return (y[..., self._pw] ** 2).sum(axis=-1) / (2 * self.field.inertia)

    def lagrangian(self, y: Array, drive: Array) -> Array:
        """Λ/φ (…): running cost and kinetic term."""
        return self.cost(y[..., self._x], y[..., self._w], drive) + self.kinetic(y)

    def hamiltonian(self, y: Array, drive: Array) -> Array:
        """H/φ (…), equation (11)."""
        x, w, p, _ = self.split(y)
        return self.cost(x, w, drive) - self.kinetic(y) + (p * self.at(x, w, drive).speed()).sum(axis=-1)

    def normalized_costate(self, y: Array, drive: Array) -> Array:
        """λ_i = σ'(a_i) p_x^i/φ (…, neuron), equation (15)."""
        x, w, p, _ = self.split(y)
        return self.at(x, w, drive).slope * p

    def local_gradient(self, y: Array, drive: Array) -> Array:
        """g_i x_j = c_i λ_i x_j (…, arc): what the law in the state `y` takes for ∂(c q L)/∂w_ij."""
        x, w, p, _ = self.split(y)
        return self.at(x, w, drive).driver_by_costate(p)

    def equilibrium_residual(self, y: Array, drive: Array, rates: Array) -> Array:
        """`rates` with x and p_x replaced by the residuals of x = σ(a) and of (17), for the backprop limit."""
        x, w, p, _ = self.split(y)
        at, result = self.at(x, w, drive), rates.copy()
        result[..., self._x] = at.sigma - x
        result[..., self._p] = at.by_state(p) / self.field.velocity
        return result

    def powers(self, t: Array, y: Array, s: Array, inside: Array | None = None) -> dict[str, Array]:
        """The terms that make up d(H/φ)/dt along the law, each (…).

        ``dissipation`` ρ (Λ/φ - H/φ); ``target`` c q ∂L/∂z·z'; ``input`` p_x·∂f/∂u·u'; ``reversal``, the work done
        because the law does not follow the Hamiltonian flow (zero for Cauchy and sign flip). `inside` is as in `drive`.
        """
        f, drive, slopes = self.field, self.drive(t, inside), self.slopes(t, inside)
        x, w, p, pw = self.split(y)
        at = self.at(x, w, drive)
        flow = (p * at.speed()).sum(axis=-1)
        entering = self.arcs.forward(w, np.concatenate((slopes[..., : f.inputs], np.zeros_like(x)), axis=-1))
        work = (pw * at.by_driver(p)).sum(axis=-1) / f.inertia - (at.speed() * at.by_state(p)).sum(axis=-1)
        return {
            "dissipation": drive[..., -1] * (2 * self.kinetic(y) - flow),
            "target": self.loss.power(x, drive, slopes[..., f.inputs :]),
            "input": (at.gain * p * entering).sum(axis=-1),
            "reversal": s * (self.law.costate_sign - 1) * work,
        }
