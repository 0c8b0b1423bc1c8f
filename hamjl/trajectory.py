"""From an engine's plain arrays to a labelled trajectory, an `xarray.Dataset`."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from hamjl.dynamics.network import NetworkDynamics
from hamjl.dynamics.symbolic import SymbolicDynamics
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
PACKAGES = ("hamjl", "numpy", "scipy", "sympy", "xarray")


def assemble(recipe: Recipe, lowered: Lowered, result: Result, engine: str) -> xr.Dataset:
    """Label an engine's result; derived quantities are computed here, alike for all engines."""
    time = lowered.times[: len(result.states)]
    with np.errstate(all="ignore"):
        if isinstance(recipe.problem, SymbolicSystem):
            description, values, coords = _label_system(recipe.problem, lowered, time, result)
        else:
            description, values, coords = _label_network(recipe.problem, lowered, time, result)
    variables = {
        name: (("time", *dims), values[name], {"long_name": long_name, "units": units})
        for name, (dims, long_name, units) in description.items()
        if name != "u" or values["u"].shape[1]  # a dimension of length zero would be unlimited in a NetCDF file
    }
    text, arrays = recipe.pack()
    attrs = {
        "title": "hamjl trajectory",
        "law": recipe.law.to_dict()["name"],
        "method": str(result.statistics.get("solver", lowered.method.name)),
        "status": result.status,
        "message": result.message,
        "reached": float(result.reached),
        "statistics": json.dumps(result.statistics),
        "engine": engine,
        "versions": json.dumps({name: version(name) for name in PACKAGES}),
        "scaling": SCALING,
        "recipe": text,
    }
    text_of = {name: (dim, [str(label) for label in given]) for name, (dim, given) in coords.items()}
    labels = {name: (dim, np.array(given, dtype=np.str_)) for name, (dim, given) in text_of.items() if given}
    labels["time"] = ("time", time, {"long_name": "time", "units": "time unit"})  # type: ignore[assignment]
    return xr.Dataset(variables, labels, attrs).merge(arrays)


def _label_network(problem: Problem, lowered: Lowered, time: Floats, result: Result) -> Any:
    assert isinstance(lowered.field, NetworkField)
    network, dynamics = problem.network, NetworkDynamics(lowered.field, lowered.law)
    drive, d = dynamics.drive(time), len(network.inputs)
    x, w, p_x, p_w = dynamics.split(result.states)
    values = {
        "u": drive[:, :d],
        "x": x,
        "y": x[:, network.output_index],
        "z": drive[:, d:-1],
        "w": w,
        "p_x": p_x,
        "p_w": p_w,
        "loss": dynamics.loss(result.states, drive),
        "sign": result.signs,
        "lagrangian": dynamics.lagrangian(result.states, drive),
        "hamiltonian": dynamics.hamiltonian(result.states, drive),
    }
    coords = {
        "input": ("input", network.inputs),
        "neuron": ("neuron", network.neurons),
        "output": ("output", network.outputs),
        "arc": ("arc", network.arcs),
        "arc_source": ("arc", (network.vertices[j] for j in network.source)),
        "arc_target": ("arc", (network.neurons[i] for i in network.target)),
    }
    return NETWORK, values, coords


def _label_system(system: SymbolicSystem, lowered: Lowered, time: Floats, result: Result) -> Any:
    assert isinstance(lowered.field, SymbolicField)
    dynamics = SymbolicDynamics(lowered.field, lowered.law)
    drive = dynamics.drive(time)
    x, p_x = dynamics.split(result.states)
    values = {
        "u": drive[:, :-2],
        "x": x,
        "p_x": p_x,
        "v": dynamics.controls(result.states, drive),
        "sign": result.signs,
        "lagrangian": dynamics.lagrangian(result.states, drive),
        "hamiltonian": dynamics.hamiltonian(result.states, drive),
    }
    coords = {
        "input": ("input", system.signals),
        "state": ("state", system.states),
        "control": ("control", system.controls),
    }
    return SYSTEM, values, coords
