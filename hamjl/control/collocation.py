"""Gauss collocation in two stages, order 4: time meshes, and linear flows on them solved forward and transposed.

The method is symplectic, so the transpose of the linearised flow *is* the same method on the costate equation:
gradients of the discrete cost are exact and its minimiser satisfies the discretised Hamilton equations (12).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

ROOT3 = np.sqrt(3.0)
NODES = np.array([0.5 - ROOT3 / 6, 0.5 + ROOT3 / 6])
ROUNDING = 1e-9  # of the span: nodes nearer to each other are one
MATRIX = np.array([[0.25, 0.25 - ROOT3 / 6], [0.25 + ROOT3 / 6, 0.25]])  # Butcher's a_ij; b = (1/2, 1/2)


class Mesh:
    """Nodes t_0 < … < t_K, the steps h (K,) between them and the stages (K, 2) in them."""

    def __init__(self, nodes: Array) -> None:
        self.nodes = nodes
        self.h = np.diff(nodes)
        self.stages = nodes[:-1, None] + self.h[:, None] * NODES
        self.weights = np.repeat(self.h[:, None] / 2, 2, axis=1)  # of the quadrature, (K, 2)

    @classmethod
    def over(cls, span: tuple[float, float], steps: int, stops: Array) -> Mesh:
        """Evenly spaced steps, and a node at every stop within the span."""
        return cls(np.linspace(*span, steps + 1)).through(stops)

    def through(self, stops: Array) -> Mesh:
        """The mesh with a node at every stop within it, too."""
        start, end = self.nodes[0], self.nodes[-1]
        nodes = np.union1d(self.nodes, stops[(stops > start) & (stops < end)])
        near = ROUNDING * (end - start)
        apart = np.diff(nodes, prepend=-np.inf) > near
        return Mesh(nodes[apart & ((nodes < end - near) | (nodes == end))])

    def refined(self, parts: int | NDArray[np.integer]) -> Mesh:
        """Each interval cut into so many."""
        every = np.broadcast_to(parts, len(self.h))
        part = np.concatenate([np.arange(k) for k in every]) / np.repeat(every, every)
        return Mesh(np.append(np.repeat(self.nodes[:-1], every) + part * np.repeat(self.h, every), self.nodes[-1]))

    def __len__(self) -> int:
        return len(self.h)

    def integrate(self, rates: Array) -> Array:
        """Node values (K + 1, …) from 0 of a function with these rates (K, 2, …) at the stages."""
        steps = np.einsum("k,ks...->k...", self.h / 2, rates)
        return np.concatenate((np.zeros_like(steps[:1]), np.cumsum(steps, axis=0)))

    def integrate_to_stages(self, rates: Array) -> Array:
        """The same at the stages, (K, 2, …)."""
        h = self.h.reshape(-1, *(1,) * (rates.ndim - 1))
        return self.integrate(rates)[:-1, None] + h * np.einsum("ij,kj...->ki...", MATRIX, rates)


class LinearFlow:
    """δx' = J(t) δx + r(t) on a mesh, for many right-hand sides at once.

    Parameters
    ----------
    mesh : Mesh
    jacobian : (K, 2, n, n), J at the stages.
    """

    def __init__(self, mesh: Mesh, jacobian: Array) -> None:
        self.mesh, self.n = mesh, jacobian.shape[-1]
        steps, n = len(mesh), self.n
        coupling = -mesh.h[:, None, None] * MATRIX  # (K, i, j)
        system = np.einsum("kij,kjab->kiajb", coupling, jacobian).reshape(steps, 2 * n, 2 * n)
        system[:, np.arange(2 * n), np.arange(2 * n)] += 1.0
        self.inverse = np.linalg.inv(system)
        self.from_node = self.inverse[:, :, :n] + self.inverse[:, :, n:]  # stages by the node before, (K, 2n, n)
        self.across = np.eye(n) + ROOT3 * (self.from_node[:, n:] - self.from_node[:, :n])  # node to node, (K, n, n)

    @cached_property
    def _band(self) -> Array:
        """x_{k+1} - T_k x_k for k ≥ 1 as a unit lower triangular band matrix, in LAPACK's storage."""
        n, steps = self.n, len(self.mesh)
        band = np.zeros((2 * n, steps * n), order="F")
        band[0] = 1.0
        inner = -self.across[1:]
        for a in range(n):
            for b in range(n):
                band[n + a - b, b : (steps - 1) * n : n] = inner[:, a, b]
        return band

    def _chain(self, steps: Array, transposed: bool) -> Array:
        """Solve the recursion between nodes for (K, n, m)."""
        from scipy.linalg.lapack import dtbtrs  # here, so that `import hamjl` loads no SciPy

        flat = np.asfortranarray(steps.reshape(len(self.mesh) * self.n, -1))
        solved, info = dtbtrs(self._band, flat, uplo="L", trans="T" if transposed else "N", diag="U")
        assert info == 0
        return solved.reshape(steps.shape)

    def stages(self, residual: Array, start: Array | None = None) -> tuple[Array, Array]:
        """Stages X (K, 2, n, m) and nodes x (K + 1, n, m) of X_i = x_k + h Σ a_ij J_j X_j + residual_i from `start`."""
        steps, n = len(self.mesh), self.n
        own = self.inverse @ residual.reshape(steps, 2 * n, -1)
        jump = ROOT3 * (own[:, n:] - own[:, :n])
        if start is None:
            start = np.zeros(own.shape[2:])[None] + np.zeros((n, 1))
        jump[0] += self.across[0] @ start
        nodes = np.concatenate((start[None], self._chain(jump, transposed=False)))
        return (own + self.from_node @ nodes[:-1]).reshape(residual.shape), nodes

    def forward(self, r: Array) -> Array:
        """δX (K, 2, n, m) at the stages from δx(0) = 0, for r (K, 2, n, m)."""
        return self.stages(self._blend(r, MATRIX))[0]

    def backward(self, s: Array, end: Array | None = None) -> tuple[Array, Array]:
        """The transpose of `forward` on s (K, 2, n, m), and λ (K + 1, n, m) at the nodes, from λ(T) = `end`.

        λ is the gradient of Σ s·δX + end·δx(T) by the node's value.
        """
        steps, n = len(self.mesh), self.n
        flat = s.reshape(steps, 2 * n, -1)
        load = np.swapaxes(self.from_node, 1, 2) @ flat  # (K, n, m), by node k
        # λ_k = T_kᵀ λ_{k+1} + load_k for k = K - 1 … 0; unknowns λ_1 … λ_K with λ_K = end
        right = np.concatenate((load[1:], np.zeros_like(load[:1]) if end is None else end[None]))
        later = self._chain(right, transposed=True)
        first = np.swapaxes(self.across[:1], 1, 2) @ later[:1] + load[:1]
        own = flat.copy()
        own[:, :n] -= ROOT3 * later
        own[:, n:] += ROOT3 * later
        solved = (np.swapaxes(self.inverse, 1, 2) @ own).reshape(s.shape)
        return self._blend(solved, MATRIX.T), np.concatenate((first, later))

    def _blend(self, r: Array, matrix: Array) -> Array:
        """h Σ_j matrix_ij r_j."""
        blended = np.empty_like(r)
        for i in range(2):
            blended[:, i] = matrix[i, 0] * r[:, 0] + matrix[i, 1] * r[:, 1]
        blended *= self.mesh.h.reshape(-1, *(1,) * (r.ndim - 1))
        return blended
