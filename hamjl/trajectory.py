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

from hamjl.dynamics.network import NetworkDynamics
from hamjl.dynamics.symbolic import SymbolicDynamics
from hamjl.errors import ProblemError, shown
from hamjl.lowered import Floats, Lowered, NetworkField, Result, SymbolicField
from hamjl.problem import Problem
from hamjl.recipe import Recipe
from hamjl.symbolic import SymbolicSystem

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
SYSTEM: Description = {
    "u": (("input",), "signal u", "1"),
    "x": (("state",), "state x", "1"),
    "p_x": (("state",), "costate of x, divided by φ", "cost"),
    "v": (("control",), "control v that minimises the Hamiltonian", "1/time"),
    **ENERGIES,
}
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
    values = derive(recipe.problem, lowered, result)
    variables = {
        name: (("time", *dims), values[name], {"long_name": long_name, "units": units})
        for name, (dims, long_name, units) in describe(recipe.problem).items()
    }
    labels = {name: (dim, np.array(given, dtype=np.str_)) for name, (dim, given) in coordinates(recipe.problem).items()}
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


def describe(problem: Problem | SymbolicSystem) -> Description:
    """The variables of a trajectory of the problem: name, dimensions after time, long name, units."""
    if isinstance(problem, SymbolicSystem):
        return {name: part for name, part in SYSTEM.items() if name != "u" or problem.signals}
    # a dimension of length zero would be unlimited in a NetCDF file
    return {name: part for name, part in NETWORK.items() if name != "u" or problem.network.inputs}


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


def derive(problem: Problem | SymbolicSystem, lowered: Lowered, result: Result) -> dict[str, Floats]:
    """The values of all variables at the rows of a result, by name."""
    with np.errstate(all="ignore"):
        if isinstance(problem, SymbolicSystem):
            return _derive_system(lowered, result)
        return _derive_network(problem, lowered, result)


def coordinates(problem: Problem | SymbolicSystem) -> dict[str, tuple[str, list[str]]]:
    """The labels of a trajectory of the problem: name, dimension, texts."""
    given: dict[str, tuple[str, Iterable[str]]]
    if isinstance(problem, SymbolicSystem):
        given = {
            "input": ("input", problem.signals),
            "state": ("state", problem.states),
            "control": ("control", problem.controls),
        }
    else:
        network = problem.network
        given = {
            "input": ("input", network.inputs),
            "neuron": ("neuron", network.neurons),
            "output": ("output", network.outputs),
            "arc": ("arc", network.arcs),
            "arc_source": ("arc", (network.vertices[j] for j in network.source)),
            "arc_target": ("arc", (network.neurons[i] for i in network.target)),
        }
    texts = {name: (dim, [str(label) for label in labels]) for name, (dim, labels) in given.items()}
    return {name: (dim, labels) for name, (dim, labels) in texts.items() if labels}


def time_of(variable: xr.DataArray) -> str | None:
    """The dimension in time of a variable: ``time``, or ``time_k`` where every k-th sample is stored; None for neither.

    In a sweep over ``time_scale``, say, that is none of them.
    """
    return next((str(dim) for dim in variable.dims if re.fullmatch(r"time(_\d+)?", str(dim))), None)


def _derive_network(problem: Problem, lowered: Lowered, result: Result) -> dict[str, Floats]:
    assert isinstance(lowered.field, NetworkField)
    dynamics, d = NetworkDynamics(lowered.field, lowered.law), lowered.field.inputs
    drive = dynamics.drive(result.times)
    x, w, p_x, p_w = dynamics.split(result.states)
    return {
        "u": drive[:, :d],
        "x": x,
        "y": x[:, problem.network.output_index],
        "z": drive[:, d:-1],
        "w": w,
        "p_x": p_x,
        "p_w": p_w,
        "loss": dynamics.loss(result.states, drive),
        "sign": result.signs,
        "lagrangian": dynamics.lagrangian(result.states, drive),
        "hamiltonian": dynamics.hamiltonian(result.states, drive),
    }


def _derive_system(lowered: Lowered, result: Result) -> dict[str, Floats]:
    assert isinstance(lowered.field, SymbolicField)
    dynamics = SymbolicDynamics(lowered.field, lowered.law)
    drive = dynamics.drive(result.times)
    x, p_x = dynamics.split(result.states)
    return {
        "u": drive[:, :-2],
        "x": x,
        "p_x": p_x,
        "v": dynamics.controls(result.states, drive),
        "sign": result.signs,
        "lagrangian": dynamics.lagrangian(result.states, drive),
        "hamiltonian": dynamics.hamiltonian(result.states, drive),
    }
