"""The network by itself: where its neurons settle under weights and inputs that stay as they are, x = σ(a)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl.arcs import on_arcs
from hamjl.checks import choice, finite, folded
from hamjl.dynamics.limit import LimitDynamics, NoFixedPointError
from hamjl.errors import ProblemError, listed, shown
from hamjl.lowered import Floats, NetworkField
from hamjl.lowering import check_settles, lower_field
from hamjl.network import Network
from hamjl.objective import Objective
from hamjl.problem import Problem
from hamjl.vertices import BIAS

ENTRIES = 2**21  # of samples by arcs, at once


def at_rest(network: Network, weights: Any, inputs: Any = None) -> xr.DataArray:
    """See `Network.at_rest`."""
    w, (table, dims, coords) = weights_of(network, weights), _table(network, inputs)
    still = Problem(network, Objective(loss="none"), inputs=dict.fromkeys(network.inputs, 0.0), span=(0.0, 1.0))
    field = lower_field(still)
    assert isinstance(field, NetworkField)
    check_settles(network, "the network at rest")
    dynamics = LimitDynamics(replace(field, weights=None))  # those given are by arc, tied or not
    rows = table.reshape(math.prod(table.shape[:-1]), table.shape[-1])
    drive = np.concatenate((rows, np.full((len(rows), len(network.outputs) + 1), np.nan)), axis=1)
    x = np.empty((len(rows), len(network.neurons)))
    block = max(1, ENTRIES // max(len(network.arcs), 1)) if network.is_acyclic else 1
    with np.errstate(all="ignore"):
        for first in range(0, len(rows), block):
            part = slice(first, first + block)
            try:
                x[part] = dynamics.rest(w, drive[part] if network.is_acyclic else drive[first])
            except NoFixedPointError:
                raise ProblemError(
                    f"neurons must settle, f(x, a) = 0, got no such state for row {first} of the inputs: follow them "
                    "in time by hamjl.solve."
                ) from None
    y = x[:, network.output_index].reshape(*table.shape[:-1], len(network.outputs))
    attrs = {"long_name": "output y at rest", "units": "1"}
    return xr.DataArray(y, coords | {"output": list(network.outputs)}, (*dims, "output"), name="y", attrs=attrs)


def weights_of(network: Network, given: Any) -> Floats:
    """The weights, (arc,), of a trajectory at one time, by the labels of arcs, or in order."""
    if isinstance(given, xr.Dataset):
        if "w" not in given:
            raise ProblemError(f"weights must be a trajectory at one time, got a Dataset without w: {listed(given)}.")
        given = given.w
    return finite(on_arcs(network, given, "weights", network.factor), "weights")


def _table(network: Network, given: Any) -> tuple[Floats, tuple[str, ...], dict[str, Any]]:
    """Inputs (…, input), the bias included, with the names of the leading axes and their labels."""
    free = [name for name in network.inputs if name != BIAS]
    if given is None:
        given = {}
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):  # a table of pandas
        coords = {"sample": np.asarray(given.index), "input": [str(name) for name in given.columns]}
        given = xr.DataArray(given.to_numpy(), coords, ("sample", "input"))
    if isinstance(given, Mapping):
        for name in given:
            choice(name, network.inputs, "A name of inputs")
        parts = [finite(part, f"inputs {name!r}") for name, part in given.items()]
        shapes = {part.shape for part in parts if part.ndim}
        if len(shapes) > 1 or any(len(shape) > 1 for shape in shapes):
            raise ProblemError(
                f"inputs by name must be numbers or (sample,), all as long, got {sorted(shapes)}: cut them."
            )
        columns = np.stack(np.broadcast_arrays(*parts), axis=-1) if parts else np.empty(0)
        given = xr.DataArray(columns, {"input": list(given)}, (*("sample",) * (columns.ndim - 1), "input"))
    if isinstance(given, xr.DataArray):
        along = next((str(dim) for dim in ("input", "channel") if dim in given.dims), None)
        if along is None:
            raise ProblemError(f"inputs must be on 'input', got {dict(given.sizes)}: name that dimension so.")
        given = given.transpose(..., along)
        names = [str(name) for name in given.indexes[along]] if along in given.indexes else ()
        dims = tuple(map(str, given.dims[:-1]))
        coords = {str(name): value for name, value in given.coords.items() if along not in value.dims}
        values = finite(given.values, "inputs")
    else:
        values, names = finite(given, "inputs"), ()
        if not 1 <= values.ndim <= 2:
            raise ProblemError(
                f"inputs must be (sample, input), got shape {values.shape}: reshape, or name dimensions."
            )
        dims, coords = ("sample",)[: values.ndim - 1], {}
    return _ordered(network, values, names, free), dims, coords


def _ordered(network: Network, values: Floats, names: Sequence[str], free: Sequence[str]) -> Floats:
    """Columns in the network's order; by name where they have the inputs' names."""
    known, near = set(network.inputs), {folded(name) for name in network.inputs}
    if not known.issuperset(names) and near & set(map(folded, names)):
        raise ProblemError(
            f"columns must be named after inputs exactly or not at all, got {shown(list(names))}: rename them to "
            f"{listed(free)}, or drop the names to go by order."
        )
    if not (names and known.issuperset(names)):
        names = network.inputs if values.shape[-1] == len(known) else free
    if len(names) != values.shape[-1] or not set(free) <= set(names):
        raise ProblemError(
            f"inputs must have a column for each of {listed(free) or 'no input'}, got {values.shape[-1]}: match them."
        )
    position: dict[str, int] = {name: k for k, name in enumerate(names)}
    result: NDArray[np.floating] = np.ones((*values.shape[:-1], len(network.inputs)))
    for k, name in enumerate(network.inputs):
        if name in position:
            result[..., k] = values[..., position[name]]
    return result
