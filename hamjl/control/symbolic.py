"""A symbolic system as a control problem: states driven by the controls themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import compile_program
from hamjl.control.collocation import NODES, Mesh
from hamjl.control.starts import Path
from hamjl.dynamics.symbolic import SymbolicDynamics
from hamjl.lowered import LawCode, SymbolicField

Array = NDArray[np.floating]


class SymbolicModel:
    """x' = f(x, v, t) and the running cost of a `SymbolicField`; `drive`, x and v have the same leading axes."""

    def __init__(self, field: SymbolicField) -> None:
        self.field, dynamics = field, SymbolicDynamics(field, LawCode())
        self.drive, self.phi, self._controls = dynamics.drive, dynamics.phi, dynamics.controls
        n, m = self.states, self.controls = field.states, field.controls
        names = {
            "f": (n,),
            "cost_x": (n,),
            "cost_v": (m,),
            "f_x": (n, n),
            "f_v": (n, m),
            "h_xx": (n, n),
            "h_xv": (n, m),
            "h_vv": (m, m),
        }
        self._functions = {name: (shape, self._compile(name, shape)) for name, shape in names.items()}
        self._cost = compile_program(field.control, ["cost"])

    def _compile(self, name: str, shape: tuple[int, ...]) -> Any:
        return compile_program(self.field.control, ["_".join((name, *map(str, k))) for k in np.ndindex(*shape)])

    def evaluate(self, name: str, arguments: tuple[Array, ...]) -> Array:
        """A group of formulas, (…, *shape)."""
        shape, function = self._functions[name]
        like = arguments[0]
        values = [np.broadcast_to(value, like.shape) for value in function(*arguments)]
        return np.stack(values, axis=-1).reshape(*like.shape, *shape)

    def at(self, x: Array, v: Array, drive: Array) -> SymbolicPoint:
        """Derivatives at x and v."""
        return SymbolicPoint(self, x, v, drive)

    def cost(self, x: Array, v: Array, drive: Array) -> Array:
        """The running cost (…)."""
        (cost,) = self._cost(*self.arguments(x, np.zeros_like(x), v, drive))
        return cost * np.ones(x.shape[:-1])

    def best_control(self, states: Array, drive: Array) -> Array:
        """The controls that minimise the Hamiltonian at full states, (…, control)."""
        return self._controls(states, drive)

    def arguments(self, x: Array, p: Array, v: Array, drive: Array) -> tuple[Array, ...]:
        """Arguments of the formulas: x, p, v, signals, t."""
        return tuple(np.moveaxis(part, -1, 0)[k] for part in (x, p, v, drive[..., :-1]) for k in range(part.shape[-1]))


class SymbolicPoint:
    """f, and the derivatives of f and of the cost, at given x and v."""

    def __init__(self, model: SymbolicModel, x: Array, v: Array, drive: Array) -> None:
        self._model, self._x, self._v, self._drive = model, x, v, drive
        self._plain = model.arguments(x, np.zeros_like(x), v, drive)

    def speed(self) -> Array:
        """f (…, state)."""
        return self._model.evaluate("f", self._plain)

    def state_jacobian(self) -> Array:
        """∂f/∂x (…, state, state)."""
        return self._model.evaluate("f_x", self._plain)

    def cost_by_state(self) -> Array:
        """∂cost/∂x (…, state)."""
        return self._model.evaluate("cost_x", self._plain)

    def cost_by_driver(self) -> Array:
        """∂cost/∂v (…, control)."""
        return self._model.evaluate("cost_v", self._plain)

    def speed_by_driver(self, dv: Array) -> Array:
        """∂f/∂v δv (…, state)."""
        return _times(self._model.evaluate("f_v", self._plain), dv)

    def driver_by_costate(self, p: Array) -> Array:
        """(∂f/∂v)ᵀ p (…, control)."""
        return _times(np.swapaxes(self._model.evaluate("f_v", self._plain), -1, -2), p)

    def second(self, p: Array, dx: Array, dv: Array) -> tuple[Array, Array]:
        """Changes of the derivatives of cost + p·f by x and by v with (δx, δv), p held."""
        xx, xv, vv = self.hessian(p)
        return _times(xx, dx) + _times(xv, dv), _times(np.swapaxes(xv, -1, -2), dx) + _times(vv, dv)

    def hessian(self, p: Array) -> tuple[Array, Array, Array]:
        """Second derivatives of cost + p·f by (x, x), (x, v) and (v, v)."""
        arguments = self._model.arguments(self._x, p, self._v, self._drive)
        xx, xv, vv = (self._model.evaluate(name, arguments) for name in ("h_xx", "h_xv", "h_vv"))
        return xx, xv, vv

    def second_variation(self, p: Array) -> tuple[Array, Array, Array]:
        """The same as rowsᵀ middle rows, and a diagonal in v, which is none."""
        xx, xv, vv = self.hessian(p)
        whole = np.block([[xx, xv], [np.swapaxes(xv, -1, -2), vv]])
        return np.eye(whole.shape[-1]) + np.zeros_like(whole), whole, np.zeros_like(self._v)

    def driver_jacobian(self) -> Array:
        """∂f/∂v (…, state, control)."""
        return self._model.evaluate("f_v", self._plain)


class DirectControl:
    """From the unknown of a transcription to the controls at the stages: v = R^{-1/2} u/√(φ b h), R = ∂²cost/∂v²."""

    def __init__(self, field: SymbolicField, mesh: Mesh, measure: Array) -> None:
        self.mesh, self.shape = mesh, (*mesh.stages.shape, field.controls)
        self._scale = np.sqrt(measure)[..., None]
        model, m = SymbolicModel(field), field.controls
        zero = np.zeros((1, field.states))
        point = model.arguments(zero, zero, np.zeros((1, m)), np.zeros((1, len(field.signals) + 2)))
        self._root = np.linalg.cholesky(model.evaluate("h_vv", point)[0])  # R = L Lᵀ, u = Lᵀ v
        self.basis = np.linalg.inv(self._root).T

    def driver(self, unknown: Array) -> Array:
        """v (K, 2, control)."""
        return (unknown.reshape(self.shape) / self._scale) @ self.basis.T

    control = tangent = driver
    memory = 0  # numbers that go from interval to interval

    def map(self, part: slice) -> tuple[Array, Array, Array]:
        """Stages of v, of the effort apart from the running cost, and of what is kept, by (unknown_1, unknown_2)."""
        stages = np.eye(2) / self._scale[part]
        return stages, np.zeros_like(stages), np.zeros_like(stages[:, 0])

    def effort(self, unknown: Array) -> float:
        """None: the running cost has it all."""
        return 0.0

    def transpose(self, by_driver: Array, direction: Array) -> Array:
        """The transpose of `tangent`."""
        return (by_driver @ self.basis / self._scale).ravel()

    def unknown(self, v: Array) -> Array:
        """The unknown of given controls."""
        return (self._scale * (v @ self._root)).ravel()

    def along(self, path: Path) -> Array:
        """The unknown whose controls are those of a path at the stages."""
        return self.unknown(path(self.mesh.stages.ravel()).reshape(self.shape))

    def path(self, unknown: Array) -> Path:
        """The controls of time, linear on each interval."""
        v = self.driver(unknown)
        slope = (v[:, 1] - v[:, 0]) / (NODES[1] - NODES[0])

        def path(t: Array) -> Array:
            k = np.clip(np.searchsorted(self.mesh.nodes, t, side="right") - 1, 0, len(self.mesh) - 1)
            s = (t - self.mesh.nodes[k]) / self.mesh.h[k]
            return v[k, 0] + (s - NODES[0])[:, None] * slope[k]

        return path

    def path_of(self, times: Array, v: Array) -> Path:
        """The controls, linear between times and constant outside."""
        return lambda t: np.stack([np.interp(t, times, column) for column in v.T], axis=-1)


def _times(matrix: Array, vector: Array) -> Array:
    return (matrix @ vector[..., None])[..., 0]
