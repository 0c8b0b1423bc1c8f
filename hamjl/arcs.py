"""Numbers and choices for the arcs of a network, however a user gives them, by weight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl.checks import array, choice, number, scalar
from hamjl.errors import ProblemError, shown
from hamjl.network import Network, depths
from hamjl.ties import arc_label

Array = NDArray[np.floating]


def per_arc(value: Any, what: str, *, positive: bool = False) -> Any:
    """The kept form of numbers by arc: a float, a mapping from labels, or an array that nobody else has.

    Positive ones may be infinite, others are not negative.
    """
    value, rule = scalar(value), {"positive": positive, "nonnegative": not positive, "infinite": positive}
    if isinstance(value, Mapping):
        return {arc_label(arc): number(one, f"{what} of {shown(arc_label(arc))}", **rule) for arc, one in value.items()}
    if not isinstance(value, list | tuple | np.ndarray | xr.DataArray):
        return number(value, what, **rule)
    values = array(value, what)
    wrong = values[~np.isnan(values) & ~(values > 0 if positive else (values >= 0) & np.isfinite(values))]
    if wrong.size:
        number(float(wrong[0]), what, **rule)
    if isinstance(value, xr.DataArray):
        return xr.DataArray(values, {dim: value[dim].values for dim in value.dims if dim in value.coords}, value.dims)
    return values


def by_weight(network: Network, value: Any, what: str, default: float) -> float | Array:
    """Numbers given for arcs, or for weights that arcs share, by weight, (weight,); one number for all is left.

    ProblemError where tied arcs are given different ones.
    """
    if isinstance(value, float):
        return value
    if isinstance(value, Mapping):
        place = {name: k for k, name in enumerate(network.weights)}
        arcs = {arc: k for k, arc in enumerate(network.arcs)}
        result = np.full(len(place), default)
        given = dict[int, float]()
        for name, one in value.items():
            choice(name, place | arcs, f"An arc given its {what}")
            k = place[name] if name in place else int(network.weight[arcs[name]])
            if given.setdefault(k, one) != one:
                raise _differ(network, k, what)
            result[k] = one
        return result
    values = on_arcs(network, value, what)
    if values.shape == (len(network.weights),) and network.is_tied:
        return values
    return shared(network, values, what)


def on_arcs(network: Network, value: Any, what: str) -> Array:
    """An array by arc, (arc,): a DataArray by its labels, a (neuron, input + neuron) matrix, or values in order.

    With tied arcs also values by weight, (weight,), which are returned as they are.
    """
    if isinstance(value, xr.DataArray) and set(value.dims) == {"target", "source"}:
        value = value.transpose("target", "source")
        for dim, names in (("target", network.neurons), ("source", network.vertices)):
            if dim not in value.indexes or set(map(str, value.indexes[dim])) != set(names):
                raise ProblemError(
                    f"{what} must have this network's vertices by name, got others: name or select them."
                )
            value = value.sel({dim: list(names)})
    elif isinstance(value, xr.DataArray):
        known = {"arc": network.arcs, "weight": network.weights}
        names = known.get(str(value.dims[0]), ()) if value.ndim == 1 else ()
        if not names:
            raise ProblemError(f"{what} must be on 'arc' alone, got {dict(value.sizes)}: select or name it.")
        if value.dims[0] in value.indexes:
            if sorted(map(str, value.indexes[value.dims[0]])) != sorted(names):
                raise ProblemError(
                    f"{what} must have this network's {value.dims[0]}s by name, got others: rename them."
                )
            value = value.sel({value.dims[0]: list(names)})
    values = array(value, what)
    if values.shape == (len(network.neurons), len(network.vertices)):
        return values[network.target, network.source]
    if values.shape not in ((len(network.source),), (len(network.weights),)):
        raise ProblemError(
            f"{what} must be one number, or one for each of {len(network.source)} arcs, got shape {values.shape}: "
            "match them."
        )
    return values


def shared(network: Network, values: Array, what: str, factor: Any = 1.0) -> Array:
    """The values by weight, (weight,), of values by arc, (arc,), which are `factor` times those.

    ProblemError where tied arcs do not agree.
    """
    if not network.is_tied:
        return values
    first = np.unique(network.weight, return_index=True)[1]
    result = (values / factor)[first]
    apart = ~np.isclose(values / factor, result[network.weight], rtol=1e-9, atol=0.0, equal_nan=True)
    if apart.any():
        raise _differ(network, int(network.weight[np.argmax(apart)]), what)
    return result


def _differ(network: Network, k: int, what: str) -> ProblemError:
    return ProblemError(
        f"{what} must be one for all arcs of the tied weight {network.weights[k]!r}, got different ones: give one."
    )


def chosen(network: Network, given: Any, what: str) -> NDArray[np.bool_]:
    """Which weights are meant, (weight,): True for all; names of weights, arcs, neurons (the arcs into them) or inputs
    (those from them), pairs (source, target), numbers of layers from 1; or several of these.

    ProblemError for what there is not, and where a part of a tie is meant.
    """
    given = scalar(given)
    if given is None or isinstance(given, bool | np.bool_):
        return np.full(len(network.weights), bool(given))
    single = isinstance(given, str | int | np.integer) or not isinstance(given, Iterable)
    items = [given] if single else list(given)
    meant = np.zeros(len(network.source), dtype=bool)
    for item in items:
        meant |= _meant(network, item, what)
    result = np.zeros(len(network.weights), dtype=bool)
    result[network.weight[meant]] = True
    if (part := result[network.weight] & ~meant).any():
        name = network.weights[network.weight[np.argmax(part)]]
        raise ProblemError(f"{what} must take all arcs of the tied weight {name!r} or none, got some: write {name!r}.")
    return result


def _meant(network: Network, item: Any, what: str) -> NDArray[np.bool_]:
    """The arcs of one item, (arc,)."""
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        depth = depths(len(network.inputs), len(network.neurons), network.source, network.target)
        if depth is None:
            raise ProblemError(
                f"{what} takes layers of a network without cycles, got layer {item}: name arcs or neurons."
            )
        if not 1 <= item <= depth.max() + 1:
            raise ProblemError(f"{what} must be a layer from 1 to {depth.max() + 1}, got {item}: change it.")
        found: NDArray[np.bool_] = depth[network.target] + 1 == item
        return found
    label, weights = arc_label(item), network.weights
    if network.is_tied and label in (ties := network.ties()):
        return np.isin(network.arcs, list(ties[label]))
    if label in network.neurons:
        return network.target == network.neurons.index(label)
    if label in network.inputs:
        return network.source == network.inputs.index(label)
    choice(label, dict.fromkeys((*network.arcs, *network.vertices, *weights)), f"A name in {what}")
    return np.array(network.arcs) == label
