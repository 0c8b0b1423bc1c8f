"""Hamilton's equations of a small symbolic system in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import compile_program
from hamjl.dynamics.model import dissipation
from hamjl.lowered import LawCode, SymbolicField
from hamjl.piecewise import Piecewise

Array = NDArray[np.floating]


class SymbolicDynamics:
    """``x' = s ∂h/∂p``, ``p' = -s κ ∂h/∂x - ρ p`` with h = H/φ, p = p_x/φ and κ the law's costate sign.

    A *drive* is a row (…, signal + 2): the signals, t, and ρ.
    """

    parts: tuple[str, ...] = ("x", "p_x")

    def __init__(self, field: SymbolicField, law: LawCode) -> None:
        self.field, self.law = field, law
        self.guess: Array = np.zeros(0)
        self.dimension = 2 * field.states
        n, k = field.states, len(field.signals)
        self._flow = compile_program(field.program, [*_labels("h_p", n), *_labels("h_x", n)])
        self._second = compile_program(field.program, [f"j_{i}_{j}" for i in range(2 * n) for j in range(2 * n)])
        self._energy = compile_program(field.program, ["h"])
        self._by_time = compile_program(field.program, [*_labels("h_u", k), "h_t"])
        self._cost = compile_program(field.program, ["cost"])
        self._controls = compile_program(field.program, _labels("v", field.controls))
        self.phi, self._rate = dissipation(field.dissipation)

    def split(self, y: Array) -> tuple[Array, ...]:
        n = self.field.states
        return y[..., :n], y[..., n:]

    def labelled(self, y: Array, *, change: bool = False) -> dict[str, Array]:
        return dict(zip(self.parts, self.split(y), strict=True))

    def packed(self, values: Mapping[str, Array]) -> Array:
        shape = (*next(iter(values.values())).shape[:-1], self.field.states)
        return np.concatenate([values.get(name, np.full(shape, np.nan)) for name in self.parts], axis=-1)

    def restrict(self, y: Array) -> Array:
        return y.copy()

    def full(self, y: Array, drive: Array) -> Array:
        return y

    def signals(self) -> list[Piecewise]:
        log_phi = [self.field.dissipation] if isinstance(self.field.dissipation, Piecewise) else []
        return [*self.field.signals, *log_phi]

    def drive(self, t: Array | float, inside: Array | float | None = None) -> Array:
        t = np.asarray(t, dtype=np.float64)
        result = np.empty((*t.shape, len(self.field.signals) + 2))
        for k, table in enumerate(self.field.signals):
            result[..., k] = table.value(t, None if inside is None else table.piece(inside))[..., 0]
        result[..., -2] = t
        result[..., -1] = self._rate(t, inside)
        return result

    def rhs(self, y: Array, drive: Array, s: Any, out: Array) -> Array:
        n = self.field.states
        s = s[..., 0] if np.ndim(s) else s
        values = self._flow(*self._arguments(y, drive))
        for k in range(n):
            out[..., k] = s * values[k]
            out[..., n + k] = -s * self.law.costate_sign * values[n + k] - drive[..., -1] * y[..., n + k]
        return out

    def lead(self, dy: Array, s: Any, step: float) -> Array:
        """Nothing: no state is a weight here."""
        return dy

    def jacobian(self, y: Array, drive: Array, s: float) -> Array:
        n = self.field.states
        matrix = np.array(self._second(*self._arguments(y, drive)), dtype=np.float64).reshape(2 * n, 2 * n)
        matrix[:n] *= s
        matrix[n:] *= s * self.law.costate_sign
        matrix[n:, n:] -= drive[-1] * np.eye(n)
        return matrix

    def hamiltonian(self, y: Array, drive: Array) -> Array:
        return self._spread(self._energy(*self._arguments(y, drive)), y)[..., 0]

    def lagrangian(self, y: Array, drive: Array) -> Array:
        """The running cost without φ, at the optimal control, (…)."""
        return self._spread(self._cost(*self._arguments(y, drive)), y)[..., 0]

    def controls(self, y: Array, drive: Array) -> Array:
        """The controls that minimise the Hamiltonian, (…, control)."""
        return self._spread(self._controls(*self._arguments(y, drive)), y)

    def powers(self, t: Array, y: Array, s: Array, inside: Array | None = None) -> dict[str, Array]:
        """``dissipation`` -ρ p·∂h/∂p; ``signal`` ∂h/∂u·u' and ∂h/∂t; ``reversal`` s (1 - κ) ∂h/∂x·∂h/∂p."""
        n, drive = self.field.states, self.drive(t, inside)
        arguments = self._arguments(y, drive)
        flow = self._spread(self._flow(*arguments), y)
        by_time = self._spread(self._by_time(*arguments), y)
        slopes = np.ones_like(by_time)
        for k, table in enumerate(self.field.signals):
            slopes[..., k] = table.slope(t, None if inside is None else table.piece(inside))[..., 0]
        return {
            "dissipation": -drive[..., -1] * (y[..., n:] * flow[..., :n]).sum(axis=-1),
            "signal": (by_time * slopes).sum(axis=-1),
            "reversal": s * (1 - self.law.costate_sign) * (flow[..., :n] * flow[..., n:]).sum(axis=-1),
        }

    def equilibrium_residual(self, y: Array, drive: Array, rates: Array) -> Array:
        return rates

    def _arguments(self, y: Array, drive: Array) -> tuple[Array, ...]:
        return (*np.moveaxis(y, -1, 0), *np.moveaxis(drive[..., :-1], -1, 0))

    def _spread(self, values: tuple[Any, ...], y: Array) -> Array:
        return np.stack([np.broadcast_to(value, y.shape[:-1]) for value in values], axis=-1)


def _labels(name: str, count: int) -> list[str]:
    return [f"{name}_{k}" for k in range(count)]
