"""Sums over the arcs of a digraph, from parents to children and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hamjl.lowered import NetworkField

Array = NDArray[np.floating]


class DenseArcs:
    """Sums over arcs where every input and neuron feeds every neuron: products with a matrix view of w."""

    def __init__(self, field: NetworkField) -> None:
        self.inputs, self.shape = field.inputs, (field.neurons, field.inputs + field.neurons)

    def forward(self, w: Array, v: Array) -> Array:
        """Σ_j w_ij v_j, (…, neuron)."""
        matrix = w.reshape(*w.shape[:-1], *self.shape)
        return matrix @ v if w.ndim == 1 else np.matmul(matrix, v[..., None])[..., 0]

    def backward(self, w: Array, g: Array) -> Array:
        """Σ_k w_ki g_k, (…, neuron)."""
        matrix = w.reshape(*w.shape[:-1], *self.shape)[..., self.inputs :]
        return g @ matrix if w.ndim == 1 else np.matmul(g[..., None, :], matrix)[..., 0, :]

    def outer(self, g: Array, v: Array, out: Array) -> None:
        """g_i v_j, (…, arc), into `out`."""
        np.multiply(g[..., :, None], v[..., None, :], out=out.reshape(*out.shape[:-1], *self.shape))


class ListedArcs:
    """Sums over arcs of any digraph: segments of the arcs sorted by target, and by source."""

    def __init__(self, field: NetworkField) -> None:
        self.source, self.target, self.neurons = field.source, field.target, field.neurons
        inner = np.flatnonzero(field.source >= field.inputs)
        parent = field.source[inner] - field.inputs
        order = np.argsort(parent, kind="stable")
        self.outgoing = inner[order]
        self.children = field.target[self.outgoing]
        self.fed, self.fed_start = np.unique(field.target, return_index=True)
        self.feeding, self.feeding_start = np.unique(parent[order], return_index=True)

    def forward(self, w: Array, v: Array) -> Array:
        return self._scatter(w * v[..., self.source], self.fed, self.fed_start)

    def backward(self, w: Array, g: Array) -> Array:
        return self._scatter(w[..., self.outgoing] * g[..., self.children], self.feeding, self.feeding_start)

    def outer(self, g: Array, v: Array, out: Array) -> None:
        np.multiply(g[..., self.target], v[..., self.source], out=out)

    def _scatter(self, values: Array, rows: NDArray[np.intp], start: NDArray[np.intp]) -> Array:
        if len(rows) == self.neurons:
            return np.add.reduceat(values, start, axis=-1)
        result = np.zeros((*values.shape[:-1], self.neurons))
        if len(rows):
            result[..., rows] = np.add.reduceat(values, start, axis=-1)
        return result
