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
from hamjl.vertices import axis_names

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
    if values.ndim < 2:  # what a matrix has where there is no arc does not matter
        _check(values, what, positive)
    if isinstance(value, xr.DataArray):
        return xr.DataArray(values, {dim: value[dim].values for dim in value.dims if dim in value.coords}, value.dims)
    return values


def _check(values: Array, what: str, positive: bool) -> None:
    wrong = values[~(values > 0 if positive else (values >= 0) & np.isfinite(values))]
    if wrong.size:
        number(float(wrong[0]), what, positive=positive, nonnegative=not positive, infinite=positive)


def by_weight(network: Network, value: Any, what: str, default: float, *, positive: bool = False) -> float | Array:
    """Numbers given for arcs, or for weights that arcs share, by weight, (weight,); one number for all is left.

    ProblemError where tied arcs are given different ones, or arcs none.
    """
    if isinstance(value, float):
        return value
    if not isinstance(value, Mapping):
        values = on_arcs(network, value, what)
        _check(values, what, positive)
        return shared(network, values, what)
    place = {name: k for k, name in enumerate(network.weights)}
    arcs = {arc: k for k, arc in enumerate(network.arcs)}
    result, given = np.full(len(place), default), dict[int, float]()
    for name, one in value.items():
        choice(name, place | arcs, f"An arc given its {what}")
        k = place[name] if name in place else int(network.weight[arcs[name]])
        if given.setdefault(k, one) != one:
            raise _differ(network, k, what)
        result[k] = one
    return result


def on_arcs(network: Network, value: Any, what: str, factor: Any = 1.0) -> Array:
    """An array by arc, (arc,): a DataArray by its labels, a (neuron, input + neuron) matrix, or values in order.

    Where arcs are tied also values by weight, (weight,), of which each arc has that of its weight times its `factor`.
    """
    dim, known = None, {"arc": network.arcs, "weight": network.weights}
    if isinstance(value, xr.DataArray) and set(value.dims) != {"target", "source"}:
        dim = str(value.dims[0]) if value.ndim == 1 else None
        if dim not in known:
            raise ProblemError(f"{what} must be on 'arc' alone, got {dict(value.sizes)}: select one time, or name it.")
        if dim in value.indexes:
            if sorted(map(str, value.indexes[dim])) != sorted(known[dim]):
                raise ProblemError(f"{what} must have this network's {dim}s by name, got others: rename them.")
            value = value.sel({dim: list(known[dim])})
    elif np.ndim(value) == 2:
        return of_matrix(network, value, what)
    values = array(value, what)
    if values.ndim != 1 or len(values) not in {len(names) for key, names in known.items() if dim in (None, key)}:
        raise ProblemError(
            f"{what} must be one for each of {len(network.source)} arcs, got shape {values.shape}: match them."
        )
    if dim == "weight" or len(values) != len(network.source):
        return factor * values[network.weight]
    return values


def of_matrix(network: Network, given: Any, what: str, *, bare: bool = False) -> Array:
    """Values by arc of a (neuron, input + neuron) matrix, by the names of its rows and columns where it has some.

    With `bare`, ProblemError where it is not 0 although there is no arc.
    """
    if isinstance(given, xr.DataArray):
        if set(given.dims) != {"target", "source"}:
            raise ProblemError(f"{what} as a matrix must be on target and source, got {given.dims}: rename them.")
        given = given.transpose("target", "source")
    names, values = axis_names(given), array(given, what)
    if all(names):
        for mine, theirs in zip((network.neurons, network.vertices), names, strict=True):
            if set(mine) != set(theirs):
                raise ProblemError(f"{what} must have this network's vertices, got {shown(theirs)}: rename or select.")
        rows, columns = ({label: k for k, label in enumerate(labels)} for labels in names)
        order = np.ix_([rows[i] for i in network.neurons], [columns[j] for j in network.vertices])
        values = values[order]
    result = network.arc_values(values)  # refuses another shape, before entries are looked at
    if bare:
        stray = np.argwhere((values != 0) & (network.matrix(np.ones(len(network.source))) == 0))
        for i, j in stray[:1]:
            raise ProblemError(
                f"{what} must be 0 where there is no arc, got {values[i, j]:g} for "
                f"'{network.vertices[j]}->{network.neurons[i]}': add the arc, or build the network by from_adjacency."
            )
    return result


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
        return np.full(network.weight_count, bool(given))
    single = isinstance(given, str | int | np.integer) or not isinstance(given, Iterable)
    items = [given] if single else list(given)
    meant = np.zeros(len(network.source), dtype=bool)
    for item in items:
        meant |= _meant(network, item, what)
    result = np.zeros(network.weight_count, dtype=bool)
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
