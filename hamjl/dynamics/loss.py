"""The loss L(y, z) of the outputs: nothing where there is no target."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import compile_program
from hamjl.lowered import NetworkField

Array = NDArray[np.floating]


def loss_of(field: NetworkField) -> Loss:
    """The loss of a network."""
    return Softmax(field) if field.softmax else Separable(field)


class Loss(ABC):
    """c q L and its derivatives at x (…, neuron), of which the outputs alone are looked at, and a drive.

    A full state does for x, since it begins with it.
    """

    def __init__(self, field: NetworkField) -> None:
        self.neurons, self.outputs, self.scale = field.neurons, field.outputs, field.loss_scale
        self._targets = slice(field.inputs, -1)
        tables = [table for table, _ in field.target_signals]
        without = sum(table.channels for table in tables) < len(field.outputs)
        self._gaps = without or any(np.isnan(table.poly).any() for table in tables)

    def value(self, x: Array, drive: Array) -> Array:
        """c q L (…)."""
        y, z = self._ends(x, drive)
        total: Array = self.scale * self._supervised(self._value(y, z), z).sum(axis=-1)
        return total

    def gradient(self, x: Array, drive: Array) -> Array:
        """c q ∂L/∂y (…, output)."""
        y, z = self._ends(x, drive)
        return self.scale * self._supervised(self._gradient(y, z), z)

    def signal(self, x: Array, drive: Array) -> Array:
        """The learning signal c q ∂L/∂x (…, neuron), zero off the outputs."""
        result = np.zeros((*x.shape[:-1], self.neurons))
        result[..., self.outputs] = self.gradient(x, drive)
        return result

    def curvature(self, x: Array, drive: Array, dy: Array) -> Array:
        """c q ∂²L/∂y² δy (…, output)."""
        y, z = self._ends(x, drive)
        return self.scale * self._supervised(self._curvature(y, z, dy), z)

    def hessian(self, x: Array, drive: Array) -> Array:
        """c q ∂²L/∂y² (…, output, output)."""
        return self.curvature(x[..., None, :], drive[..., None, :], np.eye(len(self.outputs)))

    def power(self, x: Array, drive: Array, slope: Array) -> Array:
        """c q ∂L/∂z·z' (…), for targets that move with z' (…, output)."""
        y, z = self._ends(x, drive)
        total: Array = self.scale * self._supervised(self._by_target(y, z) * slope, z).sum(axis=-1)
        return total

    def _ends(self, x: Array, drive: Array) -> tuple[Array, Array]:
        return x[..., self.outputs], drive[..., self._targets]

    def _supervised(self, values: Array, z: Array) -> Array:
        return np.where(self._known(z), values, 0.0) if self._gaps else values

    # -- output by output, (…, output), whatever comes out where z is NaN --------------------------------------------
    @abstractmethod
    def _known(self, z: Array) -> NDArray[np.bool_]:
        """Where there is a target."""

    @abstractmethod
    def _value(self, y: Array, z: Array) -> Array:
        """The terms of L."""

    @abstractmethod
    def _gradient(self, y: Array, z: Array) -> Array: ...

    @abstractmethod
    def _curvature(self, y: Array, z: Array, dy: Array) -> Array: ...

    @abstractmethod
    def _by_target(self, y: Array, z: Array) -> Array: ...


class Separable(Loss):
    """A formula in y and z, summed over the outputs."""

    def __init__(self, field: NetworkField) -> None:
        super().__init__(field)
        self._formulas = [compile_program(field.loss, [label]) for label in ("f", "df", "d2f", "dz")]

    def _known(self, z: Array) -> NDArray[np.bool_]:
        return ~np.isnan(z)

    def _value(self, y: Array, z: Array) -> Array:
        return self._each(0, y, z)

    def _gradient(self, y: Array, z: Array) -> Array:
        return self._each(1, y, z)

    def _curvature(self, y: Array, z: Array, dy: Array) -> Array:
        return self._each(2, y, z) * dy

    def _by_target(self, y: Array, z: Array) -> Array:
        return self._each(3, y, z)

    def _each(self, k: int, y: Array, z: Array) -> Array:
        (values,) = self._formulas[k](y, z)
        return values if isinstance(values, np.ndarray) else np.full(z.shape, values, dtype=np.float64)


class Softmax(Loss):
    """Cross-entropy -Σ z log softmax(y), which looks at all outputs at once, or at none."""

    def _known(self, z: Array) -> NDArray[np.bool_]:
        return np.logical_not(np.isnan(z).any(axis=-1, keepdims=True))

    def _value(self, y: Array, z: Array) -> Array:
        return z * self._by_target(y, z)

    def _gradient(self, y: Array, z: Array) -> Array:
        return z.sum(axis=-1, keepdims=True) * np.exp(-self._by_target(y, z)) - z

    def _curvature(self, y: Array, z: Array, dy: Array) -> Array:
        share = np.exp(-self._by_target(y, z))
        return z.sum(axis=-1, keepdims=True) * share * (dy - (share * dy).sum(axis=-1, keepdims=True))

    def _by_target(self, y: Array, z: Array) -> Array:
        """-log softmax(y)."""
        shifted = y - y.max(axis=-1, keepdims=True)
        result: Array = np.log(np.exp(shifted).sum(axis=-1, keepdims=True)) - shifted
        return result
