"""Several laws on one problem: their costs over time, and their regret against the optimum."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import xarray as xr

from hamjl.errors import ProblemError, shown, warn
from hamjl.laws import BoundaryValue, CostateReversal, Law, LawLike, as_law
from hamjl.lowered import Floats
from hamjl.lowering import lower_law, samples
from hamjl.methods import Adaptive, Euler, Method, MethodLike, as_method
from hamjl.problem import Problem
from hamjl.recipe import Recipe
from hamjl.sampling import Times
from hamjl.solving import run_quietly
from hamjl.statement import check_problem
from hamjl.symbolic import SymbolicSystem

OPTIMUM = "boundary_value"
Entry = LawLike | tuple[LawLike, MethodLike] | xr.Dataset  # what is compared


def compare(
    problem: Problem | SymbolicSystem,
    laws: Iterable[Entry] | Mapping[str, Entry],
    *,
    times: Times | None = None,
    engine: str = "auto",
    progress: bool = True,
) -> xr.Dataset:
    """Solve a problem under several laws, and under Theorem 1: the optimum that they are judged by.

    What a law costs is G of its control, replayed (`cost` of the accessor), so that it is of the same x' = f for all.
    Theorem 1's solver finds a local minimum: where a law's control costs less, the search starts from that again.

    Parameters
    ----------
    problem : Problem or SymbolicSystem
    laws : list, or mapping from labels
        Each a law or its name, a pair (law, method), or a Dataset that there is already: a trajectory, or what
        `hamjl.adjoint` returns (its values at other times are interpolated). The boundary-value law, if none is
        given, is added.
    times, engine, progress
        As in `hamjl.solve`. With Euler, the times of all are whole steps of the longest; where another run has no
        sample, it is interpolated.

    Returns
    -------
    xarray.Dataset
        The variables that all runs have, (law, time, …), NaN after a run that ended early; ``cost`` (law, time), the
        functional G from the start up to each time, and ``regret``, by how much it exceeds the optimum's (at the end
        not negative; before, who gains in the end may be behind); ``status`` (law).

    Warns
    -----
    RunWarning
        If the optimum is not certified, or a law costs less all the same.

    Raises
    ------
    ProblemError
        If a law or method does not fit the problem, a Dataset is of another one, or two have one label.
    """
    check_problem(problem)
    if not isinstance(laws, Iterable) or isinstance(laws, str | xr.Dataset):
        raise ProblemError(f"laws to compare must be a list or a mapping, got {shown(laws)}: write [{shown(laws)}].")
    entries = list(laws.items()) if isinstance(laws, Mapping) else [(None, entry) for entry in laws]
    runs: dict[str, xr.Dataset] = {}
    todo: dict[str, tuple[Law, Method]] = {}
    order: list[str] = []
    optimum = None
    for label, entry in entries:
        if isinstance(entry, xr.Dataset):
            law = entry.hamjl.recipe.law if _tells(entry) else None
            name = str(label or (law.to_dict()["name"] if law else "given"))
            _check_given(entry, problem, name)
            runs[name], best = entry, isinstance(law, BoundaryValue)
        else:
            law, method = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, "auto")
            law = as_law(law)
            name = str(label or law.to_dict()["name"])
            todo[name], best = (law, as_method(method)), isinstance(law, BoundaryValue)
        if name in order:
            raise ProblemError(f"laws to compare must have different labels, got {name!r} twice: give a mapping.")
        order.append(name)
        optimum = name if best else optimum
    if optimum is None:
        if OPTIMUM in order:
            raise ProblemError(f"the label {OPTIMUM!r} is the optimum's, got it for another law: name that otherwise.")
        optimum = OPTIMUM
        order.insert(0, optimum)
        todo[optimum] = (BoundaryValue(), as_method("auto"))
    slowest = max(todo.values(), key=_pace, default=(CostateReversal(), Adaptive()))
    asked, _ = samples(problem, *slowest, times).all()

    def solve(law: Law, method: Method) -> xr.Dataset:
        recipe = Recipe(problem, law, method, _dense(problem, law, method, asked), engine)
        return run_quietly(recipe, progress=progress)

    runs |= {name: solve(law, method) for name, (law, method) in todo.items()}
    costs = {name: run.cost if "cost" in run else run.hamjl.cost() for name, run in runs.items()}
    ends = {name: _end(costs[name], problem) for name in order}
    cheapest = min(order, key=lambda name: ends[name])
    if optimum in todo and ends[cheapest] < ends[optimum] - _slack(runs[optimum], ends):
        method = runs[optimum].hamjl.recipe.method
        again = solve(BoundaryValue(), replace(method, start=runs[cheapest]))
        if float(again.hamjl.cost()[-1]) < ends[optimum]:
            runs[optimum], costs[optimum] = again, again.hamjl.cost()
            ends[optimum] = _end(costs[optimum], problem)
    status = {name: str(run.attrs.get("status", "success")) for name, run in runs.items()}
    if status[optimum] != "success":
        warn(f"the optimum that laws are judged by is not certified: {runs[optimum].attrs['message']}")
    if ends[cheapest] < ends[optimum] - _slack(runs[optimum], ends):
        warn(
            f"{cheapest} costs {ends[cheapest]:g} where {optimum}, a local minimum, costs {ends[optimum]:g}: regrets "
            f"are not of the best control; start {optimum} from that of {cheapest}."
        )
    return _together(runs, costs, order, optimum, asked)


def _end(cost: xr.DataArray, problem: Problem | SymbolicSystem) -> float:
    """What a run cost up to the end of the problem's span; infinite where it did not come so far."""
    (start, stop), value = problem.span, float(cost[-1])
    whole = stop - float(cost.time[-1]) <= 1e-2 * (stop - start)  # Euler's steps may end before
    return value if whole and np.isfinite(value) else np.inf


def _slack(run: xr.Dataset, ends: Mapping[str, float]) -> float:
    """By how much costs may differ for the accuracy of the optimum, which its certificate says."""
    certificate = json.loads(run.attrs.get("statistics", "{}")).get("certificate", 0.0)
    finite = [abs(value) for value in ends.values() if np.isfinite(value)]
    return max(1e-4, float(certificate)) * min(finite, default=0.0)


def _pace(run: tuple[Law, Method]) -> tuple[float, bool]:
    """By which the run is found that all are sampled by: the longest step of Euler, at best an even number of them."""
    law, method = run
    return (method.step if isinstance(method, Euler) else 0.0), lower_law(law).flip == "step"


def _dense(problem: Problem | SymbolicSystem, law: Law, method: Method, asked: Floats) -> Floats:
    """The samples of a run: not too few, since costs are integrals over them, and those asked for if it has them."""
    own, _ = samples(problem, law, method).all()
    try:
        return np.union1d(own, samples(problem, law, method, asked).all()[0])
    except ProblemError:  # no whole steps
        return own


def _check_given(ds: xr.Dataset, problem: Problem | SymbolicSystem, name: str) -> None:
    """Refuse a Dataset of another problem, as far as can be told."""
    told = _tells(ds)
    if "time" not in ds.dims or not ("cost" in ds or told):
        raise ProblemError(f"a Dataset to compare must be a trajectory or of hamjl.adjoint, got {name!r}: pass that.")
    labels = problem.labels
    same = all(np.array_equal(ds[dim], given) for dim, (_, given) in labels.items() if dim in ds.dims)
    if same and told:
        same = ds.hamjl.recipe.problem == problem
    if not same:
        raise ProblemError(f"laws are compared on one problem, got {name!r} of another one: solve this one.")


def _tells(ds: xr.Dataset) -> bool:
    """Whether a Dataset carries its recipe."""
    return "recipe" in ds.coords or "recipe" in ds.attrs


def _together(
    by_name: Mapping[str, xr.Dataset], costs: Mapping[str, xr.DataArray], order: list[str], optimum: str, times: Floats
) -> xr.Dataset:
    runs = [by_name[name] for name in order]
    first = runs[0]
    shared = [name for name in map(str, first.data_vars) if name != "cost"]
    shared = [name for name in shared if all(name in run and "time" in run[name].dims for run in runs)]
    bare = [run[shared].drop_vars("recipe", errors="ignore") for run in runs]
    parts = [_at(run.assign(cost=("time", costs[name].values)), times) for run, name in zip(bare, order, strict=True)]
    result = xr.concat(parts, "law", join="outer", coords="minimal", compat="override").assign_coords(law=order)
    result["regret"] = result.cost - result.cost.sel(law=optimum, drop=True)
    result["status"] = ("law", [str(run.attrs.get("status", "success")) for run in runs])
    for name in shared:
        result[name].attrs = first[name].attrs
    result["cost"].attrs = {"long_name": "cost G up to each time", "units": "cost"}
    result["regret"].attrs = {"long_name": f"cost beyond that of {optimum}", "units": "cost"}
    result.attrs = {"title": "hamjl comparison of laws", "optimum": optimum}
    return result


def _at(run: xr.Dataset, times: Floats) -> xr.Dataset:
    """A run at the times of all, as far as it goes: its samples where it has them, else interpolated."""
    first, last = run.time.values[[0, -1]]
    slack = 1e-12 * max(abs(first), abs(last))  # rounding
    inside = times[(times >= first - slack) & (times <= last + slack)]
    found = run.sel(time=inside, method="nearest")
    if (abs(found.time.values - inside) > slack).any():
        found = run.interp(time=inside.clip(first, last))
    return found.assign_coords(time=inside)
