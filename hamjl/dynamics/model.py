"""A network without a law: f of x' = f(x, w, t), the running cost cℓ(x, w, t), and both at a state.

All arrays may carry leading axes, (…, neuron), the same for x, w and the drive, so one code serves the integrators, the
analysis of whole trajectories and control.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import compile_program, elementwise
from hamjl.dynamics.arcs import DenseArcs, ListedArcs
from hamjl.dynamics.loss import Loss
from hamjl.lowered import NetworkField
from hamjl.piecewise import Piecewise

Array = NDArray[np.floating]


class NetworkModel:
    """What a `NetworkField` makes of times, weights and states.

    A *drive* is a row (…, d + o + 1) of all that depends on time: inputs u, targets z, and ρ = φ'/φ.
    """

    def __init__(self, field: NetworkField) -> None:
        self.field, self.states = field, field.neurons
        dense = len(field.source) == field.neurons * (field.inputs + field.neurons)
        self.arcs = DenseArcs(field) if dense else ListedArcs(field)
        self.inner = np.flatnonzero(field.source >= field.inputs)  # arcs between neurons
        self.activation = _Activation(field)
        self.loss = Loss(field)
        self.regularizer, self.regularizer_slope, self.regularizer_curvature = (
            elementwise(field.regularizer, label) for label in ("f", "df", "d2f")
        )
        self.phi, self.rate = (elementwise(field.dissipation, label) for label in ("f", "rate"))
        after = field.inputs
        self._signals = [*field.input_signals, *((table, after + columns) for table, columns in field.target_signals)]

    # -- what depends on time ----------------------------------------------------------------------------------------
    def signals(self) -> list[Piecewise]:
        """All signal tables."""
        return [table for table, _ in self._signals]

    def drive(self, t: Array | float, inside: Array | float | None = None) -> Array:
        """The drive (…, d + o + 1) at times (…); with `inside`, on the pieces that are in force at those times."""
        t = np.asarray(t, dtype=np.float64)
        result = np.full((*t.shape, self.field.inputs + len(self.field.outputs) + 1), np.nan)
        for table, columns in self._signals:
            result[..., columns] = table.value(t, None if inside is None else table.piece(inside))
        result[..., -1] = self.rate(t)
        return result

    def slopes(self, t: Array, inside: Array | None = None) -> Array:
        """Time derivatives of u and z, (…, d + o)."""
        result = np.zeros((*t.shape, self.field.inputs + len(self.field.outputs)))
        for table, columns in self._signals:
            result[..., columns] = table.slope(t, None if inside is None else table.piece(inside))
        return result

    # -- what depends on the state -----------------------------------------------------------------------------------
    def recurrent(self, w: Array) -> Array:
        """∂a/∂x, the weights between neurons as a matrix (…, neuron, neuron)."""
        f, inner = self.field, self.inner
        result = np.zeros((*w.shape[:-1], f.neurons, f.neurons))
        result[..., f.target[inner], f.source[inner] - f.inputs] = w[..., inner]
        return result

    def at(self, x: Array, w: Array, drive: Array) -> NetworkPoint:
        """The network at x and w."""
        return NetworkPoint(self, x, w, drive)

    def cost(self, x: Array, w: Array, drive: Array) -> Array:
        """cℓ = c (k V + q L), (…)."""
        return self.loss.value(x, drive) + self.field.regularizer_scale * self.regularizer(w).sum(axis=-1)

    def best_control(self, states: Array, drive: Array) -> Array:
        """The control v = -p_w/(m c φ) that minimises the Hamiltonian at full states, (…, arc)."""
        return -states[..., -len(self.field.source) :] / self.field.inertia


class NetworkPoint:
    """A network at x and w (the *driver* of x): what all begin with that ask for anything there, computed once.

    Attributes
    ----------
    v : inputs and neurons, (…, vertex)
    sigma, slope, curvature : σ, σ' and σ'' at a_i = Σ_j w_ij v_j, (…, neuron)
    gain : c σ', (…, neuron)
    """

    def __init__(self, model: NetworkModel, x: Array, w: Array, drive: Array) -> None:
        field, self.model, self.x, self.w, self.drive = model.field, model, x, w, drive
        self.v = np.concatenate((drive[..., : field.inputs], x), axis=-1) if field.inputs else x
        self._a = model.arcs.forward(w, self.v)
        self.sigma, self.slope = model.activation(self._a)
        self.gain = field.velocity * self.slope

    @cached_property
    def curvature(self) -> Array:
        """σ''."""
        return self.model.activation.curvature(self._a)

    # -- the Hamiltonian cℓ + p·f, p_w left out -----------------------------------------------------------------------
    def speed(self) -> Array:
        """f (…, neuron)."""
        return self.model.field.velocity * (self.sigma - self.x)

    def by_state(self, p: Array) -> Array:
        """∂(cℓ + p·f)/∂x (…, neuron)."""
        model, field = self.model, self.model.field
        result = model.arcs.backward(self.w, self.gain * p)
        result -= field.velocity * p
        result[..., model.loss.outputs] += model.loss.gradient(self.x, self.drive)
        return result

    def by_driver(self, p: Array, out: Array | None = None) -> Array:
        """∂(cℓ + p·f)/∂w (…, arc)."""
        model, field = self.model, self.model.field
        result = self.driver_by_costate(p, out)
        if field.regularizer_scale:
            result += field.regularizer_scale * model.regularizer_slope(self.w)
        return result

    def cost_by_state(self) -> Array:
        """∂cℓ/∂x (…, neuron)."""
        return self.model.loss.signal(self.x, self.drive)

    def cost_by_driver(self) -> Array:
        """∂cℓ/∂w (…, arc)."""
        return self.model.field.regularizer_scale * self.model.regularizer_slope(self.w)

    def driver_by_costate(self, p: Array, out: Array | None = None) -> Array:
        """(∂f/∂w)ᵀ p = g_i v_j with g_i = c_i σ'(a_i) p_i, (…, arc)."""
        return self._outer(self.gain * p, self.v, out)

    def speed_by_driver(self, dw: Array) -> Array:
        """∂f/∂w δw (…, neuron)."""
        return self.gain * self.model.arcs.forward(dw, self.v)

    # -- matrices ----------------------------------------------------------------------------------------------------
    def activation_by_driver(self) -> Array:
        """∂a/∂w (…, neuron, arc)."""
        f = self.model.field
        result = np.zeros((*self.x.shape, len(f.source)))
        result[..., f.target, np.arange(len(f.source))] = self.v[..., f.source]
        return result

    def state_jacobian(self) -> Array:
        """∂f/∂x (…, neuron, neuron)."""
        each, result = np.arange(self.model.field.neurons), self.model.recurrent(self.w)
        result *= self.gain[..., None]
        result[..., each, each] -= self.model.field.velocity
        return result

    def driver_jacobian(self) -> Array:
        """∂f/∂w (…, neuron, arc)."""
        return self.gain[..., None] * self.activation_by_driver()

    # -- second order ------------------------------------------------------------------------------------------------
    def moved(self, dx: Array, dw: Array, du: Array | None = None) -> tuple[Array, Array]:
        """Changes of v, (…, vertex), and of a, (…, neuron)."""
        du = np.zeros((*dx.shape[:-1], self.model.field.inputs)) if du is None else du
        dv = np.concatenate((du, dx), axis=-1)
        return dv, self.model.arcs.forward(self.w, dv) + self.model.arcs.forward(dw, self.v)

    def second(self, p: Array, dx: Array, dw: Array) -> tuple[Array, Array]:
        """Changes of the derivatives of cℓ + p·f by x and by w with (δx, δw), p held."""
        model, f = self.model, self.model.field
        dv, da = self.moved(dx, dw)
        g, dg = self.gain * p, f.velocity * self.curvature * p * da
        by_x = model.arcs.backward(self.w, dg) + model.arcs.backward(dw, g)
        by_x[..., model.loss.outputs] += model.loss.curvature(self.x, self.drive, dx[..., model.loss.outputs])
        by_w = self._outer(dg, self.v)
        by_w += self._outer(g, dv)
        if f.regularizer_scale:
            by_w += f.regularizer_scale * model.regularizer_curvature(self.w) * dw
        return by_x, by_w

    def second_variation(self, p: Array) -> tuple[Array, Array, Array]:
        """Second derivatives of cℓ + p·f by (x, w): rowsᵀ middle rows, (…, 3 neuron, x + w), plus a diagonal in w.

        The rows are δx, δa, and Σ_k g_k δw_kj: what meets δx_j where arcs leave it.
        """
        model, f, n, inner = self.model, self.model.field, self.model.field.neurons, self.model.inner
        rows = np.zeros((*self.x.shape[:-1], 3 * n, n + len(f.source)))
        middle = np.zeros((*self.x.shape[:-1], 3 * n, 3 * n))
        each = np.arange(n)
        rows[..., each, each] = 1.0
        rows[..., n : 2 * n, :n], rows[..., n : 2 * n, n:] = self.model.recurrent(self.w), self.activation_by_driver()
        rows[..., 2 * n + f.source[inner] - f.inputs, n + inner] = (self.gain * p)[..., f.target[inner]]
        middle[..., each, 2 * n + each] = middle[..., 2 * n + each, each] = 1.0
        middle[..., n + each, n + each] = f.velocity * self.curvature * p
        middle[..., f.outputs[:, None], f.outputs] += model.loss.hessian(self.x, self.drive)
        return rows, middle, f.regularizer_scale * model.regularizer_curvature(self.w)

    def _outer(self, g: Array, v: Array, out: Array | None = None) -> Array:
        out = np.empty_like(self.w) if out is None else out
        self.model.arcs.outer(g, v, out)
        return out


class _Activation:
    """σ and its derivatives of all neurons, each by its own program."""

    def __init__(self, field: NetworkField) -> None:
        self._columns = [np.flatnonzero(field.activation_of == k) for k in range(len(field.activations))]
        self._two = [compile_program(program, ["f", "df"]) for program in field.activations]
        self._curvatures = [compile_program(program, ["d2f"]) for program in field.activations]
        with np.errstate(all="ignore"):  # one program for all, and no result that is a number instead of an array
            self._alike = len(self._two) == 1 and all(np.ndim(value) for value in self._two[0](np.zeros(1)))

    def __call__(self, a: Array) -> tuple[Array, Array]:
        """σ and σ'."""
        sigma, slope = self._two[0](a) if self._alike else self._each(self._two, 2, a)
        return sigma, slope

    def curvature(self, a: Array) -> Array:
        """σ''."""
        return self._each(self._curvatures, 1, a)[0]

    def _each(self, functions: list[Any], count: int, a: Array) -> list[Array]:
        results = [np.empty_like(a) for _ in range(count)]
        for columns, function in zip(self._columns, functions, strict=True):
            for result, value in zip(results, function(a[..., columns]), strict=True):
                result[..., columns] = value
        return results
