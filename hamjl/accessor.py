"""The ``.hamjl`` accessor: analyses and plots of a trajectory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hamjl import analysis
from hamjl.checks import mapping, number
from hamjl.errors import ProblemError, shown
from hamjl.lowered import Floats
from hamjl.methods import Euler
from hamjl.problem import Problem
from hamjl.recipe import Recipe
from hamjl.symbolic import SymbolicSystem
from hamjl.trajectory import over_time, time_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hamjl.dynamics import FullDynamics
    from hamjl.dynamics.network import NetworkDynamics
    from hamjl.streams import Metric, Stream

NETWORKS = "this analysis is for networks, got the trajectory of a SymbolicSystem."
PROBES = 16  # samples at which recorded energies are compared with the recipe's

_quiet = np.errstate(all="ignore")  # a formula without a value somewhere gives NaN there


@xr.register_dataset_accessor("hamjl")
class TrajectoryAccessor:
    """Analyses and plots of a trajectory returned by `hamjl.solve` or read back from its file."""

    def __init__(self, dataset: xr.Dataset) -> None:
        self._given = dataset  # and nothing else: a Dataset is pickled with its accessors

    def _whole(self, *names: str) -> xr.Dataset:
        """Variables over time, in the order of their own network, whatever the order in which the user has them."""
        ds, labels = self._given, self._labels
        for dim, given in labels.items():
            if sorted(found := _names(ds, dim)) != sorted(given):
                raise ProblemError(
                    f"this analysis needs all {len(given)} {dim}s by name, got {len(found)} names: do it first, then "
                    "select."
                )
            if not np.array_equal(ds.indexes[dim], given):
                ds = ds.sel({dim: list(given)})
        values = {name: over_time(ds, name, "analysis", numbers=True) for name in names}
        _check_alike(ds, names)
        parts = xr.Dataset(values)
        stray = [dim for dim in parts[names[0]].dims if dim not in ("time", *labels)]
        if stray:
            raise ProblemError(f"an analysis is of one trajectory, got the dimension {stray[0]!r}: select along it.")
        if (np.diff(parts.time.values) <= 0).any():
            raise ProblemError("times of a trajectory must increase strictly, got others: sort by time first.")
        self._check_known(parts.time.values)
        parts = parts.transpose("time", ...)
        self._check_recorded(parts)
        return parts

    def _check_recorded(self, parts: xr.Dataset) -> None:
        """Refuse states whose recorded energies are not what the recipe makes of them.

        `parts` is what `_whole` found: with all that moves, H and Λ tell the problem's parameters apart.
        """
        dynamics = self._dynamics
        if not all(name in parts for name in dynamics.parts):
            return
        for name in ("lagrangian", "hamiltonian"):
            if name not in self._given or self._given[name].dims != ("time",):
                continue
            chosen = np.unique(np.linspace(0, parts.sizes["time"] - 1, PROBES).round().astype(int))
            part, recorded = parts.isel(time=chosen), self._given[name].sel(time=parts.time[chosen]).values
            y, drive = self._packed(part), dynamics.drive(part.time.values)
            found = getattr(dynamics, name)(y, drive)
            size = abs(dynamics.lagrangian(y, drive)) + abs(dynamics.hamiltonian(y, drive))
            single = min(self._given[k].dtype.itemsize for k in (name, *dynamics.parts)) < 8
            far = abs(found - recorded) > (1e-3 if single else 1e-7) * (size + np.finfo(np.float64).tiny)
            if far.any():
                k = int(np.argmax(far))
                raise ProblemError(
                    f"the recipe of a trajectory must be that of its values, got {name} {recorded[k]:g} at t = "
                    f"{part.time.values[k]:g} where recipe and states give {found[k]:g}: keep attributes and variables "
                    f"of one run together, or drop {name} if you changed them."
                )

    def _check_known(self, times: Floats) -> None:
        """Refuse samples at which the recipe has no signals: parts of a session put together carry the data of one."""
        low, high = self.recipe.problem.known
        slack = 1e-9 * np.abs(times).max()
        if times[0] < low - slack or times[-1] > high + slack:
            raise ProblemError(
                f"this analysis needs the data of all samples, got samples from {times[0]:g} to {times[-1]:g} and a "
                f"recipe with data from {low:g} to {high:g}: analyse the parts of a session one by one."
            )

    @property
    def _labels(self) -> dict[str, list[str]]:
        labels = self.recipe.problem.labels
        return {dim: labels[dim][1] for dim in ("neuron", "arc", "weight", "state") if dim in labels}

    @property
    def recipe(self) -> Recipe:
        """The problem, law, method, times and engine that made this trajectory; `hamjl.run` runs it again.

        ProblemError if the Dataset carries none, those of several runs, or none that can be read.
        """
        return Recipe.of(self._given)

    @property
    def statistics(self) -> dict[str, Any]:
        """The engine's counts: steps, evaluations, restarts; empty where attrs carry none."""
        text = self._given.attrs.get("statistics", "{}")
        try:
            return mapping(json.loads(text), "statistics")
        except (ValueError, TypeError, RecursionError):
            raise ProblemError(
                f"the statistics in attrs must be as hamjl wrote them, got {shown(text)}: read the trajectory again."
            ) from None

    # -- analyses ----------------------------------------------------------------------------------------------------
    def weights(self) -> xr.DataArray:
        """The weights w_ij as a matrix, (…, time, target, source), zero where there is no arc.

        It needs no recipe but the names of arcs, neurons and inputs, and keeps further dimensions, as a sweep has.
        """
        inputs, neurons = self._vertices()
        w, vertices = over_time(self._given, "w", "analysis", numbers=True).transpose(..., "arc"), [*inputs, *neurons]
        source, target = zip(*(str(arc).split("->") for arc in w.arc.values), strict=True)
        matrix = np.zeros((*w.shape[:-1], len(neurons), len(vertices)))
        matrix[..., [neurons.index(i) for i in target], [vertices.index(j) for j in source]] = w.values
        kept = {name: label for name, label in w.coords.items() if "arc" not in label.dims and name != "recipe"}
        coords = {**kept, "target": neurons, "source": vertices}
        return xr.DataArray(matrix, coords, (*w.dims[:-1], "target", "source"), "weights", w.attrs)

    def _vertices(self) -> tuple[list[str], list[str]]:
        """Inputs and neurons of the network, of which the Dataset must have all arcs, as far as can be told."""
        names = {dim: _names(self._given, dim) for dim in ("input", "neuron", "arc")}
        if (problem := self._problem) is not None:
            if not isinstance(problem, Problem):
                raise ProblemError(NETWORKS)
            network = problem.network
            whole = sorted(names["arc"]) == sorted(network.arcs)
            names |= {"input": list(network.inputs), "neuron": list(network.neurons)}
        else:
            ends = [arc.partition("->")[::2] for arc in names["arc"]]
            whole = all(j in names["input"] + names["neuron"] and i in names["neuron"] for j, i in ends)
        if not whole or not names["arc"]:
            raise ProblemError(
                f"this analysis needs all inputs, neurons and arcs by name, got {len(names['arc'])} arcs: do it first, "
                "then select."
            )
        return names["input"], names["neuron"]

    @property
    def _problem(self) -> Problem | SymbolicSystem | None:
        """What the Dataset is a run of, or the first of its runs if there are several; None if it does not say."""
        texts: Any = np.atleast_1d(self._given.recipe.values).ravel() if "recipe" in self._given.coords else []
        told = next((text for text in texts if text), None)
        if told is None and "recipe" not in self._given.attrs:
            return None
        return Recipe.of(self._given if told is None else xr.Dataset(coords={"recipe": told})).problem

    @_quiet
    def normalized_costate(self) -> xr.DataArray:
        """λ_i = σ'(a_i) p_x^i/φ, equation (15), (time, neuron): the error signal that backpropagation calls delta."""
        dynamics, ds = self._network_dynamics, self._whole("x", "w", "p_x")
        values = dynamics.normalized_costate(self._packed(ds), dynamics.drive(ds.time.values))
        attrs = {"long_name": "normalised costate λ (15)", "units": "cost"}
        return xr.DataArray(values, dims=("time", "neuron"), coords=ds.p_x.coords, name="lambda", attrs=attrs)

    @_quiet
    def backprop_gradient(self) -> xr.DataArray:
        """Backpropagation's gradient of the loss at each time, for the weights of that time, (time, arc).

        It is ∂(c q L)/∂w_ij, the gradient of the trajectory's ``loss`` with the neurons at rest, x = σ(a), under the
        present input: the delta rule (17), on a cyclic graph at the fixed point that (7) would reach from x. NaN where
        there is none, 0 where there is no target.
        """
        from hamjl.backprop import instantaneous_gradient
        from hamjl.lowering import check_settles

        dynamics, ds = self._network_dynamics, self._whole("x", "w")
        check_settles(self._network_problem.network, "this analysis")
        values = instantaneous_gradient(dynamics.field, self._packed(ds), dynamics.drive(ds.time.values))
        attrs = {"long_name": "gradient of the loss by backpropagation", "units": "cost/time"}
        return ds.w.copy(data=values).rename("backprop_gradient").assign_attrs(attrs)

    @_quiet
    def local_gradient(self) -> xr.DataArray:
        """g_i x_j = c_i λ_i x_j, (time, arc): the local term that stands for `backprop_gradient` in (14) and (18)."""
        dynamics, ds = self._network_dynamics, self._whole("x", "w", "p_x")
        values = dynamics.local_gradient(self._packed(ds), dynamics.drive(ds.time.values))
        attrs = {"long_name": "local gradient g_i x_j", "units": "cost/time"}
        return ds.w.copy(data=values).rename("local_gradient").assign_attrs(attrs)

    @_quiet
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
        return result.assign_coords(time=ours.time)

    @_quiet
    def tracking_error(self, start: float | None = None) -> xr.DataArray:
        """Root mean square of y - z over the samples from `start` (by default the second half), (…, output).

        It needs no recipe but y and z, at the samples that both have, and keeps further dimensions, as a sweep has. NaN
        for an output that has no target there, and for a run that has no y where there is one: it ended early.
        ProblemError if there are no two samples, or none from `start` on.
        """
        ds = self._given
        both = (over_time(ds, name, "analysis", numbers=True) for name in ("y", "z"))
        y, z = xr.align(*both, join="inner", exclude=set(ds.dims) - {"time"})
        times = y.time.values
        if len(times) < 2:
            raise ProblemError(f"this analysis needs at least two samples in time, got {len(times)}: select more.")
        start = float(times.min() + times.max()) / 2 if start is None else number(start, "start")
        if start > times.max():
            raise ProblemError(
                f"start must not be after the last sample, t = {times.max():g}, got {start:g}: lower it."
            )
        late = (y - z).isel(time=np.nonzero(times >= start)[0])
        lost = (y.isnull() & z.notnull()).isel(time=np.nonzero(times >= start)[0]).any("time")
        error: Any = np.sqrt((late**2).mean("time").where(~lost))
        return error.rename("tracking_error").assign_attrs(long_name=f"RMS of y - z from t = {start:g}", units="1")

    @_quiet
    def cost(self) -> xr.DataArray:
        """The functional G (8) of the run's control from the start up to each sample, (time,).

        The control is w' of the weights that the run went through, or v of a system. Where the run itself goes by
        x' = f under it, on an adaptive method, that is the integral of its Λ (`action`). Else the recorded states are
        of no admissible path: along a sign flip x' = s f, in the backprop limit x is at rest, and Euler's are steps.
        Then x' = f is integrated from x(0) while w (v) is followed as it is between the samples, as `hamjl.adjoint`
        does, and G is the cost of that. NaN from where x or the samples are no numbers.
        """
        from hamjl.adjoint import replayed_cost

        ds, record = self._record()
        law = record.dynamics.law
        if law.flip == "none" and not law.limit and not isinstance(record.method, Euler):
            values = analysis.action(record)
        else:
            values = replayed_cost(self.recipe.problem, ds if "w" in ds else self._whole("x", "v"))
        attrs = {"long_name": "cost G up to each time", "units": "cost"}
        return xr.DataArray(values, {"time": ds.time}, ("time",), "cost", attrs)

    @_quiet
    def action(self) -> xr.DataArray:
        """The integral of the recorded Lagrangian Λ from the start up to each sample, (time,).

        By Simpson's rule along the cubic between samples, of the fourth order in their distance; by the trapezoidal
        rule where the method is Euler, whose samples are no curve. It is the cost G only of a path with x' = f: see
        `cost`.
        """
        ds, record = self._record()
        attrs = {"long_name": "integral of the recorded Λ up to each time", "units": "cost"}
        return xr.DataArray(analysis.action(record), {"time": ds.time}, ("time",), "action", attrs)

    @_quiet
    def energy_balance(self) -> xr.Dataset:
        """Compare the change of H/φ between samples with its formula dH/dt = ∂H/∂t.

        Returns
        -------
        xarray.Dataset
            On ``time``: ``hamiltonian``; the powers ``dissipation``, ``target``, ``input``, ``reversal`` (and
            ``loss_weight``, where losses have weights in time) that sum to d(H/φ)/dt; and over the interval that ends
            at each sample, ``change`` (observed), ``predicted`` (Simpson's rule on the powers) and ``imbalance`` (their
            difference). NaN at the first sample and over intervals with a sign flip or a jump of a signal. Accurate to
            the fourth order of the sampling interval.
        """
        _, record = self._record()
        powers, balance = analysis.powers(record), analysis.balance(record)
        fields = {name: ("time", values) for name, values in (powers | balance).items()}
        result = xr.Dataset(fields, {"time": record.t})
        attrs = {"long_name": "Hamiltonian H/φ", "units": "cost/time"}
        result["hamiltonian"] = ("time", analysis.hamiltonian(record), attrs)
        for name in powers:
            result[name].attrs = {"long_name": f"{name} power in d(H/φ)/dt", "units": "cost/time²"}
        for name in balance:
            result[name].attrs = {"long_name": f"{name} of H/φ since the sample before", "units": "cost/time"}
        return result

    @_quiet
    def residual(self) -> xr.Dataset:
        """How far the samples are from the law's own equations: x, w, p_x, p_w per unit of time, at ``time``.

        With an adaptive method, (y_{k+1} - y_k)/h minus Simpson's mean of the right-hand side along the cubic through
        both ends, an error of the fourth order in the sampling interval h; intervals with a flip or a jump of a signal
        are NaN. With Euler, (y_{k+1} - y_k)/τ minus the right-hand side at y_k: zero to rounding, and defined (not NaN)
        only where every step is saved. For the backprop limit x and p_x get the residual of their equilibrium. The last
        sample is NaN.
        """
        ds, record = self._record()
        fields, dynamics = {}, record.dynamics
        for name, values in dynamics.labelled(analysis.residual(record), change=True).items():
            units = f"{ds[name].attrs.get('units', '1')}/time"
            fields[name] = ds[name].copy(data=values)
            fields[name].attrs = {"long_name": f"residual of {name}'", "units": units}
        return xr.Dataset(fields)

    @_quiet
    def second_order_residual(self) -> xr.Dataset:
        """How far w' and λ of the samples are from the law's second-order form: (16), or (19) for reversed costates.

        ``w`` (time, arc) is the residual of w'', ``lambda`` (time, neuron) that of λ' (absent for the backprop limit,
        where (17) holds instead). Formed like those of `residual`: with an adaptive method of the fourth order in the
        sampling interval (the second for the backprop limit, whose x has no rate to interpolate by); with Euler and
        every step saved, of the first in the step.
        """
        dynamics = self._network_dynamics
        ds, record = self._record()
        residual, moving = analysis.second_order_residual(record), dynamics.field.moving
        result = xr.Dataset({"w": ds.w.copy(data=dynamics.weights.tangent(residual[:, :moving]))})
        result.w.attrs = {"long_name": "residual of w''", "units": "1/time²"}
        if not dynamics.law.limit:
            result["lambda"] = ds.p_x.copy(data=residual[:, moving:])
            result["lambda"].attrs = {"long_name": "residual of λ'", "units": "cost/time"}
        return result

    # -- streams -----------------------------------------------------------------------------------------------------
    def answers(self, stream: Stream) -> xr.Dataset:
        """What the network answered to each sample of the stream that it learnt, before it was told the truth.

        It needs y at ``stream.answer_times``: run with ``times=stream.answer_times``. Further dimensions are kept.

        Returns
        -------
        xarray.Dataset
            On ``sample``, counted from the stream's start: ``y`` and ``truth`` (sample, output), NaN where the truth
            never comes; for classes also ``predicted``, the class of the largest output, and ``actual`` (sample,).
            Coordinates ``time`` of the answer and ``row`` of the table, by its index (sample,); ``class`` (output,).

        Raises
        ------
        ProblemError
            If samples of y are missing or NaN, or the run was of other targets.
        """
        from hamjl.streams import answers

        return answers(self._given, stream)

    def score(self, stream: Stream, metric: Metric = "accuracy", rolling: int | None = None) -> xr.DataArray:
        """How good the answers of the run are, each given before its truth: the prequential score.

        Parameters
        ----------
        stream : Stream
        metric : str or callable
            ``"accuracy"``, ``"log_loss"`` (of the softmax of y) for classes; ``"rmse"``, ``"mae"``, over outputs too;
            or a function of truths and answers, as scikit-learn has: classes (sample,) or numbers (sample, output).
        rolling : int, optional
            Over the last so many samples, (sample,), NaN until there are as many; else one number over all. Samples
            without truth are left out.

        Raises
        ------
        ProblemError
            As `answers` does, and where there is nothing to score.
        """
        from hamjl.streams import score

        return score(self._given, stream, metric, rolling)

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
    @property
    def _dynamics(self) -> FullDynamics:
        return _dynamics_of(self.recipe)

    @property
    def _network_problem(self) -> Problem:
        problem = self.recipe.problem
        if not isinstance(problem, Problem):
            raise ProblemError(NETWORKS)
        return problem

    @property
    def _network_dynamics(self) -> NetworkDynamics:
        from hamjl.dynamics.network import NetworkDynamics

        self._network_problem  # noqa: B018  (refuses other problems)
        assert isinstance(self._dynamics, NetworkDynamics)
        return self._dynamics

    def _record(self) -> tuple[xr.Dataset, analysis.Record]:
        """All that moves, with labels and as plain arrays: the Dataset is checked here, once for each analysis."""
        dynamics = self._dynamics
        ds = self._whole(*dynamics.parts, "sign")
        if ds.sizes["time"] < 2:
            raise ProblemError(
                f"this analysis needs at least two samples in time, got {ds.sizes['time']}: select more."
            )
        return ds, analysis.Record(dynamics, self.recipe.method, ds.time.values, self._packed(ds), ds.sign.values)

    def _packed(self, ds: xr.Dataset) -> Floats:
        """States (time, state) of what `_whole` gave; NaN for the parts that were not asked for."""
        return self._dynamics.packed({name: ds[name].values for name in self._dynamics.parts if name in ds})


@lru_cache(maxsize=16)
def _dynamics_of(recipe: Recipe) -> FullDynamics:
    from hamjl.dynamics import full_dynamics_of
    from hamjl.lowering import lower_field, lower_law

    return full_dynamics_of(lower_field(recipe.problem), lower_law(recipe.law))


def _names(ds: xr.Dataset, dim: str) -> list[str]:
    return [str(name) for name in ds[dim].values] if dim in ds.indexes else []


def _check_alike(ds: xr.Dataset, names: Sequence[str]) -> None:
    """Refuse variables of which some are stored at fewer samples than others."""
    every = {name: int((time_of(ds[name]) or "").partition("_")[2] or 1) for name in names}
    rare = [name for name, k in every.items() if k > min(every.values())]
    if rare:
        raise ProblemError(
            f"{rare[0]} is stored every {every[rare[0]]}th sample, and this analysis needs it at each one: run again "
            f"without thin for {', '.join(rare)}."
        )
