"""Initial values: numbers, labelled arrays, random draws, and draws of weights that look at the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl.arcs import of_matrix, shared
from hamjl.checks import choice, finite
from hamjl.errors import ProblemError, shown
from hamjl.lowered import BOUND
from hamjl.network import Network
from hamjl.ties import arc_label
from hamjl.vertices import BIAS

Array = NDArray[np.floating]
STATE = ("x", "w", "p_x", "p_w")
DRAWS = {"uniform": {"uniform": [0.0, 1.0]}, "zeros": 0.0}  # of x and w


def labels_of(network: Network, name: str) -> tuple[str, tuple[str, ...]]:
    """The dimension of x, w, p_x or p_w, and the names along it."""
    if name in ("x", "p_x"):
        return "neuron", network.neurons
    return ("weight", network.weights) if name == "p_w" and network.is_tied else ("arc", network.arcs)


def plain(network: Network, value: Any, name: str) -> Any:
    """The plain form of what a user gives for x, w, p_x or p_w: nothing in it is anybody else's.

    A number, an array (neuron,) or (arc,), a random draw, the name of one, or a mapping from names to numbers.
    """
    if isinstance(value, str) and name == "w":
        return choice(value, RULES, "initial w (where it is no number)")
    if isinstance(value, Mapping):
        return {arc_label(key): finite(one, f"initial {name}").tolist() for key, one in value.items()}
    if isinstance(value, xr.DataArray) and value.ndim > 0 and not {"target", "source"} & set(value.dims):
        return of_labels(network, xr.Dataset({name: value}), name)
    values = finite(value, f"initial {name}")
    if values.ndim > 1 and name not in ("w", "p_w"):
        raise ProblemError(
            f"initial {name} must be by neuron, got an array of shape {values.shape}: only arcs have one."
        )
    if values.ndim > 1:
        return kept(of_matrix(network, value, f"initial {name}", bare=True))
    return values.item() if values.ndim == 0 else kept(values)


def kept(values: Array) -> Array:
    """A copy that cannot be changed."""
    own = values.copy()
    own.setflags(write=False)
    return own


def of_labels(network: Network, state: xr.Dataset, name: str) -> Array | dict[str, float]:
    """x, w, p_x or p_w at one time by the names of neurons and arcs; of another network's, those that both have."""
    dim, names = labels_of(network, name)
    if name == "w" and network.is_tied and name in state and state[name].dims == ("weight",):
        dim, names = "weight", network.weights
    if name not in state or state[name].dims != (dim,):
        raise ProblemError(
            f"initial {name} with labels must be by {dim} alone, got {dict(state.sizes)}: select one time, e.g. "
            "trajectory.isel(time=-1)."
        )
    given = list(map(str, state.indexes.get(dim, ())))
    values = finite(state[name].values, f"initial {name}")
    if len(set(given)) < len(given) or not set(given) & set(names):
        raise ProblemError(f"initial {name} must have this network's {dim}s, got other labels: use its own {name}.")
    place = {label: k for k, label in enumerate(given)}
    if len(given) == len(names) and place.keys() == set(names):
        return kept(values[[place[label] for label in names]])
    return {label: float(values[place[label]]) for label in names if label in place}


# -- draws -------------------------------------------------------------------------------------------------------------
def draw(network: Network, value: Any, name: str, rng: np.random.Generator) -> Array:
    """x, w, p_x or p_w, (neuron,) or (weight,), as the plain form says."""
    size = len(network.neurons) if name in ("x", "p_x") else network.weight_count
    if isinstance(value, str):
        return RULES[value](network, rng)[_first(network)]
    if isinstance(value, Mapping):
        if any(isinstance(one, list) for one in value.values()) or value.keys() <= {"uniform", "normal"}:
            return _at_random(value, size, rng, name)
        return _named(network, value, name, rng)
    values = finite(value, f"initial {name}")
    if name == "w" and network.is_tied and values.shape == network.source.shape:
        return shared(network, values, "initial w", network.factor)
    if values.shape not in ((), (size,)):
        raise ProblemError(f"initial {name} must be a number or have shape ({size},), got {values.shape}: reshape it.")
    return np.broadcast_to(values, (size,)).astype(np.float64)


def _named(network: Network, value: Mapping[str, float], name: str, rng: np.random.Generator) -> Array:
    """The values of some neurons, arcs or weights; the others as where nothing is said."""
    result = draw(network, DRAWS["uniform"] if name in ("x", "w") else 0.0, name, rng)
    place = {label: (k, 1.0) for k, label in enumerate(labels_of(network, name)[1])}
    if name == "w" and network.is_tied:
        arcs = zip(network.arcs, network.weight.tolist(), network.factor.tolist(), strict=True)
        place = {arc: (k, factor) for arc, k, factor in arcs}
        place |= {label: (k, 1.0) for k, label in enumerate(network.weights)}
    told = dict[int, float]()
    for label, one in value.items():
        k, factor = place[choice(label, place, f"A name of initial {name}")]
        if not np.isclose(told.setdefault(k, one / factor), one / factor, rtol=1e-9, atol=0.0):
            raise ProblemError(f"initial {name} must be one for all tied arcs, got another for {label!r}: give one.")
        result[k] = told[k]
    return result


def _first(network: Network) -> NDArray[np.intp]:
    """The first arc of each weight."""
    return np.unique(network.weight, return_index=True)[1]


def _at_random(value: Mapping[str, Any], size: int, rng: np.random.Generator, name: str) -> Array:
    if len(value) != 1 or next(iter(value)) not in ("uniform", "normal"):
        raise ProblemError(
            f"initial {name} drawn at random must be {{'uniform': [low, high]}} or {{'normal': [mean, std]}}, "
            f"got {shown(dict(value))}: write one of them."
        )
    kind, pair = next(iter(value.items()))
    limits = finite(pair, f"the two numbers of {kind} {name}")
    if limits.shape != (2,) or (kind == "normal" and limits[1] < 0) or (kind == "uniform" and limits[1] < limits[0]):
        raise ProblemError(f"{kind} {name} takes [low, high] or [mean, std >= 0], got {shown(pair)}: change it.")
    if np.abs(limits).max() > BOUND:
        raise ProblemError(f"{kind} {name} takes numbers up to {BOUND:g}, got {shown(pair)}: change it.")
    drawn: Array = getattr(rng, kind)(limits[0], limits[1], size)
    return drawn


# Fans in a digraph: into arc j -> i lead the arcs to i, out of it those from j, the bias not counted. In layers these
# are the widths before and after. Biases begin at 0.
def _glorot(network: Network, rng: np.random.Generator) -> Array:
    """Uniform on ±√(6/(fan in + fan out)): Glorot and Bengio 2010, equation (16)."""
    free = _free(network)
    fan_in, fan_out = np.bincount(network.target[free]), np.bincount(network.source[free])
    w = np.zeros(len(free))
    limit = np.sqrt(6.0 / (fan_in[network.target[free]] + fan_out[network.source[free]]))
    w[free] = rng.uniform(-1.0, 1.0, len(limit)) * limit
    return w


def _he(network: Network, rng: np.random.Generator) -> Array:
    """Normal with variance 2/(fan in): He et al. 2015, equation (10)."""
    free, w = _free(network), np.zeros(len(network.source))
    scale = np.sqrt(2.0 / np.bincount(network.target[free])[network.target[free]])
    w[free] = rng.normal(0.0, 1.0, len(scale)) * scale
    return w


def _orthogonal(network: Network, rng: np.random.Generator) -> Array:
    """Matrices with orthonormal rows or columns, whichever are fewer, drawn evenly: Saxe et al. 2014.

    One for all neurons that have the same inputs for parents, and one for all that have the same neurons: in layers
    those of each layer, in a network with all connections that of the inputs and the square one of the neurons.
    """
    w, free, from_input = np.zeros(len(network.source)), _free(network), network.source < len(network.inputs)
    for part in (free & from_input, free & ~from_input):
        arcs = np.flatnonzero(part)  # by target, then source
        blocks: dict[bytes, list[NDArray[np.int64]]] = {}
        for row in np.split(arcs, np.flatnonzero(np.diff(network.target[arcs])) + 1):
            blocks.setdefault(network.source[row].tobytes(), []).append(row)
        for rows in blocks.values():
            place = np.stack(rows)
            tall = place if place.shape[0] >= place.shape[1] else place.T
            q, r = np.linalg.qr(rng.normal(0.0, 1.0, tall.shape))
            w[tall] = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # else not evenly: Mezzadri 2007
    return w


def _free(network: Network) -> NDArray[np.bool_]:
    """The arcs that do not come from the bias, (arc,)."""
    if BIAS not in network.inputs:
        return np.ones(len(network.source), dtype=bool)
    return network.source != network.inputs.index(BIAS)


RULES: dict[str, Callable[[Network, np.random.Generator], Array]] = {
    "glorot": _glorot,
    "he": _he,
    "orthogonal": _orthogonal,
}
