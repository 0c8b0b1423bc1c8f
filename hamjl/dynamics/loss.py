"""The loss L(y, z) of the outputs: nothing where there is no target."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import elementwise
from hamjl.lowered import Integers, NetworkField

Array = NDArray[np.floating]


class Loss:
    """c q L and its derivatives at x (…, neuron), of which the outputs alone are looked at, and a drive.

    A full state does for x, since it begins with it.
    """

    def __init__(self, field: NetworkField) -> None:
        self.neurons, self.scale = field.neurons, field.loss_scale
        self.outputs = _run(field.outputs)
        self._targets = slice(field.inputs, -1)
        self._one = np.eye(len(field.outputs))
        tables = [table for table, _ in field.target_signals]
        without = sum(table.channels for table in tables) < len(field.outputs)
        self._terms = _Softmax() if field.softmax else _Sum(field)
        self._gaps = without or any(np.isnan(table.poly).any() for table in tables)

    def value(self, x: Array, drive: Array) -> Array:
        """c q L (…)."""
        y, z = self._ends(x, drive)
        total: Array = self.scale * self._supervised(self._terms.value(y, z), z).sum(axis=-1)
        return total

    def gradient(self, x: Array, drive: Array) -> Array:
        """c q ∂L/∂y (…, output)."""
        y, z = self._ends(x, drive)
        return self.scale * self._supervised(self._terms.gradient(y, z), z)

    def signal(self, x: Array, drive: Array) -> Array:
        """The learning signal c q ∂L/∂x (…, neuron), zero off the outputs."""
        result = np.zeros((*x.shape[:-1], self.neurons))
        result[..., self.outputs] = self.gradient(x, drive)
        return result

    def curvature(self, x: Array, drive: Array, dy: Array) -> Array:
        """c q ∂²L/∂y² δy (…, output)."""
        y, z = self._ends(x, drive)
        return self.scale * self._supervised(self._terms.curvature(y, z, dy), z)

    def hessian(self, x: Array, drive: Array) -> Array:
        """c q ∂²L/∂y² (…, output, output)."""
        return self.curvature(x[..., None, :], drive[..., None, :], self._one)

    def power(self, x: Array, drive: Array, slope: Array) -> Array:
        """c q ∂L/∂z·z' (…), for targets that move with z' (…, output)."""
        y, z = self._ends(x, drive)
        total: Array = self.scale * self._supervised(self._terms.by_target(y, z) * slope, z).sum(axis=-1)
        return total

    def _ends(self, x: Array, drive: Array) -> tuple[Array, Array]:
        return x[..., self.outputs], drive[..., self._targets]

    def _supervised(self, values: Array, z: Array) -> Array:
        return np.where(self._terms.known(z), values, 0.0) if self._gaps else values


def _run(indices: Integers) -> slice | Integers:
    """Indices as a slice where they follow one another: views are faster than copies."""
    first = int(indices[0]) if len(indices) else 0
    return slice(first, first + len(indices)) if (np.diff(indices) == 1).all() else indices


# Output by output, (…, output), whatever comes out where z is NaN.
class _Sum:
    """A formula in y and z, summed over the outputs."""

    def __init__(self, field: NetworkField) -> None:
        self.value, self.gradient, self._bend, self.by_target = (
            elementwise(field.loss, label) for label in ("f", "df", "d2f", "dz")
        )

    def known(self, z: Array) -> NDArray[np.bool_]:
        return ~np.isnan(z)

    def curvature(self, y: Array, z: Array, dy: Array) -> Array:
        return self._bend(y, z) * dy


class _Softmax:
    """Cross-entropy -Σ z log softmax(y), which looks at all outputs at once, or at none."""

    def known(self, z: Array) -> NDArray[np.bool_]:
        return np.logical_not(np.isnan(z).any(axis=-1, keepdims=True))

    def value(self, y: Array, z: Array) -> Array:
        return z * self.by_target(y, z)

    def gradient(self, y: Array, z: Array) -> Array:
        return z.sum(axis=-1, keepdims=True) * np.exp(-self.by_target(y, z)) - z

    def curvature(self, y: Array, z: Array, dy: Array) -> Array:
        share = np.exp(-self.by_target(y, z))
        return z.sum(axis=-1, keepdims=True) * share * (dy - (share * dy).sum(axis=-1, keepdims=True))

    def by_target(self, y: Array, z: Array) -> Array:
        """-log softmax(y)."""
        shifted = y - y.max(axis=-1, keepdims=True)
        result: Array = np.log(np.exp(shifted).sum(axis=-1, keepdims=True)) - shifted
        return result
