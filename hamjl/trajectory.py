"""From an engine's plain arrays to a labelled trajectory, an `xarray.Dataset`."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import numpy as np
import xarray as xr

from hamjl.dynamics import NetworkDynamics
from hamjl.lowered import Lowered, Result
from hamjl.recipe import Recipe

# name: (dimensions after time, long name, units)
VARIABLES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "u": (("input",), "input u", "1"),
    "x": (("neuron",), "neuron state x", "1"),
    "y": (("output",), "output (state of the output neurons)", "1"),
    "z": (("output",), "target z (NaN: no supervision)", "1"),
    "w": (("arc",), "weight w", "1"),
    "p_x": (("neuron",), "costate of x, divided by φ", "cost"),
    "p_w": (("arc",), "costate of w, divided by φ", "cost"),
    "sign": ((), "sign s(t) of the flow", "1"),
    "loss": ((), "loss term c q L of the running cost", "cost/time"),
    "lagrangian": ((), "Lagrangian Λ/φ = (mc/2)|w'|² + c(kV + qL)", "cost/time"),
    "hamiltonian": ((), "Hamiltonian H/φ", "cost/time"),
}
SCALING = (
    "p_x, p_w, lagrangian and hamiltonian are divided by φ(t), so that they stay finite where φ = exp(θ t) would not; "
    "multiply by φ(t) for the paper's quantities"
)


def assemble(recipe: Recipe, lowered: Lowered, result: Result, engine: str) -> xr.Dataset:
    """Label an engine's result; derived quantities are computed here, alike for all engines."""
    network, rows = recipe.problem.network, len(result.states)
    dynamics = NetworkDynamics(lowered.field, lowered.law)
    time = lowered.times[:rows]
    with np.errstate(all="ignore"):
        drive = dynamics.drive(time)
        x, w, p_x, p_w = dynamics.split(result.states)
        cost, kinetic = dynamics.running_cost(result.states, drive), dynamics.kinetic(result.states)
        d = len(network.inputs)
        values = {
            "u": drive[:, :d],
            "x": x,
            "y": x[:, network.output_index],
            "z": drive[:, d:-1],
            "w": w,
            "p_x": p_x,
            "p_w": p_w,
            "sign": result.signs,
            "loss": dynamics.loss(result.states, drive),
            "lagrangian": cost + kinetic,
            "hamiltonian": dynamics.hamiltonian(result.states, drive),
        }
    variables = {
        name: (("time", *dims), values[name], {"long_name": long_name, "units": units})
        for name, (dims, long_name, units) in VARIABLES.items()
    }
    vertices = np.array(network.vertices, dtype=object)
    coords: dict[str, Any] = {
        "time": ("time", time, {"long_name": "time", "units": "time unit"}),
        "neuron": ("neuron", _text(network.neurons)),
        "arc": ("arc", _text(network.arcs)),
        "input": ("input", _text(network.inputs)),
        "output": ("output", _text(network.outputs)),
        "arc_source": ("arc", _text(vertices[network.source])),
        "arc_target": ("arc", _text(np.array(network.neurons, dtype=object)[network.target])),
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
        "versions": json.dumps({name: version(name) for name in ("hamjl", "numpy", "scipy", "sympy", "xarray")}),
        "scaling": SCALING,
        "recipe": text,
    }
    return xr.Dataset(variables, coords, attrs).merge(arrays)


def _text(names: Any) -> Any:
    return np.array([str(name) for name in names], dtype=np.str_)
