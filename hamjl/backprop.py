"""Backpropagation at an instant, for frozen weights, and how near a law's own local term comes to it."""

from __future__ import annotations

import numpy as np
import xarray as xr

from hamjl.dynamics.limit import LimitDynamics, NoFixedPointError
from hamjl.lowered import Floats, NetworkField
from hamjl.network import depths


def instantaneous_gradient(field: NetworkField, states: Floats, drives: Floats) -> Floats:
    """∂(c q L)/∂w_ij of the network at rest under each row's weights, (row, arc), by the delta rule (17).

    Parameters
    ----------
    states : (row, state)
        Full states; on a cyclic graph x is where the search for the fixed point starts.
    drives : (row, drive)

    A row is NaN where the cycle has no fixed point that (7) would reach from there.
    """
    limit = LimitDynamics(field)
    result = np.full((len(states), len(field.source)), np.nan)
    for row, state, drive in zip(result, states, drives, strict=True):
        try:
            at_rest = limit.full(limit.restrict(state), drive)
        except NoFixedPointError:
            continue
        row[:] = limit.inner.local_gradient(at_rest, drive)
    return result


def deviation(term: Floats, gradient: Floats) -> tuple[Floats, Floats]:
    """Cosine between the rows (row, arc), and |term - gradient|/|gradient|, each (row,); NaN where they are 0."""
    size, length = np.linalg.norm(gradient, axis=-1), np.linalg.norm(term, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosine = np.sum(term / length[:, None] * (gradient / size[:, None]), axis=-1)
        error = np.linalg.norm(term - gradient, axis=-1) / size
    return cosine, np.where(size > 0, error, np.nan)


def alignment(field: NetworkField, term: Floats, gradient: Floats) -> xr.Dataset:
    """`deviation` over all arcs, (time,), and on a DAG by the layer of the arcs' targets, (time, layer)."""
    cosine, error = deviation(term, gradient)
    result = xr.Dataset({"cosine": ("time", cosine), "relative_error": ("time", error)})
    depth = depths(field.inputs, field.neurons, field.source, field.target)
    if depth is not None:
        layer = depth[field.target]
        present = np.unique(layer)
        parts = [deviation(term[:, layer == k], gradient[:, layer == k]) for k in present]
        for label, values in zip(("layer_cosine", "layer_relative_error"), zip(*parts, strict=True), strict=True):
            result[label] = ("time", "layer"), np.stack(values, axis=1)
        result["layer"] = ("layer", present + 1, {"long_name": "layer: longest path to the target neuron, from 1"})
    for label in map(str, result.data_vars):
        what = "cosine of g_i x_j with" if "cosine" in label else "relative error of g_i x_j as"
        result[label].attrs = {"long_name": f"{what} the gradient of the loss", "units": "1"}
    return result
