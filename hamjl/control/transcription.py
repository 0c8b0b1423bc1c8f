"""The functional G (8) on a mesh as a function of the control; gradient and curvature by the costate equation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.control.collocation import MATRIX, LinearFlow, Mesh
from hamjl.control.network import WeightControl
from hamjl.control.sweep import Sweep
from hamjl.control.symbolic import DirectControl, SymbolicModel
from hamjl.dynamics.model import NetworkModel
from hamjl.errors import ProblemError
from hamjl.lowered import BOUND, NetworkField, SymbolicField

Array = NDArray[np.floating]

NEWTON_STEPS, NEWTON_TOLERANCE = 30, 1e-12
SWEEP = 120  # states and arcs up to which Newton's step is found by a Riccati sweep: it takes their third power
BLOCK = 16  # steps of a first guess found at once


def exact(field: NetworkField | SymbolicField) -> bool:
    """Whether Newton's step is found by a Riccati sweep; else by conjugate gradients."""
    return isinstance(field, SymbolicField) or field.neurons + field.moving <= SWEEP


class Transcription:
    """G on a mesh as a function of a vector, the *unknown*, whose Euclidean norm is a norm of the control.

    A *model* says how a *driver* (the weights of a network, the controls of a symbolic system) moves x and what that
    costs; a *control* says how the unknown makes the driver.

    Parameters
    ----------
    field : NetworkField or SymbolicField
    mesh : Mesh
    initial : x(0) and w(0), in the field's layout; costates that follow are not looked at.
    """

    def __init__(self, field: NetworkField | SymbolicField, mesh: Mesh, initial: Array) -> None:
        self.field, self.mesh = field, mesh
        self.model: Any
        self.control: Any
        if isinstance(field, NetworkField):
            n = field.neurons
            if not field.moving:
                lack = "a network without arcs: add one" if not len(field.source) else "all of them frozen: let one go"
                raise ProblemError(f"a control needs weights to move, got {lack}.")
            self.model = NetworkModel(field)
            self.measure = mesh.weights * self.phi(mesh.stages)  # of ∫ … φ dt at the stages, (K, 2)
            self.control = WeightControl(field, mesh, self.measure, initial[n : n + field.moving])
        else:
            self.model = SymbolicModel(field)
            self.measure = mesh.weights * self.phi(mesh.stages)
            self.control = DirectControl(field, mesh, self.measure)
        self.x0 = initial[: self.model.states]
        self.drive = self.model.drive(mesh.stages)
        self.guess: Array | None = None  # of x at the stages
        self.end: Array | None = None  # φ (p_x, p_w) at the last node; zero by default
        self._visited: list[Point] = []

    def phi(self, t: Array) -> Array:
        """φ(t)."""
        phi: Array = self.model.phi(t)
        return phi

    def cost(self, unknown: Array) -> float:
        """G; infinite where x cannot be found."""
        return self.at(unknown).cost

    def gradient(self, unknown: Array) -> Array:
        """dG by the unknown."""
        gradient: Array = self.control.transpose(self.at(unknown).by_driver, unknown)
        return gradient

    def curvature(self, unknown: Array, direction: Array) -> Array:
        """The Hessian of G times a direction."""
        change = self.at(unknown).curvature(self.control.tangent(direction))
        product: Array = self.control.transpose(change, direction)
        return product

    @property
    def exact(self) -> bool:
        """Whether Newton's step is found by a Riccati sweep; else by conjugate gradients."""
        return exact(self.field)

    def factored(self, unknown: Array, shift: float, *, gauss_newton: bool = False) -> Callable[[Array], Array] | None:
        """The inverse of the Hessian plus `shift` times the identity, or None where that is not positive definite.

        Gauss and Newton's Hessian leaves the curvature of x' = f out, and with it all that the costates weigh.
        """
        try:
            return Sweep(self.at(unknown), shift, gauss_newton=gauss_newton).solve
        except np.linalg.LinAlgError:
            return None

    def nodes(self, unknown: Array) -> Array:
        """States and costates divided by φ at the nodes, (K + 1, state) in the field's layout."""
        return self.at(unknown).nodes()

    def at(self, unknown: Array) -> Point:
        """States, costates, cost and derivatives of a control; the last two are remembered.

        A search comes back to where it stood when a step is refused.
        """
        known = [point for point in self._visited if np.array_equal(point.unknown, unknown)]
        point = known[0] if known else Point(self, unknown)
        self._visited = [point, *(other for other in self._visited if other is not point)][:2]
        if not known and np.isfinite(point.cost):
            self.guess = point.x
        return point

    # -- x of the driver ---------------------------------------------------------------------------------------------
    def states(self, driver: Array) -> tuple[Array, Array, LinearFlow] | None:
        """x at stages and nodes and the flow linearised there, or None: Newton's method on all times at once.

        Where x is so sensitive to rounding that this does not converge, a few steps at a time do.
        """
        whole = slice(0, len(self.mesh))
        solved = None if self.guess is None else self._newton(whole, self.x0, self.guess, driver)
        return self._march(driver) if solved is None else solved

    def _march(self, driver: Array) -> tuple[Array, Array, LinearFlow] | None:
        """The same from no guess, a few steps after the other."""
        x, nodes = np.empty((*self.mesh.stages.shape, len(self.x0))), np.empty((len(self.mesh) + 1, len(self.x0)))
        first, block, nodes[0] = 0, BLOCK, self.x0
        while first < len(self.mesh):
            part = slice(first, min(first + block, len(self.mesh)))
            guess = np.broadcast_to(nodes[first], x[part].shape)
            solved = self._newton(part, nodes[first], guess, driver[part])
            if solved is not None:
                x[part], nodes[part.start : part.stop + 1] = solved[:2]
                first, block = part.stop, BLOCK
            elif block > 1:
                block //= 2
            else:
                return None
        flow = linearized(self.mesh, self.model.at(x, driver, self.drive).state_jacobian())
        return None if flow is None else (x, nodes, flow)

    def _newton(self, part: slice, start: Array, x: Array, driver: Array) -> tuple[Array, Array, LinearFlow] | None:
        mesh, drive = Mesh(self.mesh.nodes[part.start : part.stop + 1]), self.drive[part]
        h, size = mesh.h[:, None, None], np.inf
        for _ in range(NEWTON_STEPS):
            point = self.model.at(x, driver, drive)
            jacobian = point.state_jacobian()
            flow = linearized(mesh, jacobian)
            if flow is None:
                return None
            rest = point.speed() - (jacobian @ x[..., None])[..., 0]
            residual = h * np.einsum("ij,kja->kia", MATRIX, rest)
            new, nodes = (values[..., 0] for values in flow.stages(residual[..., None], start[:, None]))
            before, size = size, float(np.abs(new - x).max())
            x = new
            if not size <= 10 * before:
                return None
            if size <= NEWTON_TOLERANCE * (1.0 + float(np.abs(x).max())):
                return x, nodes, flow
        return None


def linearized(mesh: Mesh, jacobian: Array) -> LinearFlow | None:
    """The linear flow on a mesh, or None where it has no values."""
    if not np.isfinite(jacobian).all():
        return None
    try:
        return LinearFlow(mesh, jacobian)
    except np.linalg.LinAlgError:
        return None


class Point:
    """All that is known of one control."""

    def __init__(self, transcription: Transcription, unknown: Array) -> None:
        of = self.of = transcription
        self.unknown, self.cost = unknown.copy(), np.inf
        self.driver = of.control.driver(unknown)
        solved = of.states(self.driver) if np.isfinite(self.driver).all() else None
        if solved is None:
            return
        self.x, self.x_nodes, self.flow = solved
        running = of.model.cost(self.x, self.driver, of.drive)
        spent = (of.measure * running + of.control.effort(unknown)).sum(axis=1)
        self.costs = np.concatenate(([0.0], np.cumsum(spent)))  # G from the start up to each node
        if abs(self.costs[-1]) <= BOUND:
            self.cost = float(self.costs[-1])

    @cached_property
    def derivatives(self) -> Any:
        """The model's derivatives at the stages.

        Raises
        ------
        FloatingPointError
            Where x was not found.
        """
        if not np.isfinite(self.cost):
            raise FloatingPointError("no x under this control")
        return self.of.model.at(self.x, self.driver, self.of.drive)

    @cached_property
    def costates(self) -> tuple[Array, Array]:
        """b h p_x at the stages (K, 2, n), and p_x at the nodes (K + 1, n)."""
        source = self.of.measure[..., None] * self.derivatives.cost_by_state()
        end = self.of.end
        last = None if end is None else end[: len(self.of.x0), None]
        stages, nodes = self.flow.backward(source[..., None], last)
        return stages[..., 0], nodes[..., 0]

    @cached_property
    def by_driver(self) -> Array:
        """The derivative of G by the driver at the stages, x following."""
        own = self.of.measure[..., None] * self.derivatives.cost_by_driver()
        result: Array = own + self.derivatives.driver_by_costate(self.costates[0])
        return result

    def curvature(self, change: Array) -> Array:
        """The change of `by_driver` with a change of the driver."""
        derivatives, measure = self.derivatives, self.of.measure[..., None]
        dx = self.flow.forward(derivatives.speed_by_driver(change)[..., None])[..., 0]
        by_x, by_driver = derivatives.second(self.costates[0] / measure, dx, change)
        dp = self.flow.backward((measure * by_x)[..., None])[0][..., 0]
        result: Array = measure * by_driver + derivatives.driver_by_costate(dp)
        return result

    def second_variation(self, part: slice, weight: float) -> tuple[Array, Array, Array, Array]:
        """Of the integrand of G + `weight` p·f at the stages of some intervals, and ∂f/∂driver, in the control's basis.

        The form in (δx, δdriver) is rowsᵀ middle rows, (k, 2, r, x + driver) and (k, 2, r, r), plus a diagonal in the
        driver, (k, 2, driver).
        """
        of, measure = self.of, self.of.measure[part, :, None]
        at = of.model.at(self.x[part], self.driver[part], of.drive[part])
        rows, middle, bend = at.second_variation(weight * self.costates[0][part] / measure)
        by_driver, basis, n = at.driver_jacobian(), of.control.basis, self.x.shape[-1]
        if basis is not None:
            by_driver, bend = by_driver @ basis, bend @ basis**2  # where there is one in the driver, it is diagonal
            rows = np.concatenate((rows[..., :n], rows[..., n:] @ basis), axis=-1)
        return rows, measure[..., None] * middle, measure * bend, by_driver

    def end_state(self) -> Array:
        """x, and w of a network, at the last node."""
        of = self.of
        if isinstance(of.field, SymbolicField):
            return self.x_nodes[-1]
        w = of.control.w0 + of.mesh.integrate(of.control.control(self.unknown))[-1]
        return np.concatenate((self.x_nodes[-1], w))

    def nodes(self) -> Array:
        """States and costates divided by φ at the nodes, (K + 1, state) in the field's layout."""
        of = self.of
        phi = of.phi(of.mesh.nodes)[:, None]
        x, p_x = self.x_nodes, self.costates[1] / phi
        if isinstance(of.field, SymbolicField):
            return np.concatenate((x, p_x), axis=1)
        w = of.control.w0 + of.mesh.integrate(of.control.control(self.unknown))
        passed = np.concatenate((np.zeros((1, w.shape[1])), np.cumsum(self.by_driver.sum(axis=1), axis=0)))
        last = 0.0 if of.end is None else of.end[len(of.x0) :]
        return np.concatenate((x, w, p_x, (last + passed[-1] - passed) / phi), axis=1)
