"""Hamilton's equations of a network in NumPy: right-hand sides, sparse Jacobian, energies.

States may carry leading axes, (…, state), so one code serves the integrators and the analysis of whole trajectories.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import compile_program
from hamjl.dynamics.arcs import DenseArcs, ListedArcs
from hamjl.dynamics.loss import loss_of
from hamjl.lowered import LawCode, NetworkField
from hamjl.piecewise import Piecewise

Array = NDArray[np.floating]


class NetworkDynamics:
    """Equations (14), (18), (23) of a `NetworkField`, with costates divided by φ.

    A *drive* is a row (…, d + o + 1) of all that depends on time: inputs u, targets z, and ρ = φ'/φ.
    """

    parts: tuple[str, ...] = ("x", "w", "p_x", "p_w")

    def __init__(self, field: NetworkField, law: LawCode) -> None:
        self.field, self.law = field, law
        self.guess: Array = np.zeros(0)
        n, arcs = field.neurons, len(field.source)
        self.dimension = 2 * (n + arcs)
        self._x, self._w = slice(0, n), slice(n, n + arcs)
        self._p, self._pw = slice(n + arcs, 2 * n + arcs), slice(2 * n + arcs, self.dimension)
        dense = arcs == n * (field.inputs + n)
        self.arcs = DenseArcs(field) if dense else ListedArcs(field)
        self.activation = _Activation(field)
        self.loss = loss_of(field)
        self._regularizer = compile_program(field.regularizer, ["df"])
        self._regularizer_value = compile_program(field.regularizer, ["f"])
        self._regularizer_curvature = compile_program(field.regularizer, ["d2f"])
        self._rate = compile_program(field.dissipation, ["rate"])
        self._phi = compile_program(field.dissipation, ["f"])
        self._dissipative = field.dissipation.only(["rate"]).results != (("rate", "0"),)
        after = field.inputs
        self._signals = [*field.input_signals, *((table, after + columns) for table, columns in field.target_signals)]

    def split(self, y: Array) -> tuple[Array, Array, Array, Array]:
        """Views x, w, p_x/φ, p_w/φ of a state."""
        return y[..., self._x], y[..., self._w], y[..., self._p], y[..., self._pw]

    def restrict(self, y: Array) -> Array:
        """A copy of what is integrated: all of the state."""
        return y.copy()

    def full(self, y: Array, drive: Array) -> Array:
        """The full state: `y` itself."""
        return y

    # -- what depends on time ----------------------------------------------------------------------------------------
    def signals(self) -> list[Piecewise]:
        """All signal tables."""
        return [table for table, _ in self._signals]

    def drive(self, t: Array | float, inside: Array | float | None = None) -> Array:
        """The drive (…, d + o + 1) at times (…); with `inside`, on the pieces that are in force at those times."""
        t = np.asarray(t, dtype=np.float64)
        result = np.full((*t.shape, self.field.inputs + len(self.field.outputs) + 1), np.nan)
        for table, columns in self._signals:
            result[..., columns] = table.value(t, None if inside is None else table.piece(inside))
        result[..., -1] = self._rate(t)[0]
        return result

    def phi(self, t: Array) -> Array:
        """φ(t)."""
        return self._phi(t)[0] * np.ones_like(t)

    def slopes(self, t: Array, inside: Array | None = None) -> Array:
        """Time derivatives of u and z, (…, d + o)."""
        result = np.zeros((*t.shape, self.field.inputs + len(self.field.outputs)))
        for table, columns in self._signals:
            result[..., columns] = table.slope(t, None if inside is None else table.piece(inside))
        return result

    # -- the equations of motion -------------------------------------------------------------------------------------
    def rhs(self, y: Array, drive: Array, s: Any, out: Array) -> Array:
        """Write the time derivative of `y` to `out`; `s` is the sign s(t), a number or broadcastable to (…, 1)."""
        f = self.field
        x, w, p, pw = self.split(y)
        dx, dw, dp, dpw = self.split(out)
        sp = s * self.law.costate_sign
        v = np.concatenate((drive[..., : f.inputs], x), axis=-1) if f.inputs else x
        sigma, slope = self.activation(self.arcs.forward(w, v))
        g = f.velocity * slope * p
        np.multiply(s * f.velocity, sigma - x, out=dx)
        np.multiply(pw, -s / f.inertia, out=dw)
        back = f.velocity * p - self.arcs.backward(w, g)
        back[..., f.outputs] -= self.loss.gradient(x, drive)
        np.multiply(sp, back, out=dp)
        self.arcs.outer(g, v, dpw)
        if f.regularizer_scale:
            dpw += f.regularizer_scale * self._regularizer(w)[0]
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

        f, n = self.field, self.field.neurons
        x, w, p, _ = self.split(y)
        sc = s * self.law.costate_sign
        v = np.concatenate((drive[: f.inputs], x))
        _, slope, curvature = self.activation.with_curvature(self.arcs.forward(w, v))
        arc, inner = np.arange(len(w)), f.source >= f.inputs
        parent = f.source[inner] - f.inputs
        # da = a_x dx + a_w dw
        a_x = sp.csr_array((w[inner], (f.target[inner], parent)), shape=(n, n))
        a_w = sp.csr_array((v[f.source], (f.target, arc)), shape=(n, len(w)))
        first, second = sp.diags_array(f.velocity * slope), sp.diags_array(f.velocity * curvature * p)
        c, one = sp.diags_array(f.velocity), sp.eye_array(len(w))
        g = f.velocity * slope * p
        g_w = sp.csr_array(
            (g[f.target][inner], (parent, arc[inner])), shape=(n, len(w))
        )  # through w_ki in Σ_k w_ki g_k
        hessian = self.loss.hessian(x, drive)
        row, column = np.nonzero(hessian)
        loss_xx = sp.csr_array((hessian[row, column], (f.outputs[row], f.outputs[column])), shape=(n, n))
        rate = float(drive[-1])
        (bend,) = self._regularizer_curvature(w)
        v_ww = sp.diags_array(f.regularizer_scale * bend * np.ones(len(w)))
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
    def running_cost(self, y: Array, drive: Array) -> Array:
        """c ℓ = c (k V + q L), (…)."""
        (value,) = self._regularizer_value(y[..., self._w])
        total = (value * np.ones_like(y[..., self._w])).sum(axis=-1)
        return self.loss.value(y, drive) + self.field.regularizer_scale * total

    def kinetic(self, y: Array) -> Array:
        """(m c/2)|w'|² = |p_w/φ|²/(2 m c), (…)."""
        return (y[..., self._pw] ** 2).sum(axis=-1) / (2 * self.field.inertia)

    def lagrangian(self, y: Array, drive: Array) -> Array:
        """Λ/φ (…): running cost and kinetic term."""
        return self.running_cost(y, drive) + self.kinetic(y)

    def hamiltonian(self, y: Array, drive: Array) -> Array:
        """H/φ (…), equation (11)."""
        return self.running_cost(y, drive) - self.kinetic(y) + (y[..., self._p] * self._speed(y, drive)).sum(axis=-1)

    def normalized_costate(self, y: Array, drive: Array) -> Array:
        """λ_i = σ'(a_i) p_x^i/φ (…, neuron), equation (15)."""
        x, w, p, _ = self.split(y)
        v = np.concatenate((drive[..., : self.field.inputs], x), axis=-1)
        return self.activation(self.arcs.forward(w, v))[1] * p

    def local_gradient(self, y: Array, drive: Array) -> Array:
        """g_i x_j = c_i λ_i x_j (…, arc): what the law in the state `y` takes for ∂(c q L)/∂w_ij."""
        x, w, _, _ = self.split(y)
        result = np.empty(w.shape)
        v = np.concatenate((drive[..., : self.field.inputs], x), axis=-1)
        self.arcs.outer(self.field.velocity * self.normalized_costate(y, drive), v, result)
        return result

    def regularizer_slope(self, w: Array) -> Array:
        """∂V/∂w_ij (…, arc)."""
        return self._regularizer(w)[0] * np.ones_like(w)

    def equilibrium_residual(self, y: Array, drive: Array, rates: Array) -> Array:
        """`rates` with x and p_x replaced by the residuals of x = σ(a) and of (17), for the backprop limit."""
        at = self.rhs(y, drive, 1.0, np.empty_like(y))
        result = rates.copy()
        _, _, p, _ = self.split(y)
        result[..., self._x] = at[..., self._x] / self.field.velocity
        result[..., self._p] = (at[..., self._p] + drive[..., -1:] * p) / self.field.velocity
        return result

    def _speed(self, y: Array, drive: Array) -> Array:
        """f of x' = f (…, neuron), whatever the law's sign."""
        x, w, _, _ = self.split(y)
        v = np.concatenate((drive[..., : self.field.inputs], x), axis=-1)
        sigma, _ = self.activation(self.arcs.forward(w, v))
        return self.field.velocity * (sigma - x)

    def powers(self, t: Array, y: Array, s: Array, inside: Array | None = None) -> dict[str, Array]:
        """The terms that make up d(H/φ)/dt along the law, each (…).

        ``dissipation`` ρ (Λ/φ - H/φ); ``target`` c q ∂L/∂z·z'; ``input`` p_x·∂f/∂u·u'; ``reversal``, the work done
        because the law does not follow the Hamiltonian flow (zero for Cauchy and sign flip). `inside` is as in `drive`.
        """
        f, drive, slopes = self.field, self.drive(t, inside), self.slopes(t, inside)
        x, w, p, pw = self.split(y)
        rate = drive[..., -1]
        v = np.concatenate((drive[..., : f.inputs], x), axis=-1)
        _, slope = self.activation(self.arcs.forward(w, v))
        moving = np.concatenate((slopes[..., : f.inputs], np.zeros_like(x)), axis=-1)
        entering = (f.velocity * slope * p * self.arcs.forward(w, moving)).sum(axis=-1)
        plain = NetworkDynamics(f, LawCode()).rhs(y, drive, 1.0, np.empty_like(y))  # (H_p, -H_q) up to -ρp on p
        dx, dw, dp, dpw = self.split(plain)
        work = (dx * (dp + rate[..., None] * p)).sum(axis=-1) + (dw * (dpw + rate[..., None] * pw)).sum(axis=-1)
        return {
            "dissipation": rate * (self.lagrangian(y, drive) - self.hamiltonian(y, drive)),
            "target": self.loss.power(x, drive, slopes[..., f.inputs :]),
            "input": entering,
            "reversal": s * (self.law.costate_sign - 1) * work,
        }


class _Activation:
    """σ and σ' of all neurons, each by its own program."""

    def __init__(self, field: NetworkField) -> None:
        self.of = field.activation_of
        self.two = [compile_program(p, ["f", "df"]) for p in field.activations]
        self.three = [compile_program(p, ["f", "df", "d2f"]) for p in field.activations]

    def __call__(self, a: Array) -> tuple[Any, ...]:
        return self.two[0](a) if len(self.two) == 1 else self._each(self.two, a)

    def with_curvature(self, a: Array) -> tuple[Any, ...]:
        """σ, σ', σ''."""
        return self._each(self.three, a)

    def _each(self, functions: list[Any], a: Array) -> tuple[Any, ...]:
        results: tuple[Any, ...] = ()
        for k, function in enumerate(functions):
            columns = self.of == k
            values = function(a[..., columns])
            results = results or tuple(np.empty_like(a) for _ in values)
            for result, value in zip(results, values, strict=True):
                result[..., columns] = value
        return results
