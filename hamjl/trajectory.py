"""From an engine's plain arrays to a labelled trajectory, an `xarray.Dataset`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from hamjl.dynamics import full_dynamics_of
from hamjl.dynamics.network import NetworkDynamics
from hamjl.dynamics.symbolic import SymbolicDynamics
from hamjl.errors import ProblemError, shown
from hamjl.lowered import Floats, Lowered, Result
from hamjl.recipe import Recipe
from hamjl.statement import Statement

# name: (dimensions after time, long name, units)
Description = dict[str, tuple[tuple[str, ...], str, str]]
ENERGIES: Description = {
    "sign": ((), "sign s(t) of the flow", "1"),
    "lagrangian": ((), "Lagrangian Λ/φ (running cost, control included)", "cost/time"),
    "hamiltonian": ((), "Hamiltonian H/φ", "cost/time"),
}
NETWORK: Description = {
    "u": (("input",), "input u", "1"),
    "x": (("neuron",), "neuron state x", "1"),
    "y": (("output",), "output (state of the output neurons)", "1"),
    "z": (("output",), "target z (NaN: no supervision)", "1"),
    "w": (("arc",), "weight w", "1"),
    "p_x": (("neuron",), "costate of x, divided by φ", "cost"),
    "p_w": (("arc",), "costate of w, divided by φ", "cost"),
    "loss": ((), "loss term c q L of the running cost", "cost/time"),
    **ENERGIES,
}
TIED: Description = {  # where arcs share weights
    "shared": (("weight",), "weight, shared by tied arcs", "1"),
    "p_w": (("weight",), "costate of the weight, divided by φ", "cost"),
}
SYSTEM: Description = {
    "u": (("input",), "signal u", "1"),
    "x": (("state",), "state x", "1"),
    "p_x": (("state",), "costate of x, divided by φ", "cost"),
    "v": (("control",), "control v that minimises the Hamiltonian", "1/time"),
    **ENERGIES,
}
VARIABLES = {"problem": NETWORK, "system": SYSTEM}  # of each kind of problem
SCALING = (
    "p_x, p_w, lagrangian and hamiltonian are divided by φ(t), so that they stay finite where φ = exp(θ t) would not; "
    "multiply by φ(t) for the paper's quantities"
)
TIME = {"long_name": "time", "units": "time unit"}
PACKAGES = ("hamjl", "numpy", "scipy", "sympy", "xarray")


def assemble(recipe: Recipe, lowered: Lowered, result: Result, engine: str) -> xr.Dataset:
    """Label an engine's result; derived quantities are computed here, alike for all engines.

    ``message`` says where one of them is no number; see `shortcoming`.
    """
    time = result.times
    values = derive(lowered, result)
    variables = {
        name: (("time", *dims), values[name], {"long_name": long_name, "units": units})
        for name, (dims, long_name, units) in describe(recipe.problem).items()
    }
    labels = {name: (dim, np.array(given, dtype=np.str_)) for name, (dim, given) in recipe.problem.labels.items()}
    labels["time"] = ("time", time, TIME)  # type: ignore[assignment]
    attrs = {**attributes(recipe, lowered, engine), **progress(result)}
    if found := gaps(values, time):
        attrs["message"] += f"; {found}"
    return xr.Dataset(variables, labels, attrs).assign_coords(recipe=carried(recipe.packed))


def carried(text: str) -> xr.Variable:
    """A packed recipe as a scalar coordinate, which goes with its trajectory into whatever that is put together with.

    An object, so that it is not copied for each sample or member that shares it.
    """
    attrs = {"long_name": "recipe: the problem, law, method and times that made this"}
    return xr.Variable((), np.array(text, dtype=object), attrs)


def join(parts: Iterable[xr.Dataset]) -> xr.Dataset:
    """Trajectories one after another as one, as the parts that a session returns.

    Where their recipes differ, as those of a session that was fed do, each sample keeps its own, and analyses are of
    one part at a time.

    Parameters
    ----------
    parts : iterable of xarray.Dataset
        In order of time, with the same variables and labels.

    Raises
    ------
    ProblemError
        If there are none, they overlap in time, or they do not fit together.
    """
    found = list(parts) if isinstance(parts, Iterable) and not isinstance(parts, str | xr.Dataset) else []
    if not found or not all(isinstance(part, xr.Dataset) and "time" in part.indexes for part in found):
        raise ProblemError(f"parts to join must be a list of trajectories, got {shown(parts)}: list them.")
    for before, after in pairwise(part.time.values for part in found if part.sizes["time"]):
        if after[0] <= before[-1]:
            raise ProblemError(
                f"parts to join must follow one another, got one from t = {after[0]:g} after one to {before[-1]:g}: "
                "sort them, or drop what they share."
            )
    try:
        whole: xr.Dataset = xr.concat(
            found, "time", data_vars="minimal", coords="different", compat="equals", join="exact"
        )
    except (ValueError, KeyError, xr.MergeError) as error:
        raise ProblemError(f"parts to join must have the same variables and labels, got others ({error}).") from None
    return whole


def shortcoming(attrs: Mapping[str, Any]) -> str:
    """What a user is to be warned of: how a run ended early, and which formulas have no value; else nothing."""
    if attrs["status"] != "success":
        return f"stopped at t = {attrs['reached']:g}: {attrs['message']}"
    return str(attrs["message"]).partition("; ")[2]


def gaps(values: Mapping[str, Floats], time: Floats) -> str:
    """A sentence on which of loss, energies and controls have no value at some samples, and since when, or nothing.

    The run itself is as good as its status.
    """
    since: dict[float, list[str]] = {}
    for name in ("v", "loss", "lagrangian", "hamiltonian"):
        if name in values:
            missing = ~np.isfinite(values[name])
            (rows,) = np.nonzero(missing.any(axis=tuple(range(1, missing.ndim))))
            if len(rows):
                since.setdefault(float(time[rows[0]]), []).append(name)
    if not since:
        return ""
    found = "; ".join(f"{', '.join(names)} (first at t = {t:g})" for t, names in since.items())
    return f"formulas of the problem have no finite value for {found}: change them, or keep to where they have one"


def describe(problem: Statement) -> Description:
    """The variables of a trajectory of the problem: name, dimensions after time, long name, units."""
    found = dict(VARIABLES[problem.kind])
    if "weight" in problem.labels:
        found |= TIED
    if "input" not in problem.labels:  # a dimension of length zero would be unlimited in a NetCDF file
        del found["u"]
    return found


def attributes(recipe: Recipe, lowered: Lowered, engine: str) -> dict[str, Any]:
    """What is the same for all parts of a trajectory."""
    return {
        "title": "hamjl trajectory",
        "law": recipe.law.to_dict()["name"],
        "method": lowered.method.name,
        "engine": engine,
        "versions": _versions(),
        "scaling": SCALING,
    }


@lru_cache(maxsize=1)
def _versions() -> str:
    return json.dumps({name: version(name) for name in PACKAGES})


def progress(result: Result) -> dict[str, Any]:
    """How far a run came, and how it ended."""
    return {
        **({"method": str(result.statistics["solver"])} if "solver" in result.statistics else {}),
        "status": result.status,
        "message": result.message,
        "reached": float(result.reached),
        "statistics": json.dumps(result.statistics),
    }


def derive(lowered: Lowered, result: Result) -> dict[str, Floats]:
    """The values of all variables at the rows of a result, by name."""
    dynamics = full_dynamics_of(lowered.field, lowered.law)
    states, drive = result.states, dynamics.drive(result.times)
    with np.errstate(all="ignore"):
        values = {
            **dynamics.labelled(states),
            "sign": result.signs,
            "lagrangian": dynamics.lagrangian(states, drive),
            "hamiltonian": dynamics.hamiltonian(states, drive),
        }
        match dynamics:
            case NetworkDynamics(field=field):
                u, z = drive[:, : field.inputs], drive[:, field.inputs : field.inputs + len(field.outputs)]
                y, loss = values["x"][:, field.outputs], dynamics.loss.value(states, drive)
                shared = dynamics.weights.all(dynamics.split(states)[1])
                return values | {"u": u, "y": y, "z": z, "loss": loss, "shared": shared}
            case SymbolicDynamics():
                return values | {"u": drive[:, :-2], "v": dynamics.controls(states, drive)}
    raise AssertionError(dynamics)


def time_of(variable: xr.DataArray) -> str | None:
    """The dimension in time of a variable: ``time``, or ``time_k`` where every k-th sample is stored; None for neither.

    In a sweep over ``time_scale``, say, that is none of them.
    """
    return next((str(dim) for dim in variable.dims if re.fullmatch(r"time(_\d+)?", str(dim))), None)


def over_time(ds: xr.Dataset, name: str, what: str, *, numbers: bool = False) -> xr.DataArray:
    """A variable on its own samples, as ``time``, also where they are every k-th one only.

    Errors say `what` needs it: an analysis or a plot; with `numbers`, at times that are numbers.
    """
    if name not in ds:
        raise ProblemError(f"this {what} needs {name} over time, got a Dataset without: keep it.")
    value, time = ds[name], time_of(ds[name])
    if time is None or not value.sizes[time]:
        raise ProblemError(
            f"this {what} needs samples of {name} over time, got {dict(value.sizes)}: keep or select more."
        )
    if numbers and value[time].dtype.kind not in "iuf":
        raise ProblemError(
            f"this {what} needs samples of {name} at times that are numbers, got {value[time].dtype}: keep them."
        )
    return value if time == "time" else value.drop_vars("time", errors="ignore").rename({time: "time"})
