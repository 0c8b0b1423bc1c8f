"""Functions of time as plain tables, which all engines read: on each piece a cubic plus a sum of cosines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Piecewise:
    """On piece k, ``start[k] <= t < start[k + 1]``, each channel is

    ``Σ_d poly[d, k, channel] (t - start[k])^d + Σ_m amplitude[m, k, channel] cos(omega[m, k, channel] t + phase[…])``.

    The first piece extends to -∞ and the last to +∞; a NaN coefficient makes the whole piece NaN (no supervision).

    Attributes
    ----------
    start : (piece,)
    poly : (degree + 1, piece, channel)
    amplitude, omega, phase : (cosine, piece, channel)
    stops : (stop,)
        Times at which the function or its first derivative jumps: adaptive integrators restart there.
    """

    start: Array
    poly: Array
    amplitude: Array
    omega: Array
    phase: Array
    stops: Array

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.poly.shape[2])

    def piece(self, t: Array | float) -> NDArray[np.intp]:
        """Index of the piece in force at `t`; at a start, the piece that begins there."""
        return np.maximum(np.searchsorted(self.start, t, side="right") - 1, 0)

    def value(self, t: Array | float, piece: NDArray[np.intp] | None = None) -> Array:
        """Values (…, channel) at times (…); `piece` forces the piece, to evaluate it up to its right end."""
        k = self.piece(t) if piece is None else piece
        t = np.asarray(t, dtype=np.float64)[..., None]
        s = t - self.start[k][..., None]
        result = self.poly[-1, k] + np.zeros_like(s)
        for coefficient in self.poly[-2::-1]:
            result = result * s + coefficient[k]
        for a, w, b in zip(self.amplitude, self.omega, self.phase, strict=True):
            result = result + a[k] * np.cos(w[k] * t + b[k])
        return result

    def slope(self, t: Array | float, piece: NDArray[np.intp] | None = None) -> Array:
        """Time derivative (…, channel) at times (…), from the right at the stops unless `piece` forces the piece."""
        k = self.piece(t) if piece is None else piece
        t = np.asarray(t, dtype=np.float64)[..., None]
        s = t - self.start[k][..., None]
        degree = len(self.poly) - 1
        result = self.poly[0, k] * 0.0 + np.zeros_like(s)
        for d in range(degree, 0, -1):
            result = result * s + d * self.poly[d, k]
        for a, w, b in zip(self.amplitude, self.omega, self.phase, strict=True):
            result = result - a[k] * w[k] * np.sin(w[k] * t + b[k])
        return result
