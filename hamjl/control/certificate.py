"""How far states and costates at the nodes of a mesh are from Hamilton's equations (12), whatever solved them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hamjl.dynamics import FullDynamics

Array = NDArray[np.floating]

POINTS = np.array([0.5 - np.sqrt(3 / 28), 0.5, 0.5 + np.sqrt(3 / 28)])  # of Lobatto's rule, its ends left out
WEIGHTS = np.array([49 / 180, 16 / 45, 49 / 180])


class Hermite:
    """The cubic through states (K + 1, state) at the nodes of a mesh, with the equations' own slopes there.

    Slopes are taken inside each interval, so that jumps of signals at nodes do not matter.
    """

    def __init__(self, dynamics: FullDynamics, nodes: Array, states: Array) -> None:
        self.dynamics, self.nodes, self.states = dynamics, nodes, states
        middle = (nodes[1:] + nodes[:-1]) / 2
        self.middle, self.h = middle, np.diff(nodes)[:, None]
        self.left, self.right = (
            self._rates(t, middle, y) for t, y in ((nodes[:-1], states[:-1]), (nodes[1:], states[1:]))
        )

    def _rates(self, t: Array, inside: Array, y: Array) -> Array:
        return self.dynamics.rhs(y, self.dynamics.drive(t, inside), 1.0, np.empty_like(y))

    def value(self, k: NDArray[np.integer], s: Array) -> tuple[Array, Array]:
        """Value and derivative at the fractions s of the intervals k."""
        s, h = s[:, None], self.h[k]
        a, b, da, db = self.states[k], self.states[k + 1], self.left[k] * h, self.right[k] * h
        jump = b - a
        value = a + s * (da + s * (3 * jump - 2 * da - db + s * (da + db - 2 * jump)))
        slope = (da + s * (2 * (3 * jump - 2 * da - db) + 3 * s * (da + db - 2 * jump))) / h
        return value, slope

    def at(self, t: Array) -> Array:
        """Values (…, state) at times (…) within the mesh."""
        k = np.clip(np.searchsorted(self.nodes, t, side="right") - 1, 0, len(self.h) - 1)
        return self.value(k, (t - self.nodes[k]) / self.h[k, 0])[0]

    def residual(self) -> Array:
        """Per interval, the largest over components of the root mean square of (y' - f)/(1 + |f|), (K,)."""
        every, total = np.arange(len(self.h)), np.zeros((len(self.h), self.states.shape[1]))
        for point, weight in zip(POINTS, WEIGHTS, strict=True):
            y, slope = self.value(every, np.full(len(every), point))
            f = self._rates(self.nodes[:-1] + point * self.h[:, 0], self.middle, y)
            total += weight * ((slope - f) / (1.0 + np.abs(f))) ** 2
        result: Array = np.sqrt(total.max(axis=1))
        return result
