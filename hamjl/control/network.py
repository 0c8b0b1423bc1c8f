"""A network as a control problem: neurons driven by weights, and weights that integrate the control v = w'."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import compile_program
from hamjl.control.collocation import MATRIX, NODES, ROOT3, LinearFlow, Mesh
from hamjl.control.starts import Path
from hamjl.dynamics.network import NetworkDynamics
from hamjl.lowered import LawCode, NetworkField

Array = NDArray[np.floating]


class NetworkModel:
    """x' = f(x, w, t) and the running cost cℓ(x, w, t) at many times; `drive`, x and w have the same leading axes."""

    def __init__(self, field: NetworkField) -> None:
        self.field, self.dynamics = field, NetworkDynamics(field, LawCode())
        self.states = field.neurons
        self.inner = np.flatnonzero(field.source >= field.inputs)
        self.regularizer = compile_program(field.regularizer, ["df", "d2f"])

    def at(self, x: Array, w: Array, drive: Array) -> NetworkPoint:
        """Derivatives at x and w."""
        return NetworkPoint(self, x, w, drive)

    def cost(self, x: Array, w: Array, drive: Array) -> Array:
        """cℓ (…)."""
        return self.dynamics.running_cost(np.concatenate((x, w), axis=-1), drive)

    def best_control(self, states: Array, drive: Array) -> Array:
        """The control v = -p_w/(m c φ) that minimises the Hamiltonian at full states, (…, arc)."""
        return -self.dynamics.split(states)[3] / self.field.inertia

    def vertices(self, x: Array, drive: Array) -> Array:
        """Inputs and neurons, (…, vertex)."""
        return np.concatenate((drive[..., : self.field.inputs], x), axis=-1) if self.field.inputs else x


class NetworkPoint:
    """f, and the derivatives of f and cℓ, at given x and w (the *driver* of x)."""

    def __init__(self, model: NetworkModel, x: Array, w: Array, drive: Array) -> None:
        self.model, self.field, self.arcs = model, model.field, model.dynamics.arcs
        self.x, self.w, self.drive, self.v = x, w, drive, model.vertices(x, drive)
        self.sigma, slope, bend = model.dynamics.activation.with_curvature(self.arcs.forward(w, self.v))
        self.gain, self.bend = self.field.velocity * slope * np.ones_like(x), self.field.velocity * bend

    def speed(self) -> Array:
        """f (…, neuron)."""
        return self.field.velocity * (self.sigma - self.x)

    def state_jacobian(self) -> Array:
        """∂f/∂x (…, neuron, neuron)."""
        f, inner, n = self.field, self.model.inner, self.field.neurons
        result = np.zeros((*self.x.shape, n))
        result[..., f.target[inner], f.source[inner] - f.inputs] = self.w[..., inner]
        result *= self.gain[..., None]
        result[..., np.arange(n), np.arange(n)] -= f.velocity
        return result

    def cost_by_state(self) -> Array:
        """∂cℓ/∂x (…, neuron)."""
        return self.model.dynamics.loss.signal(self.x, self.drive)

    def cost_by_driver(self) -> Array:
        """∂cℓ/∂w (…, arc)."""
        return self.field.regularizer_scale * self.model.regularizer(self.w)[0] * np.ones_like(self.w)

    def speed_by_driver(self, dw: Array) -> Array:
        """∂f/∂w δw (…, neuron)."""
        return self.gain * self.arcs.forward(dw, self.v)

    def driver_by_costate(self, p: Array) -> Array:
        """(∂f/∂w)ᵀ p (…, arc)."""
        return self._outer(self.gain * p, self.v)

    def second(self, p: Array, dx: Array, dw: Array) -> tuple[Array, Array]:
        """Changes of the derivatives of cℓ + p·f by x and by w with (δx, δw), p held."""
        f = self.field
        moved = np.concatenate((np.zeros_like(self.drive[..., : f.inputs]), dx), axis=-1)
        g = self.gain * p
        dg = self.bend * p * (self.arcs.forward(self.w, moved) + self.arcs.forward(dw, self.v))
        by_x = self.arcs.backward(self.w, dg) + self.arcs.backward(dw, g)
        by_x[..., f.outputs] += self.model.dynamics.loss.curvature(self.x, self.drive, dx[..., f.outputs])
        by_w = self._outer(dg, self.v)
        by_w += self._outer(g, moved)
        if f.regularizer_scale:
            by_w += f.regularizer_scale * self.model.regularizer(self.w)[1] * dw
        return by_x, by_w

    def second_variation(self, p: Array) -> tuple[Array, Array, Array]:
        """Second derivatives of cℓ + p·f by (x, w): rowsᵀ middle rows, (…, 3 neuron, x + w), plus a diagonal in w.

        The rows are δx, δa, and Σ_k g_k δw_kj: what meets δx_j where arcs leave it.
        """
        f, n, inside = self.field, self.field.neurons, self.model.inner
        rows = np.zeros((*self.x.shape[:-1], 3 * n, n + len(f.source)))
        middle = np.zeros((*self.x.shape[:-1], 3 * n, 3 * n))
        each = np.arange(n)
        rows[..., each, each] = 1.0
        rows[..., n : 2 * n, :n], rows[..., n : 2 * n, n:] = self.activation_jacobian()
        rows[..., 2 * n + f.source[inside] - f.inputs, n + inside] = (self.gain * p)[..., f.target[inside]]
        middle[..., each, 2 * n + each] = middle[..., 2 * n + each, each] = 1.0
        middle[..., n + each, n + each] = self.bend * p
        middle[..., f.outputs[:, None], f.outputs] += self.model.dynamics.loss.hessian(self.x, self.drive)
        bend = f.regularizer_scale * self.model.regularizer(self.w)[1] * np.ones_like(self.w)
        return rows, middle, bend

    def driver_jacobian(self) -> Array:
        """∂f/∂w (…, neuron, arc)."""
        return self.gain[..., None] * self.activation_jacobian()[1]

    def activation_jacobian(self) -> tuple[Array, Array]:
        """∂a/∂x (…, neuron, neuron) and ∂a/∂w (…, neuron, arc)."""
        f, inner, n = self.field, self.model.inner, self.field.neurons
        by_x, by_w = np.zeros((*self.x.shape, n)), np.zeros((*self.x.shape, len(f.source)))
        by_x[..., f.target[inner], f.source[inner] - f.inputs] = self.w[..., inner]
        by_w[..., f.target, np.arange(len(f.source))] = self.v[..., f.source]
        return by_x, by_w

    def _outer(self, g: Array, v: Array) -> Array:
        result = np.empty_like(self.w)
        self.arcs.outer(g, v, result)
        return result


class WeightControl:
    """From the unknown of a transcription to w at the stages.

    The unknown is √(m c φ b h) u, (K, 2, arc), with v = w' = u - θ(t) (w - w(0)). Its Euclidean norm is that of the
    kinetic term of G, and the feedback θ solves the time-reversed Riccati equation of the quadratic part of the
    regulariser, which makes that part of the Hessian the identity: the conditioning depends neither on the mesh nor on
    the weight of the regulariser.
    """

    def __init__(self, field: NetworkField, mesh: Mesh, measure: Array, w0: Array) -> None:
        self.mesh, self.w0, self.shape = mesh, w0, (*mesh.stages.shape, len(w0))
        self.kinetic = (field.inertia * measure)[..., None]
        self._scale = np.sqrt(self.kinetic)
        self.theta = _riccati(field, mesh)[..., None]
        self._flow = LinearFlow(mesh, -self.theta[..., None])
        self.memory = len(w0)  # numbers that go from interval to interval: w

    basis = None  # of the unknown: the arcs

    def map(self, part: slice) -> tuple[Array, Array, Array]:
        """Stages of w and of √(m c φ b h) v, and w at the next node, by (w, unknown_1, unknown_2), for each arc alike.

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
        """w (K, 2, arc)."""
        return self.w0 + self.tangent(unknown)

    def effort(self, unknown: Array) -> Array:
        """(m c/2)|v|² φ b h (K, 2)."""
        return (self.kinetic * self.control(unknown) ** 2).sum(axis=-1) / 2

    def control(self, unknown: Array) -> Array:
        """v (K, 2, arc)."""
        return self._split(unknown)[1]

    def tangent(self, direction: Array) -> Array:
        """Change of w with the unknown."""
        return self._split(direction)[0]

    def transpose(self, by_driver: Array, direction: Array) -> Array:
        """The transpose of `tangent`, plus the Hessian of the effort times a direction."""
        by_v = self.kinetic * self.control(direction)
        back = self._flow.backward((by_driver - self.theta * by_v)[:, :, None])[0][:, :, 0]
        return ((by_v + back) / self._scale).ravel()

    def unknown(self, v: Array) -> Array:
        """The unknown whose control v (K, 2, arc) is given."""
        return (self._scale * (v + self.theta * self.mesh.integrate_to_stages(v))).ravel()

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
        return w, u - self.theta * w


def _riccati(field: NetworkField, mesh: Mesh) -> Array:
    """θ(t) at the stages, from θ(T) = 0: θ' = θ² - ρθ - κ/(m c), with κ the regulariser's curvature at w = 0."""
    (bend,) = compile_program(field.regularizer, ["d2f"])(np.zeros(1))
    ratio = field.regularizer_scale * max(float(np.max(bend)), 0.0) / field.inertia
    theta = np.zeros(mesh.stages.shape)
    if ratio == 0.0 or not np.isfinite(ratio):
        return theta
    (rate,) = compile_program(field.dissipation, ["rate"])(mesh.stages)
    rate = rate * np.ones_like(theta)
    value = 0.0
    for k in range(len(mesh) - 1, -1, -1):
        # constant ρ over the step: θ' = (θ - a)(θ - b) with a > 0 > b, backwards towards a
        half, t = float(rate[k].mean()) / 2, mesh.nodes[k + 1]
        root = np.hypot(half, np.sqrt(ratio))
        a, b = half + root, half - root
        for j in (1, 0):
            q = (value - a) / (value - b) * np.exp(-(a - b) * (t - mesh.stages[k, j]))
            theta[k, j] = (a - b * q) / (1.0 - q)
        q = (value - a) / (value - b) * np.exp(-(a - b) * mesh.h[k])
        value = (a - b * q) / (1.0 - q)
    return theta
