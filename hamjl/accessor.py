"""The ``.hamjl`` accessor: analyses and plots of a trajectory."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hamjl.checks import number
from hamjl.errors import ProblemError
from hamjl.lowered import Floats
from hamjl.methods import Euler
from hamjl.problem import Problem
from hamjl.recipe import Recipe
from hamjl.symbolic import SymbolicSystem

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hamjl.dynamics import FullDynamics
    from hamjl.dynamics.network import NetworkDynamics


@xr.register_dataset_accessor("hamjl")
class TrajectoryAccessor:
    """Analyses and plots of a trajectory returned by `hamjl.solve` or read back from its file."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._given = dataset

    @cached_property
    def _ds(self) -> xr.Dataset:
        """The trajectory in the order of its own network, whatever the order in which the user has it."""
        ds, labels = self._given, self._labels
        for dim, names in labels.items():
            if dim not in ds.indexes or sorted(map(str, ds.indexes[dim])) != sorted(names):
                raise ProblemError(
                    f"this analysis needs all {len(names)} {dim}s by name, got {ds.sizes.get(dim, 0)}: do it first, "
                    "then select."
                )
            ds = ds.sel({dim: list(names)})
        missing = [name for name in (*self._dynamics.parts, "sign") if name not in ds or "time" not in ds[name].dims]
        if missing or ds.sizes.get("time", 0) < 1 or ds.time.dtype.kind not in "iuf":
            raise ProblemError(
                f"this analysis needs x, p_x … over time, got {dict(ds.sizes)}: keep variables and time."
            )
        stray = [dim for dim in ds[self._dynamics.parts[0]].dims if dim not in ("time", *labels)]
        if stray:
            raise ProblemError(f"an analysis is of one trajectory, got the dimension {stray[0]!r}: select along it.")
        if (np.diff(ds.time.values) <= 0).any():
            raise ProblemError("times of a trajectory must increase strictly, got others: sort by time first.")
        return ds.transpose("time", ...)

    @property
    def _labels(self) -> dict[str, tuple[str, ...]]:
        problem = self.recipe.problem
        if isinstance(problem, SymbolicSystem):
            return {"state": tuple(problem.states)}
        return {"neuron": problem.network.neurons, "arc": problem.network.arcs}

    @cached_property
    def recipe(self) -> Recipe:
        """The problem, law, method, times and engine that made this trajectory; `hamjl.run` runs it again."""
        if "recipe" not in self._given.attrs:
            raise ProblemError("a trajectory must carry its recipe in attrs, got a Dataset without: keep its attrs.")
        return Recipe.unpack(self._given.attrs["recipe"], self._given)

    @property
    def statistics(self) -> dict[str, Any]:
        """The engine's counts: steps, evaluations, restarts."""
        counts: dict[str, Any] = json.loads(self._given.attrs.get("statistics", "{}"))
        return counts

    # -- analyses ----------------------------------------------------------------------------------------------------
    def weights(self) -> xr.DataArray:
        """The weights w_ij as a matrix, (time, target, source), zero where there is no arc."""
        network = self._network_problem.network
        return xr.DataArray(
            network.matrix(self._ds.w.values),
            dims=("time", "target", "source"),
            coords={"time": self._ds.time, "target": list(network.neurons), "source": list(network.vertices)},
            name="weights",
            attrs=self._ds.w.attrs,
        )

    def normalized_costate(self) -> xr.DataArray:
        """λ_i = σ'(a_i) p_x^i/φ, equation (15), (time, neuron): the error signal that backpropagation calls delta."""
        dynamics = self._network_dynamics
        values = dynamics.normalized_costate(self._states, dynamics.drive(self._ds.time.values))
        attrs = {"long_name": "normalised costate λ (15)", "units": "cost"}
        return xr.DataArray(values, dims=("time", "neuron"), coords=self._ds.p_x.coords, name="lambda", attrs=attrs)

    def backprop_gradient(self) -> xr.DataArray:
        """Backpropagation's gradient of the loss at each time, for the weights of that time, (time, arc).

        It is ∂(c q L)/∂w_ij, the gradient of the trajectory's ``loss`` with the neurons at rest, x = σ(a), under the
        present input: the delta rule (17), on a cyclic graph at the fixed point that (7) would reach from x. NaN where
        there is none, 0 where there is no target.
        """
        from hamjl.backprop import instantaneous_gradient

        dynamics = self._network_dynamics
        values = instantaneous_gradient(dynamics.field, self._states, dynamics.drive(self._ds.time.values))
        attrs = {"long_name": "gradient of the loss by backpropagation", "units": "cost/time"}
        return self._ds.w.copy(data=values).rename("backprop_gradient").assign_attrs(attrs)

    def local_gradient(self) -> xr.DataArray:
        """g_i x_j = c_i λ_i x_j, (time, arc): the local term that stands for `backprop_gradient` in (14) and (18)."""
        dynamics = self._network_dynamics
        values = dynamics.local_gradient(self._states, dynamics.drive(self._ds.time.values))
        attrs = {"long_name": "local gradient g_i x_j", "units": "cost/time"}
        return self._ds.w.copy(data=values).rename("local_gradient").assign_attrs(attrs)

    def alignment(self) -> xr.Dataset:
        """How near `local_gradient` is to `backprop_gradient`, at each time.

        Returns
        -------
        xarray.Dataset
            ``cosine`` and ``relative_error`` (time,) over all arcs; on a DAG also ``layer_cosine`` and
            ``layer_relative_error`` (time, layer) over the arcs into the neurons of a layer, which is the length of the
            longest path to them. NaN where the loss has no gradient.
        """
        from hamjl.backprop import alignment

        ours, theirs = self.local_gradient(), self.backprop_gradient()
        result = alignment(self._network_dynamics.field, ours.values, theirs.values)
        return result.assign_coords(time=self._ds.time)

    def tracking_error(self, start: float | None = None) -> xr.DataArray:
        """Root mean square of y - z over the samples from `start` (by default the second half), (output,)."""
        self._network_problem  # noqa: B018  (refuses other problems)
        time = self._time
        for name in ("y", "z"):
            if name not in self._ds:
                raise ProblemError(f"the tracking error needs y and z, got a trajectory without {name}: keep it.")
        start = float(time[0] + time[-1]) / 2 if start is None else number(start, "start")
        part = self._ds.sel(time=slice(start, None))
        error = np.sqrt(((part.y - part.z) ** 2).mean("time"))
        return error.rename("tracking_error").assign_attrs(long_name=f"RMS of y - z from t = {start:g}", units="1")

    def cost(self) -> xr.DataArray:
        """The functional G (8) from the start up to each sample, (time,): the integral of Λ.

        By Simpson's rule along the cubic between samples, of the fourth order in their distance; by the trapezoidal
        rule where the method is Euler, whose samples are no curve.
        """
        dynamics = self._dynamics
        left, right, middle, _ = self._intervals()
        ends = [
            dynamics.lagrangian(part[1], dynamics.drive(part[0], part[3])) * dynamics.phi(part[0])
            for part in (left, middle, right)
        ]
        weights = (0.5, 0.0, 0.5) if isinstance(self.recipe.method, Euler) else (1 / 6, 4 / 6, 1 / 6)
        steps = np.diff(self._time) * sum(w * e for w, e in zip(weights, ends, strict=True))
        values = np.concatenate(([0.0], np.cumsum(steps)))
        attrs = {"long_name": "cost G up to each time", "units": "cost"}
        return xr.DataArray(values, {"time": self._ds.time}, ("time",), "cost", attrs)

    def energy_balance(self) -> xr.Dataset:
        """Compare the change of H/φ between samples with its formula dH/dt = ∂H/∂t.

        Returns
        -------
        xarray.Dataset
            On ``time``: ``hamiltonian``; the powers ``dissipation``, ``target``, ``input``, ``reversal`` that sum to
            d(H/φ)/dt; and over the interval that ends at each sample, ``change`` (observed), ``predicted`` (Simpson's
            rule on the powers) and ``imbalance`` (their difference). NaN at the first sample and over intervals with a
            sign flip or a jump of a signal. Accurate to the fourth order of the sampling interval.
        """
        t, y = self._time, self._states
        powers = self._dynamics.powers(t, y, self._signs)
        left, right, middle, whole = self._intervals()
        ends = [self._dynamics.powers(*part) for part in (left, middle, right)]
        total = [sum(p.values(), np.zeros(len(t) - 1)) for p in ends]
        predicted = np.diff(t) * (total[0] + 4 * total[1] + total[2]) / 6
        energy = [self._dynamics.hamiltonian(p[1], self._dynamics.drive(p[0], p[3])) for p in (left, right)]
        change = energy[1] - energy[0]
        padded = {
            name: np.concatenate(([np.nan], np.where(whole, values, np.nan)))
            for name, values in (("change", change), ("predicted", predicted), ("imbalance", change - predicted))
        }
        result = xr.Dataset({name: ("time", values) for name, values in (powers | padded).items()}, {"time": t})
        result["hamiltonian"] = self._ds.hamiltonian.drop_vars([])
        for name in powers:
            result[name].attrs = {"long_name": f"{name} power in d(H/φ)/dt", "units": "cost/time²"}
        for name in padded:
            result[name].attrs = {"long_name": f"{name} of H/φ since the sample before", "units": "cost/time"}
        return result

    def residual(self) -> xr.Dataset:
        """How far the samples are from the law's own equations: x, w, p_x, p_w per unit of time, at ``time``.

        With an adaptive method, (y_{k+1} - y_k)/h minus Simpson's mean of the right-hand side along the cubic through
        both ends, an error of the fourth order in the sampling interval h; intervals with a flip or a jump of a signal
        are NaN. With Euler, (y_{k+1} - y_k)/τ minus the right-hand side at y_k: zero to rounding, and defined (not NaN)
        only where every step is saved. For the backprop limit x and p_x get the residual of their equilibrium. The last
        sample is NaN.
        """
        dynamics = self._dynamics
        residual = self._mismatch(lambda t, y, s, inside: y, self._flow)
        if dynamics.law.limit:
            at_rest = dynamics.equilibrium_residual(self._states, dynamics.drive(self._time), residual)
            residual = np.where(np.isnan(residual), np.nan, at_rest)
        fields = {}
        for name, values in zip(dynamics.parts, dynamics.split(residual), strict=True):
            units = f"{self._ds[name].attrs.get('units', '1')}/time"
            fields[name] = self._ds[name].copy(data=values)
            fields[name].attrs = {"long_name": f"residual of {name}'", "units": units}
        return xr.Dataset(fields)

    def second_order_residual(self) -> xr.Dataset:
        """How far w' and λ of the samples are from the law's second-order form: (16), or (19) for reversed costates.

        ``w`` (time, arc) is the residual of w'', ``lambda`` (time, neuron) that of λ' (absent for the backprop limit,
        where (17) holds instead). Formed like those of `residual`: with an adaptive method of the fourth order in the
        sampling interval (the second for the backprop limit, whose x has no rate to interpolate by); with Euler and
        every step saved, of the first in the step.
        """
        from hamjl import second_order

        dynamics = self._network_dynamics

        def quantities(t: Floats, y: Floats, s: Floats, inside: Floats) -> Floats:
            return second_order.quantities(dynamics, y, dynamics.drive(t, inside), s[:, None])

        def rates(t: Floats, y: Floats, s: Floats, inside: Floats) -> Floats:
            slopes = dynamics.slopes(t, inside)
            return second_order.rates(dynamics, y, dynamics.drive(t, inside), slopes, s[:, None])

        residual = self._mismatch(quantities, rates)
        arcs = self._ds.sizes["arc"]
        result = xr.Dataset({"w": self._ds.w.copy(data=residual[:, :arcs])})
        result.w.attrs = {"long_name": "residual of w''", "units": "1/time²"}
        if not dynamics.law.limit:
            result["lambda"] = self._ds.p_x.copy(data=residual[:, arcs:])
            result["lambda"].attrs = {"long_name": "residual of λ'", "units": "cost/time"}
        return result

    # -- plots -------------------------------------------------------------------------------------------------------
    def plot_tracking(self, ax: Axes | None = None) -> Axes:
        """Outputs and targets over time."""
        from hamjl import plots

        return plots.tracking(self._given, ax)

    def plot_energies(self, ax: Axes | None = None) -> Axes:
        """Lagrangian and Hamiltonian over time."""
        from hamjl import plots

        return plots.energies(self._given, ax)

    def plot_weights(self, ax: Axes | None = None) -> Axes:
        """Weights over time."""
        from hamjl import plots

        return plots.weights(self._given, ax)

    def plot_network(self, ax: Axes | None = None, time: float | None = None) -> Axes:
        """The digraph, arcs coloured by the weight at the sample nearest to `time`, by default the last.

        The title says which time that is. ProblemError if `time` is not within those of the samples.
        """
        from hamjl import plots

        return plots.network(self._given, ax, time)

    def plot_overview(self) -> Figure:
        """One figure of all that there is: tracking, energies, weights and network, or a system's states and controls.

        It is what ``hamjl show -o`` writes. ProblemError where there is nothing to draw, or more than one run.
        """
        from hamjl import plots

        return plots.overview(self._given)

    def plot_comparison(self) -> Figure:
        """What `hamjl.compare` returned: the first output, or state, under each law, and below it the costs G.

        ProblemError for any other Dataset.
        """
        from hamjl import plots

        return plots.comparison(self._given)

    # -- plain arrays ------------------------------------------------------------------------------------------------
    @cached_property
    def _dynamics(self) -> FullDynamics:
        from hamjl.dynamics import full_dynamics_of
        from hamjl.lowering import lower_field, lower_law

        return full_dynamics_of(lower_field(self.recipe.problem), lower_law(self.recipe.law))

    @property
    def _network_problem(self) -> Problem:
        problem = self.recipe.problem
        if not isinstance(problem, Problem):
            raise ProblemError("this analysis is for networks, got the trajectory of a SymbolicSystem.")
        return problem

    @property
    def _network_dynamics(self) -> NetworkDynamics:
        from hamjl.dynamics.network import NetworkDynamics

        self._network_problem  # noqa: B018  (refuses other problems)
        assert isinstance(self._dynamics, NetworkDynamics)
        return self._dynamics

    @property
    def _time(self) -> Floats:
        time: Floats = self._ds.time.values
        if len(time) < 2:
            raise ProblemError(f"this analysis needs at least two samples in time, got {len(time)}: select more.")
        return time

    @property
    def _signs(self) -> Floats:
        signs: Floats = self._ds.sign.values
        return signs

    @property
    def _states(self) -> Floats:
        return np.concatenate([self._ds[name].values for name in self._dynamics.parts], axis=1)

    def _intervals(self) -> tuple[Any, Any, Any, Any]:
        """Per sampling interval, (time, state, sign, inside) at left, right and middle, and if nothing jumps in it.

        ``inside`` is the time whose pieces of the signals are in force: at the right end the limit from the left.
        """
        t, y, s = self._time, self._states, self._signs
        middle, h = (t[1:] + t[:-1]) / 2, np.diff(t)[:, None]
        before = np.maximum(middle, t[1:] - 1e-12 * np.abs(t[[0, -1]]).max())
        left, right = (t[:-1], y[:-1], s[:-1], t[:-1]), (t[1:], y[1:], s[:-1], before)
        between = (left[1] + right[1]) / 2 + h / 8 * (self._rhs(*left) - self._rhs(*right))
        whole = np.ones(len(h), dtype=bool)
        for table in self._dynamics.signals():
            whole &= np.searchsorted(table.stops, t[:-1], side="right") == np.searchsorted(table.stops, t[1:])
        law = self._dynamics.law
        if law.flip == "periodic":
            phase = 2 * law.frequency * t + 0.5
            whole &= np.floor(phase[:-1] + 1e-9) == np.ceil(phase[1:] - 1e-9) - 1
        elif law.flip == "step":
            whole[:] = False  # it flips within every interval, whatever the signs at its ends
        elif law.flip != "none":
            whole &= s[1:] == s[:-1]
        return left, right, (middle, between, s[:-1], middle), whole

    def _mismatch(self, quantity: Callable[..., Floats], rate: Callable[..., Floats]) -> Floats:
        """Observed minus given rate of change of a quantity of the samples, both functions of `_intervals`' tuples.

        (time, …), at the left ends; NaN at the last sample and where an interval is not whole.
        """
        h = np.diff(self._time)[:, None]
        left, right, middle, whole = self._intervals()
        method = self.recipe.method
        observed = (quantity(*right) - quantity(*left)) / h
        if isinstance(method, Euler):
            whole = np.abs(h[:, 0] / method.step - 1) < 1e-6
            residual = observed - rate(*left)
        else:
            residual = observed - (rate(*left) + 4 * rate(*middle) + rate(*right)) / 6
        residual = np.where(whole[:, None], residual, np.nan)
        return np.concatenate((residual, np.full((1, residual.shape[1]), np.nan)))

    def _flow(self, t: Floats, y: Floats, s: Floats, inside: Floats) -> Floats:
        """The increments of the law's own steps by their length, or its right-hand side where it has no steps."""
        rates, method = self._rhs(t, y, s, inside), self.recipe.method
        if self._dynamics.law.semi_implicit and isinstance(method, Euler):
            return self._dynamics.lead(rates, s[:, None], method.step)
        return rates

    def _rhs(self, t: Floats, y: Floats, s: Floats, inside: Floats) -> Floats:
        """The law's right-hand side at samples (time, state)."""
        return self._dynamics.rhs(y, self._dynamics.drive(t, inside), s[:, None], np.empty_like(y))
