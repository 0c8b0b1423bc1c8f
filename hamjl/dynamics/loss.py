"""The loss L(y, z) of the outputs: nothing where there is no target."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import elementwise
from hamjl.expressions import Program
from hamjl.lowered import Integers, NetworkField

Array = NDArray[np.floating]
Columns = slice | Integers


class Loss:
    """c q L and its derivatives at x (…, neuron), of which the outputs alone are looked at, and a drive.

    A full state does for x, since it begins with it. Where losses have weights q(t) of their own, output by output,
    the drive holds them behind the targets; NaN there is no supervision either.
    """

    def __init__(self, field: NetworkField) -> None:
        self.neurons, self.scale, count = field.neurons, field.loss_scale, len(field.outputs)
        self.outputs = _run(field.outputs)
        self._targets = slice(field.inputs, field.inputs + count)
        self._weights = slice(field.inputs + count, field.inputs + 2 * count) if field.loss_weights else None
        self._one = np.eye(count)
        tables = [table for table, _ in field.target_signals]
        without = sum(table.channels for table in tables) < count
        self._groups = [(_run(columns), _terms(program)) for program, columns in field.losses]
        self._one_group = len(self._groups) == 1 and len(field.losses[0][1]) == count
        self._gaps = without or any(np.isnan(table.poly).any() for table in tables)

    def value(self, x: Array, drive: Array) -> Array:
        """c q L (…)."""
        total: Array = self.scale * self._each(x, drive, lambda terms, y, z, q: terms.value(y, z, q)).sum(axis=-1)
        return total

    def gradient(self, x: Array, drive: Array) -> Array:
        """c q ∂L/∂y (…, output)."""
        return self.scale * self._each(x, drive, lambda terms, y, z, q: terms.gradient(y, z, q))

    def signal(self, x: Array, drive: Array) -> Array:
        """The learning signal c q ∂L/∂x (…, neuron), zero off the outputs."""
        result = np.zeros((*x.shape[:-1], self.neurons))
        result[..., self.outputs] = self.gradient(x, drive)
        return result

    def curvature(self, x: Array, drive: Array, dy: Array) -> Array:
        """c q ∂²L/∂y² δy (…, output)."""
        return self.scale * self._each(x, drive, lambda terms, y, z, q, dy: terms.curvature(y, z, q, dy), dy)

    def hessian(self, x: Array, drive: Array) -> Array:
        """c q ∂²L/∂y² (…, output, output)."""
        return self.curvature(x[..., None, :], drive[..., None, :], self._one)

    def power(self, x: Array, drive: Array, slope: Array) -> Array:
        """c q ∂L/∂z·z' (…), for targets that move with z' (…, output)."""
        by_target = self._each(x, drive, lambda terms, y, z, q: terms.by_target(y, z, q))
        total: Array = self.scale * np.where(by_target == 0.0, 0.0, by_target * slope).sum(axis=-1)
        return total

    def weight_power(self, x: Array, drive: Array, slope: Array) -> Array:
        """c L·q' (…), for weights that move with q' (…, output)."""
        return self.value(x, self._weighted(drive, slope))

    def _weighted(self, drive: Array, weights: Array) -> Array:
        other = drive.copy()
        other[..., self._weights] = np.where(np.isnan(drive[..., self._weights]), np.nan, weights)
        return other

    def _each(self, x: Array, drive: Array, of: Callable[..., Array], *more: Array) -> Array:
        """What `of` makes of the terms of each group, its outputs, targets and weights, (…, output)."""
        y, z = x[..., self.outputs], drive[..., self._targets]
        q = None if self._weights is None else drive[..., self._weights]
        if self._one_group:
            ((_, terms),) = self._groups
            return self._supervised(of(terms, y, z, q, *more), terms, z, q)
        result = np.zeros(np.broadcast_shapes(y.shape, z.shape, *(part.shape for part in more)))
        for columns, terms in self._groups:
            yk, zk, qk = y[..., columns], z[..., columns], None if q is None else q[..., columns]
            values = of(terms, yk, zk, qk, *(part[..., columns] for part in more))
            result[..., columns] = self._supervised(values, terms, zk, qk)
        return result

    def _supervised(self, values: Array, terms: _Sum | _Softmax, z: Array, q: Array | None) -> Array:
        return np.where(terms.known(z, q), values, 0.0) if self._gaps or q is not None else values


def _run(indices: Integers) -> Columns:
    """Indices as a slice where they follow one another: views are faster than copies."""
    first = int(indices[0]) if len(indices) else 0
    return slice(first, first + len(indices)) if (np.diff(indices) == 1).all() else indices


def _terms(program: Program | None) -> _Sum | _Softmax:
    return _Softmax() if program is None else _Sum(program)


# Output by output, (…, output), whatever comes out where z or q is NaN.
class _Sum:
    """A formula in y and z, summed over the outputs."""

    def __init__(self, program: Program) -> None:
        self._value, self._slope, self._bend, self._by_target = (
            elementwise(program, label) for label in ("f", "df", "d2f", "dz")
        )

    def known(self, z: Array, q: Array | None) -> NDArray[np.bool_]:
        return ~np.isnan(z) if q is None else ~(np.isnan(z) | np.isnan(q))

    def value(self, y: Array, z: Array, q: Array | None) -> Array:
        return _times(q, self._value(y, z))

    def gradient(self, y: Array, z: Array, q: Array | None) -> Array:
        return _times(q, self._slope(y, z))

    def curvature(self, y: Array, z: Array, q: Array | None, dy: Array) -> Array:
        return _times(q, self._bend(y, z)) * dy

    def by_target(self, y: Array, z: Array, q: Array | None) -> Array:
        return _times(q, self._by_target(y, z))


class _Softmax:
    """Cross-entropy -Σ q z log softmax(y), which looks at all outputs at once, or at none; a q that is NaN is 0."""

    def known(self, z: Array, q: Array | None) -> NDArray[np.bool_]:
        return np.logical_not(np.isnan(z).any(axis=-1, keepdims=True))

    def value(self, y: Array, z: Array, q: Array | None) -> Array:
        return z * self.by_target(y, z, q)

    def gradient(self, y: Array, z: Array, q: Array | None) -> Array:
        z = _times(_told(q), z)
        return z.sum(axis=-1, keepdims=True) * np.exp(-_surprise(y)) - z

    def curvature(self, y: Array, z: Array, q: Array | None, dy: Array) -> Array:
        z, share = _times(_told(q), z), np.exp(-_surprise(y))
        return z.sum(axis=-1, keepdims=True) * share * (dy - (share * dy).sum(axis=-1, keepdims=True))

    def by_target(self, y: Array, z: Array, q: Array | None) -> Array:
        return _times(_told(q), _surprise(y))


def _surprise(y: Array) -> Array:
    """-log softmax(y)."""
    shifted = y - y.max(axis=-1, keepdims=True)
    result: Array = np.log(np.exp(shifted).sum(axis=-1, keepdims=True)) - shifted
    return result


def _told(q: Array | None) -> Array | None:
    return None if q is None else np.where(np.isnan(q), 0.0, q)


def _times(q: Array | None, values: Array) -> Array:
    return values if q is None else q * values
