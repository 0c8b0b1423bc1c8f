"""A network without a law: f of x' = f(x, w, t), the running cost cℓ(x, w, t), and both at a state.

All arrays may carry leading axes, (…, neuron), the same for x, w and the drive, so one code serves the integrators, the
analysis of whole trajectories and control.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import compile_program, elementwise
from hamjl.dynamics.arcs import DenseArcs, ListedArcs
from hamjl.dynamics.loss import Loss
from hamjl.dynamics.weights import OwnWeights, weights_of
from hamjl.expressions import Program
from hamjl.lowered import Integers, NetworkField
from hamjl.piecewise import Piecewise

Array = NDArray[np.floating]


class NetworkModel:
    """What a `NetworkField` makes of times, weights and states.

    A *drive* is a row of all that depends on time: inputs u, targets z, the losses' weights if they have any of their
    own, and ρ = φ'/φ, (…, d + o + 1) or (…, d + 2 o + 1). The *driver* of x are the weights that move.
    """

    def __init__(self, field: NetworkField) -> None:
        self.field, self.states = field, field.neurons
        self.weights = weights_of(field)
        dense = len(field.source) == field.neurons * (field.inputs + field.neurons)
        self.arcs = DenseArcs(field) if dense else ListedArcs(field)
        self.inner = np.flatnonzero(field.source >= field.inputs)  # arcs between neurons
        self.neuron = _Leaky(field) if field.leaky else _Neurons(field)
        self.loss = Loss(field)
        self.regularizer, self.regularizer_slope, self.regularizer_curvature = (
            elementwise(field.regularizer, label) for label in ("f", "df", "d2f")
        )
        self.regularized = bool(np.any(field.regularizer_scale))
        self.phi, self.rate = dissipation(field.dissipation)
        behind, after = field.inputs, field.inputs + len(field.outputs)
        self.width = after + (len(field.outputs) if field.loss_weights else 0) + 1
        self._signals = [*field.input_signals, *((table, behind + columns) for table, columns in field.target_signals)]
        self._formulas = list[tuple[Any, Any, Integers]]()
        for weight, columns in field.loss_weights:
            if isinstance(weight, Piecewise):
                self._signals.append((weight, after + columns))
            else:
                self._formulas.append((elementwise(weight, "f"), elementwise(weight, "df"), after + columns))

    # -- what depends on time ----------------------------------------------------------------------------------------
    def signals(self) -> list[Piecewise]:
        """All signal tables."""
        log_phi = [self.field.dissipation] if isinstance(self.field.dissipation, Piecewise) else []
        return [*(table for table, _ in self._signals), *log_phi]

    def drive(self, t: Array | float, inside: Array | float | None = None) -> Array:
        """The drive at times (…); with `inside`, on the pieces that are in force at those times."""
        t = np.asarray(t, dtype=np.float64)
        result = np.full((*t.shape, self.width), np.nan)
        for table, columns in self._signals:
            result[..., columns] = table.value(t, None if inside is None else table.piece(inside))
        for formula, _, columns in self._formulas:
            result[..., columns] = formula(t)[..., None]
        result[..., -1] = self.rate(t, inside)
        return result

    def slopes(self, t: Array, inside: Array | None = None) -> Array:
        """Time derivatives of all but the last of the drive."""
        result = np.zeros((*t.shape, self.width - 1))
        for table, columns in self._signals:
            result[..., columns] = table.slope(t, None if inside is None else table.piece(inside))
        for _, slope, columns in self._formulas:
            result[..., columns] = slope(t)[..., None]
        return result

    # -- what depends on the state -----------------------------------------------------------------------------------
    def recurrent(self, w: Array) -> Array:
        """∂a/∂x, the weights w (…, arc) between neurons as a matrix (…, neuron, neuron)."""
        f, inner = self.field, self.inner
        result = np.zeros((*w.shape[:-1], f.neurons, f.neurons))
        result[..., f.target[inner], f.source[inner] - f.inputs] = w[..., inner]
        return result

    def at(self, x: Array, driver: Array, drive: Array) -> NetworkPoint:
        """The network at x and the weights that move."""
        return NetworkPoint(self, x, driver, drive)

    def cost(self, x: Array, driver: Array, drive: Array) -> Array:
        """cℓ = c (k V + q L), (…)."""
        scale, each = self.field.regularizer_scale, self.regularizer(self.weights.all(driver))
        paid = (scale * each).sum(axis=-1) if np.ndim(scale) else scale * each.sum(axis=-1)
        return self.loss.value(x, drive) + paid

    def cost_by_weight(self, derivative: Callable[..., Array], driver: Array) -> Array:
        """c k times a derivative of V at the weights that move, (…, weight)."""
        return self.weights.select(self.field.regularizer_scale) * derivative(driver)

    def best_control(self, states: Array, drive: Array) -> Array:
        """The control v = -p_w/(m c φ) that minimises the Hamiltonian at full states, (…, weight)."""
        return -states[..., states.shape[-1] - self.field.moving :] / self.field.inertia


class NetworkPoint:
    """A network at x and w (the *driver* of x): what all begin with that ask for anything there, computed once.

    Attributes
    ----------
    driver, w : the weights that move, and those of all arcs, (…, weight) and (…, arc)
    v : inputs and neurons, (…, vertex)
    value, slope, decay : f, ∂f/∂a and ∂f/∂x of x' = c f(x, a) at a_i = Σ_j w_ij v_j, (…, neuron); decay may be a number
    gain : c ∂f/∂a, (…, neuron)
    """

    def __init__(self, model: NetworkModel, x: Array, driver: Array, drive: Array) -> None:
        field, self.model, self.x, self.driver, self.drive = model.field, model, x, driver, drive
        self.w = model.weights.spread(driver)
        self.v = np.concatenate((drive[..., : field.inputs], x), axis=-1) if field.inputs else x
        self._a = model.arcs.forward(self.w, self.v)
        self.value, self.slope, self.decay = model.neuron.first(x, self._a)
        self.gain = field.velocity * self.slope

    @cached_property
    def curvature(self) -> tuple[Array, Array | None, Array | None]:
        """∂²f/∂a², ∂²f/∂x∂a and ∂²f/∂x²; the last two are none where they are zero."""
        return self.model.neuron.second(self.x, self._a)

    # -- the Hamiltonian cℓ + p·f, p_w left out -----------------------------------------------------------------------
    def speed(self) -> Array:
        """x' (…, neuron)."""
        return self.model.field.velocity * self.value

    def by_state(self, p: Array) -> Array:
        """∂(cℓ + p·x')/∂x (…, neuron)."""
        model, field = self.model, self.model.field
        result = model.arcs.backward(self.w, self.gain * p)
        result += field.velocity * self.decay * p
        result[..., model.loss.outputs] += model.loss.gradient(self.x, self.drive)
        return result

    def by_driver(self, p: Array, out: Array | None = None) -> Array:
        """∂(cℓ + p·x')/∂w (…, weight)."""
        model = self.model
        result = self.driver_by_costate(p, out)
        if model.regularized:
            result += model.cost_by_weight(model.regularizer_slope, self.driver)
        return result

    def cost_by_state(self) -> Array:
        """∂cℓ/∂x (…, neuron)."""
        return self.model.loss.signal(self.x, self.drive)

    def cost_by_driver(self) -> Array:
        """∂cℓ/∂w (…, weight)."""
        return self.model.cost_by_weight(self.model.regularizer_slope, self.driver)

    def arc_by_costate(self, p: Array) -> Array:
        """g_i v_j with g_i = c_i ∂f/∂a_i p_i, (…, arc)."""
        return self._outer(self.gain * p, self.v)

    def driver_by_costate(self, p: Array, out: Array | None = None) -> Array:
        """(∂x'/∂w)ᵀ p, (…, weight): g_i v_j, summed over tied arcs."""
        if isinstance(self.model.weights, OwnWeights):
            return self._outer(self.gain * p, self.v, out)
        result = self.model.weights.gather(self.arc_by_costate(p))
        if out is None:
            return result
        out[...] = result
        return out

    def speed_by_driver(self, change: Array) -> Array:
        """∂x'/∂w δw (…, neuron)."""
        return self.gain * self.model.arcs.forward(self.model.weights.tangent(change), self.v)

    # -- matrices ----------------------------------------------------------------------------------------------------
    def activation_by_driver(self) -> Array:
        """∂a/∂w (…, neuron, weight)."""
        f = self.model.field
        result = np.zeros((*self.x.shape, len(f.source)))
        result[..., f.target, np.arange(len(f.source))] = self.v[..., f.source]
        return self.model.weights.gather(result)

    def state_jacobian(self) -> Array:
        """∂x'/∂x (…, neuron, neuron)."""
        each, result = np.arange(self.model.field.neurons), self.model.recurrent(self.w)
        result *= self.gain[..., None]
        result[..., each, each] += self.model.field.velocity * self.decay
        return result

    def driver_jacobian(self) -> Array:
        """∂x'/∂w (…, neuron, weight)."""
        return self.gain[..., None] * self.activation_by_driver()

    # -- second order ------------------------------------------------------------------------------------------------
    def moved(self, dx: Array, change: Array, du: Array | None = None) -> tuple[Array, Array]:
        """Changes of v, (…, vertex), and of a, (…, neuron)."""
        du = np.zeros((*dx.shape[:-1], self.model.field.inputs)) if du is None else du
        dv, arcs = np.concatenate((du, dx), axis=-1), self.model.arcs
        return dv, arcs.forward(self.w, dv) + arcs.forward(self.model.weights.tangent(change), self.v)

    def slope_change(self, dx: Array, da: Array) -> Array:
        """The change of ∂f/∂a, (…, neuron)."""
        by_a, mixed, _ = self.curvature
        return by_a * da if mixed is None else by_a * da + mixed * dx

    def second(self, p: Array, dx: Array, change: Array) -> tuple[Array, Array]:
        """Changes of the derivatives of cℓ + p·x' by x and by w with (δx, δw), p held."""
        model, f = self.model, self.model.field
        dv, da = self.moved(dx, change)
        g, dg = self.gain * p, f.velocity * p * self.slope_change(dx, da)
        by_x = model.arcs.backward(self.w, dg) + model.arcs.backward(model.weights.tangent(change), g)
        _, mixed, by_xx = self.curvature
        if mixed is not None and by_xx is not None:
            by_x += f.velocity * p * (mixed * da + by_xx * dx)
        by_x[..., model.loss.outputs] += model.loss.curvature(self.x, self.drive, dx[..., model.loss.outputs])
        by_w = self._outer(dg, self.v)
        by_w += self._outer(g, dv)
        result = model.weights.gather(by_w)
        if model.regularized:
            result += model.cost_by_weight(model.regularizer_curvature, self.driver) * change
        return by_x, result

    def second_variation(self, p: Array) -> tuple[Array, Array, Array]:
        """Second derivatives of cℓ + p·x' by (x, w): rowsᵀ middle rows, (…, 3 neuron, x + w), plus a diagonal in w.

        The rows are δx, δa, and Σ_k g_k δw_kj: what meets δx_j where arcs leave it.
        """
        model, f, n, inner = self.model, self.model.field, self.model.field.neurons, self.model.inner
        rows = np.zeros((*self.x.shape[:-1], 3 * n, n + f.moving))
        middle = np.zeros((*self.x.shape[:-1], 3 * n, 3 * n))
        leaving = np.zeros((*self.x.shape, len(f.source)))
        leaving[..., f.source[inner] - f.inputs, inner] = (self.gain * p)[..., f.target[inner]]
        each = np.arange(n)
        rows[..., each, each] = 1.0
        rows[..., n : 2 * n, :n], rows[..., n : 2 * n, n:] = self.model.recurrent(self.w), self.activation_by_driver()
        rows[..., 2 * n :, n:] = model.weights.gather(leaving)
        middle[..., each, 2 * n + each] = middle[..., 2 * n + each, each] = 1.0
        by_a, mixed, by_xx = self.curvature
        middle[..., n + each, n + each] = f.velocity * by_a * p
        if mixed is not None and by_xx is not None:
            middle[..., each, n + each] = middle[..., n + each, each] = f.velocity * mixed * p
            middle[..., each, each] = f.velocity * by_xx * p
        middle[..., f.outputs[:, None], f.outputs] += model.loss.hessian(self.x, self.drive)
        return rows, middle, model.cost_by_weight(model.regularizer_curvature, self.driver)

    def _outer(self, g: Array, v: Array, out: Array | None = None) -> Array:
        out = np.empty_like(self.w) if out is None else out
        self.model.arcs.outer(g, v, out)
        return out


# f of x' = c f(x, a), with its first and second derivatives, of all neurons (…, neuron).
class _Leaky:
    """f = σ(a) - x."""

    def __init__(self, field: NetworkField) -> None:
        self._two = _Each(field, ["f", "df"])
        self._curvature = _Each(field, ["d2f"])
        with np.errstate(all="ignore"):  # one program for all, and no result that is a number instead of an array
            self._alike = len(field.activations) == 1 and all(map(np.ndim, self._two.functions[0](np.zeros(1))))

    def first(self, x: Array, a: Array) -> tuple[Array, Array, float | Array]:
        """f, ∂f/∂a and ∂f/∂x."""
        sigma, slope = self._two.functions[0](a) if self._alike else self._two(a)
        return sigma - x, slope, -1.0

    def second(self, x: Array, a: Array) -> tuple[Array, Array | None, Array | None]:
        """∂²f/∂a², ∂²f/∂x∂a and ∂²f/∂x²."""
        return self._curvature(a)[0], None, None


class _Neurons:
    """Each neuron's own f."""

    def __init__(self, field: NetworkField) -> None:
        self._first, self._second = _Each(field, ["f", "fa", "fx"]), _Each(field, ["faa", "fxa", "fxx"])

    def first(self, x: Array, a: Array) -> tuple[Array, Array, float | Array]:
        value, slope, decay = self._first(x, a)
        return value, slope, decay

    def second(self, x: Array, a: Array) -> tuple[Array, Array | None, Array | None]:
        by_a, mixed, by_xx = self._second(x, a)
        return by_a, mixed, by_xx


class _Each:
    """Some results of the programs of all neurons, each by its own."""

    def __init__(self, field: NetworkField, labels: list[str]) -> None:
        self._columns = [np.flatnonzero(field.activation_of == k) for k in range(len(field.activations))]
        self.functions = [compile_program(program, labels) for program in field.activations]
        self._count = len(labels)

    def __call__(self, *arguments: Array) -> list[Array]:
        results = [np.empty_like(arguments[-1]) for _ in range(self._count)]
        for columns, function in zip(self._columns, self.functions, strict=True):
            for result, value in zip(results, function(*(part[..., columns] for part in arguments)), strict=True):
                result[..., columns] = value
        return results


def dissipation(given: Program | Piecewise) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """φ and ρ = φ'/φ as functions of times (…); of ρ also with the times that say which piece is in force."""
    if isinstance(given, Piecewise):
        return (
            lambda t: np.exp(given.value(t)[..., 0]),
            lambda t, inside=None: given.slope(t, None if inside is None else given.piece(inside))[..., 0],
        )
    phi, rate = elementwise(given, "f"), elementwise(given, "rate")
    return phi, lambda t, inside=None: rate(t)
