"""A network as a control problem: weights that integrate the control v = w'."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import elementwise
from hamjl.control.collocation import MATRIX, NODES, ROOT3, LinearFlow, Mesh
from hamjl.control.starts import Path
from hamjl.dynamics.model import dissipation
from hamjl.lowered import NetworkField

Array = NDArray[np.floating]


class WeightControl:
    """From the unknown of a transcription to w at the stages.

    The unknown is √(m c φ b h) u, (K, 2, weight), with v = w' = u - θ(t) (w - w(0)). Its Euclidean norm is that of the
    kinetic term of G, and the feedback θ solves the time-reversed Riccati equation of the quadratic part of the
    regulariser, which makes that part of the Hessian the identity: the conditioning depends neither on the mesh nor on
    the weight of the regulariser. Weights of masses of their own are measured in units in which they have the mean one.
    """

    def __init__(self, field: NetworkField, mesh: Mesh, measure: Array, w0: Array) -> None:
        self.mesh, self.w0, self.shape = mesh, w0, (*mesh.stages.shape, len(w0))
        mean = float(np.mean(field.inertia))
        self._unit: float | Array = np.sqrt(mean / field.inertia) if np.ndim(field.inertia) else 1.0
        self.basis = np.diag(self._unit) if np.ndim(self._unit) else None  # of the unknown, in weights
        self.kinetic = field.inertia * measure[..., None]
        self._scale = np.sqrt(mean * measure[..., None])
        self.theta = _riccati(field, mesh)[..., None]
        self._flow = LinearFlow(mesh, -self.theta[..., None])
        self.memory = len(w0)  # numbers that go from interval to interval: w

    def map(self, part: slice) -> tuple[Array, Array, Array]:
        """Stages of w and of √(m c φ b h) v, and w at the next node, by (w, unknown_1, unknown_2), for each alike.

        Shapes (k, 2, 3), (k, 2, 3) and (k, 3).
        """
        flow, scale = self._flow, self._scale[part, :, 0]
        own = flow.inverse[part] @ (self.mesh.h[part, None, None] * MATRIX) / scale[:, None]
        stages = np.concatenate((flow.from_node[part], own), axis=2)
        effort = -(scale * self.theta[part, :, 0])[..., None] * stages
        effort[:, :, 1:] += np.eye(2)
        across = np.concatenate((flow.across[part, 0], ROOT3 * (own[:, 1] - own[:, 0])), axis=1)
        return stages, effort, across

    def driver(self, unknown: Array) -> Array:
        """w (K, 2, weight)."""
        return self.w0 + self.tangent(unknown)

    def effort(self, unknown: Array) -> Array:
        """(m c/2)|v|² φ b h (K, 2)."""
        return (self.kinetic * self.control(unknown) ** 2).sum(axis=-1) / 2

    def control(self, unknown: Array) -> Array:
        """v (K, 2, weight)."""
        return self._split(unknown)[1]

    def tangent(self, direction: Array) -> Array:
        """Change of w with the unknown."""
        return self._split(direction)[0]

    def transpose(self, by_driver: Array, direction: Array) -> Array:
        """The transpose of `tangent`, plus the Hessian of the effort times a direction."""
        by_v = self.kinetic * self.control(direction) * self._unit
        back = self._flow.backward((by_driver * self._unit - self.theta * by_v)[:, :, None])[0][:, :, 0]
        return ((by_v + back) / self._scale).ravel()

    def unknown(self, v: Array) -> Array:
        """The unknown whose control v (K, 2, weight) is given."""
        own = v / self._unit
        return (self._scale * (own + self.theta * self.mesh.integrate_to_stages(own))).ravel()

    def along(self, path: Path) -> Array:
        """The unknown whose w goes through a path at the nodes, and near it in their middle: errors do not add up."""
        mesh, middle = self.mesh, (self.mesh.nodes[:-1] + self.mesh.nodes[1:]) / 2
        w, half, h = path(mesh.nodes), path(middle), mesh.h[:, None]
        w[0] = self.w0
        bend = 4.0 * (w[1:] + w[:-1] - 2.0 * half) / h**2
        v = (w[1:] - w[:-1])[:, None] / h[:, None] + (mesh.stages - middle[:, None])[..., None] * bend[:, None]
        return self.unknown(v)

    def path(self, unknown: Array) -> Path:
        """w of time, a quadratic on each interval."""
        v = self.control(unknown)
        w, slope = self.w0 + self.mesh.integrate(v), (v[:, 1] - v[:, 0]) / (NODES[1] - NODES[0])

        def path(t: Array) -> Array:
            k = np.clip(np.searchsorted(self.mesh.nodes, t, side="right") - 1, 0, len(self.mesh) - 1)
            h = self.mesh.h[k, None]
            s = (t - self.mesh.nodes[k])[:, None] / h
            return w[k] + h * s * (v[k, 0] + slope[k] * (s / 2 - NODES[0]))

        return path

    def path_of(self, times: Array, v: Array) -> Path:
        """w of a control, which is linear between times and constant outside."""
        start = self.mesh.nodes[0]

        def integral(t: Array) -> Array:
            """From the first of the times."""
            steps = np.diff(times)[:, None] * (v[1:] + v[:-1]) / 2
            sums = np.concatenate((np.zeros_like(v[:1]), np.cumsum(steps, axis=0)))
            if len(times) == 1:
                return (t - times[0])[:, None] * v[0]
            k = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
            inside = np.clip(t, times[0], times[-1])
            s, slope = (inside - times[k])[:, None], (v[k + 1] - v[k]) / np.diff(times)[k, None]
            beyond = (t - inside)[:, None] * np.where((t < times[0])[:, None], v[0], v[-1])
            return sums[k] + s * (v[k] + s * slope / 2) + beyond

        return lambda t: self.w0 + integral(t) - integral(np.array([start]))

    def _split(self, unknown: Array) -> tuple[Array, Array]:
        u = unknown.reshape(self.shape) / self._scale
        w = self._flow.forward(u[:, :, None])[:, :, 0]
        return self._unit * w, self._unit * (u - self.theta * w)


def _riccati(field: NetworkField, mesh: Mesh) -> Array:
    """θ(t) at the stages, from θ(T) = 0: θ' = θ² - ρθ - κ/(m c), with κ the regulariser's curvature at w = 0."""
    bend = float(elementwise(field.regularizer, "d2f")(np.zeros(1))[0])
    ratio = float(np.mean(field.regularizer_scale)) * max(bend, 0.0) / float(np.mean(field.inertia))
    theta = np.zeros(mesh.stages.shape)
    if ratio == 0.0 or not np.isfinite(ratio):
        return theta
    # constant ρ over the step: θ' = (θ - a)(θ - b) with a > 0 > b, backwards towards a
    half = dissipation(field.dissipation)[1](mesh.stages).mean(axis=1) / 2
    root = np.hypot(half, np.sqrt(ratio))
    a, b = half + root, half - root
    left = mesh.nodes[1:, None] - np.column_stack((mesh.stages, mesh.nodes[:-1]))  # of the step
    decay = np.exp(-(a - b)[:, None] * left)
    value = 0.0
    for k in range(len(mesh) - 1, -1, -1):
        q = (value - a[k]) / (value - b[k]) * decay[k]
        *theta[k], value = (a[k] - b[k] * q) / (1.0 - q)
    return theta
