"""The backprop limit (20): x and p_x at equilibrium at every instant, f(x, a) = 0 and (17)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.dynamics.network import NetworkDynamics
from hamjl.lowered import LawCode, NetworkField
from hamjl.network import depths

Array = NDArray[np.floating]


STEPS, SMALL = 200, 1e-12  # of Newton's method, and its tolerance


class NoFixedPointError(ArithmeticError):
    """f(x, a) = 0, that is x = σ(a), was not solved."""


class LimitDynamics:
    """Equation (20): x and p_x at the equilibrium of (18) for the present w, so the state is (w, p_w/φ) alone."""

    def __init__(self, field: NetworkField) -> None:
        self.inner = NetworkDynamics(field, LawCode(costate_sign=-1))
        self.field = field
        self.dimension = 2 * field.moving
        depth = depths(field.inputs, field.neurons, field.source, field.target)
        self._order = None if depth is None else [np.flatnonzero(depth == k) for k in range(depth.max() + 1)]
        self.guess: Array = np.zeros(field.neurons)  # where a cyclic graph's fixed point was last found
        self.signals, self.drive = self.inner.signals, self.inner.drive

    def restrict(self, y: Array) -> Array:
        """The state (w, p_w/φ) of a full state; x is kept as the guess of the fixed point."""
        x, w, _, pw = self.inner.split(y)
        self.guess = x.copy()
        return np.concatenate((w, pw))

    def full(self, y: Array, drive: Array) -> Array:
        """The full state (x, w, p_x/φ, p_w/φ), equations (7) with c → ∞ and (17)."""
        w, pw = np.split(y, 2)
        x = self.rest(w, drive)
        return np.concatenate((x, w, self._backward(w, x, drive), pw))

    def rhs(self, y: Array, drive: Array, s: float, out: Array) -> Array:
        """Write the time derivative of (w, p_w/φ) to `out`."""
        full = self.full(y, drive)
        _, dw, _, dpw = self.inner.split(self.inner.rhs(full, drive, s, np.empty_like(full)))
        np.concatenate((dw, dpw), out=out)
        return out

    def lead(self, dy: Array, s: Any, step: float) -> Array:
        """Let w' in `dy` follow from the p_w at the end of a step, in place."""
        dw, dpw = np.split(dy, 2)
        dw -= s * step / self.field.inertia * dpw
        return dy

    def jacobian(self, y: Array, drive: Array, s: float) -> Array:
        """∂(rhs)/∂y, dense: the Schur complement of (18)'s Jacobian after x and p_x are eliminated."""
        still = drive.copy()
        still[-1] = 0.0  # -ρ p_x vanishes beside c p_x in the limit
        jac = self.inner.jacobian(self.full(y, drive), still, s).toarray()
        n, moving = self.field.neurons, self.field.moving
        fast = np.r_[0:n, n + moving : 2 * n + moving]
        slow = np.setdiff1d(np.arange(len(jac)), fast)
        inner = np.linalg.solve(jac[np.ix_(fast, fast)], jac[np.ix_(fast, slow)])
        result: Array = jac[np.ix_(slow, slow)] - jac[np.ix_(slow, fast)] @ inner
        result[moving:, moving:] -= drive[-1] * np.eye(moving)
        return result

    def rest(self, w: Array, drive: Array) -> Array:
        """x with f(x, a) = 0, that is x = σ(a), by layers on a DAG, where the drive may have leading axes.

        Raises
        ------
        NoFixedPointError
            Where none was found, on a cyclic graph or of a formula f.
        """
        if self._order is None:
            return self._fixed_point(w, drive)
        x = np.zeros((*drive.shape[:-1], self.field.neurons))
        for layer in self._order:
            x[..., layer] = self._settled(x, w, drive, layer)
        return x

    def _settled(self, x: Array, w: Array, drive: Array, layer: NDArray[np.intp]) -> Array:
        """x of neurons whose a does not depend on it, (…, layer)."""
        if self.field.leaky:  # x of the layer is 0 until here
            value: Array = self.inner.at(x, w, drive).value[..., layer]
            return value
        x = x.copy()
        for _ in range(STEPS):
            at = self.inner.at(x, w, drive)
            x[..., layer] -= (at.value / at.decay)[..., layer]
            if np.abs(at.value[..., layer]).max(initial=0.0) <= SMALL * (1.0 + np.abs(x[..., layer]).max(initial=0.0)):
                return x[..., layer]
        raise NoFixedPointError

    def _fixed_point(self, w: Array, drive: Array) -> Array:
        """x with f(x, a) = 0 on a cyclic graph, by pseudo-transient continuation from where it last was.

        These are implicit steps of (7), longer and longer, so that equilibria which (7) would reach are found.
        """
        x, pace, before = self.guess, 1.0, np.inf
        one, matrix = np.eye(len(x)), self.inner.recurrent(self.inner.weights.spread(w))
        for _ in range(STEPS):
            at = self.inner.at(x, w, drive)
            residual = at.value
            size = float(np.abs(residual).max())
            if size <= SMALL * (1.0 + float(np.abs(x).max())):
                self.guess = x
                return x
            pace = min(pace * (before / size if np.isfinite(before) else 1.0), 1e12)
            before = size
            x = x + _solve((1.0 / pace - at.decay) * one - at.slope[:, None] * matrix, residual)
            if not np.isfinite(x).all():
                break
        raise NoFixedPointError

    def _backward(self, w: Array, x: Array, drive: Array) -> Array:
        """p_x/φ: -c_i ∂f/∂x p_i = Σ_k w_ki g_k + c q ∂L/∂x_i with g_k = c_k ∂f/∂a p_k, the delta rule (17)."""
        at = self.inner.at(x, w, drive)
        source, slope = at.cost_by_state(), -at.slope / at.decay
        if self._order is None:
            total = _solve(np.eye(len(x)) - self.inner.recurrent(at.w).T * slope, source)
        else:
            total = source.copy()
            for layer in reversed(self._order):
                total[layer] = (source + self.inner.arcs.backward(at.w, slope * total))[layer]
        return total / (-self.field.velocity * at.decay)


def _solve(matrix: Array, rhs: Array) -> Array:
    try:
        return np.linalg.solve(matrix, rhs)
    except np.linalg.LinAlgError:
        raise NoFixedPointError from None
