"""From the weights that move to those of all arcs, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.lowered import NetworkField, Weights

Array = NDArray[np.floating]


class OwnWeights:
    """Each arc has a weight of its own, and all of them move."""

    moving: Any = slice(None)  # which of all weights

    def count(self, moving: int) -> int:
        """How many weights there are, if so many of them move."""
        return moving

    def spread(self, moving: Array) -> Array:
        """w (…, arc) of the weights that move, (…, weight)."""
        return moving

    tangent = spread  # its change

    def gather(self, by_arc: Array) -> Array:
        """The derivative by the weights that move, (…, weight), of what has one by w, (…, arc): the transpose."""
        return by_arc

    def known(self, w: Array) -> Array:
        """The weights that move, (…, weight), of w (…, arc)."""
        return w

    def all(self, moving: Array) -> Array:
        """All weights (…, weight), those included that do not move."""
        return moving

    def select(self, by_weight: Any) -> Any:
        """Of numbers by weight, those of the weights that move; one number for all is left."""
        return by_weight


class SharedWeights:
    """Tied arcs have one weight, and some weights do not move."""

    def __init__(self, weights: Weights) -> None:
        self._of, self.moving = weights, weights.moving
        place = np.full(len(weights.value), -1)
        place[weights.moving] = np.arange(len(weights.moving))
        own = place[weights.weight]  # of each arc, among those that move
        order = np.argsort(own, kind="stable")
        self._arcs = order[np.count_nonzero(own < 0) :]  # that move, by weight
        self._start = np.searchsorted(own[self._arcs], np.arange(len(weights.moving)))
        self._own = own[self._arcs]
        self._factor = weights.factor[self._arcs]
        still = weights.value.copy()
        still[weights.moving] = 0.0
        self._still = weights.factor * still[weights.weight]

    def count(self, moving: int) -> int:
        return len(self._of.value)

    def spread(self, moving: Array) -> Array:
        return self._still + self.tangent(moving)

    def tangent(self, change: Array) -> Array:
        result = np.zeros((*change.shape[:-1], len(self._still)))
        result[..., self._arcs] = self._factor * change[..., self._own]
        return result

    def gather(self, by_arc: Array) -> Array:
        if not len(self._start):
            return np.zeros((*by_arc.shape[:-1], 0))
        return np.add.reduceat(self._factor * by_arc[..., self._arcs], self._start, axis=-1)

    def known(self, w: Array) -> Array:
        first = self._arcs[self._start] if len(self._start) else self._arcs
        return w[..., first] / self._of.factor[first]

    def all(self, moving: Array) -> Array:
        result = np.broadcast_to(self._of.value, (*moving.shape[:-1], len(self._of.value))).copy()
        result[..., self._of.moving] = moving
        return result

    def select(self, by_weight: Any) -> Any:
        return by_weight[self._of.moving] if np.ndim(by_weight) else by_weight


def weights_of(field: NetworkField) -> OwnWeights | SharedWeights:
    """The map of a field."""
    return OwnWeights() if field.weights is None else SharedWeights(field.weights)
