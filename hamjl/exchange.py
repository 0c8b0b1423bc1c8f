"""Networks of other libraries: graphs of networkx, and models of torch, known by the names of their classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl.checks import array, folded, number
from hamjl.errors import EngineError, ProblemError, listed, shown
from hamjl.functions import FAMILIAR
from hamjl.network import Network, depths
from hamjl.rest import weights_of
from hamjl.vertices import BIAS

Array = NDArray[np.floating]
LINEAR, ASIDE = "Linear", ("Identity", "Dropout")  # what holds weights, and what does nothing where a model is used
SMOOTH = {  # activations by the names of their classes in torch.nn
    "Tanh": "tanh",
    "Sigmoid": "logistic",
    "SiLU": "a*logistic(a)",
    "Mish": "a*tanh(softplus(a))",
    "GELU": "a*(1 + erf(a/sqrt(2)))/2",
    "Softplus": "softplus",
    "Tanhshrink": "a - tanh(a)",
    "LogSigmoid": "-softplus(-a)",
}


# -- networkx ----------------------------------------------------------------------------------------------------------
def to_networkx(network: Network, weights: Any) -> Any:
    """See `Network.to_networkx`."""
    graph = _library("networkx", "hamjl[networkx]").DiGraph()
    graph.add_nodes_from(network.inputs, kind="input")
    outputs = set(network.outputs)
    parts = zip(network.neurons, network.activation, network.velocity.tolist(), network.neuron, strict=True)
    for name, activation, velocity, model in parts:
        kind = "output" if name in outputs else "neuron"
        graph.add_node(name, kind=kind, activation=activation, velocity=velocity, model=model)
    values = [] if weights is None else weights_of(network, weights).tolist()
    given = [{"weight": value} for value in values] or [{}] * len(network.source)
    for j, i, attributes in zip(network.source, network.target, given, strict=True):
        graph.add_edge(network.vertices[j], network.neurons[i], **attributes)
    return graph


# -- torch -------------------------------------------------------------------------------------------------------------
def from_torch(model: Any, inputs: Sequence[str] | None) -> tuple[Network, xr.DataArray]:
    """See `Network.from_torch`."""
    matrices, biases, activations = _layers(model)
    sizes = [matrices[0].shape[1], *map(len, matrices)]
    for before, after in pairwise(matrices):
        if len(before) != after.shape[1]:
            raise ProblemError(
                f"a Linear layer must take what the last one gives, got {after.shape[1]} of {len(before)}: match them."
            )
    given = [one is not None for one in biases]
    whole = Network.layered(sizes, inputs=inputs, bias=any(given), activation=activations)
    matrix, place, row, column = np.zeros((len(whole.neurons), len(whole.vertices))), len(whole.inputs), 0, 0
    bias = whole.inputs.index(BIAS) if any(given) else 0
    for weight, one in zip(matrices, biases, strict=True):
        part = slice(row, row + len(weight))
        matrix[part, column : column + weight.shape[1]] = weight
        if one is not None:
            matrix[part, bias] = one
        row, column = part.stop, place + row
    without = np.repeat([not one for one in given], sizes[1:])  # neurons of layers that have no bias, where others have
    network = whole
    if any(given) and without.any():
        network = whole.prune((whole.source == bias) & without[whole.target])
    attrs = {"long_name": "weight w", "units": "1"}
    return network, xr.DataArray(network.arc_values(matrix), {"arc": list(network.arcs)}, ("arc",), "w", attrs)


def _layers(model: Any) -> tuple[list[Array], list[Array | None], list[str]]:
    """Weights (out, in), biases (out,) and activation of each layer."""
    matrices: list[Array] = []
    biases: list[Array | None] = []
    activations: list[str | None] = []
    for part in _parts(model):
        kind = type(part).__name__
        if _is(part, LINEAR):
            matrices.append(_numbers(part.weight, "weight"))
            biases.append(None if part.bias is None else _numbers(part.bias, "bias"))
            activations.append(None)
        elif kind not in ASIDE:
            sigma = _activation(part, kind)
            if activations[-1:] != [None]:
                raise ProblemError(f"an activation must follow a Linear layer, got {kind} elsewhere: merge or move it.")
            activations[-1] = sigma
    if not matrices:
        raise ProblemError(f"model must hold a Linear layer, got {shown(model)}: give a torch.nn.Sequential.")
    return matrices, biases, ["identity" if one is None else one for one in activations]


def _parts(model: Any) -> Iterator[Any]:
    """The layers of a model, one after the other."""
    if _is(model, "Sequential"):
        for part in model:
            yield from _parts(part)
    else:
        yield model


def _is(part: Any, name: str) -> bool:
    return any(cls.__name__ == name for cls in type(part).__mro__)


def _numbers(tensor: Any, what: str) -> Array:
    try:
        values = tensor.detach().cpu().double().numpy()
    except (AttributeError, TypeError, ValueError, RuntimeError):  # of no tensor, or one of a lazy layer
        values = np.empty(0)
    result = array(values, what)
    if result.ndim != (2 if what == "weight" else 1) or not np.isfinite(result).all():
        raise ProblemError(f"{what} of a Linear layer must be finite numbers, got others: run the model once first.")
    return result


def _activation(part: Any, kind: str) -> str:
    near = {folded(name): words for name, words in FAMILIAR["activation"].items()}.get(folded(kind))
    if kind not in SMOOTH:
        hint = f"choose from {listed(SMOOTH)}" if near is None else f"what comes near it is {near}"
        raise ProblemError(f"a layer must be Linear or a smooth activation, got {kind}: {hint}.")
    if kind == "Softplus" and (beta := number(part.beta, "beta", positive=True)) != 1:
        return f"softplus({beta!r}*a)/{beta!r}"
    if kind == "GELU" and part.approximate == "tanh":
        return "a*(1 + tanh(sqrt(2/pi)*(a + 0.044715*a**3)))/2"
    return SMOOTH[kind]


def to_state_dict(network: Network, weights: Any, names: Sequence[str] | None) -> dict[str, Any]:
    """See `Network.to_state_dict`."""
    torch = _library("torch", "hamjl[torch]")
    n, d, source, target = len(network.neurons), len(network.inputs), network.source, network.target
    depth = depths(d, n, source, target)
    fed = np.concatenate((np.zeros(d, int), np.zeros(n, int) if depth is None else depth + 1))  # layer, by vertex
    free = np.array([name != BIAS for name in network.vertices])
    inner = free[source]
    if depth is None or (fed[source] != depth[target])[inner].any():
        raise ProblemError("a state_dict is of layers, each fed by the one before, got other arcs: go by their labels.")
    matrix, result = network.matrix(weights_of(network, weights)), {}
    layers = [np.flatnonzero(depth == k) for k in range(depth.max() + 1)]
    if names is None:
        steps = [1 + any(network.activation[i] != "identity" for i in rows) for rows in layers]
        names = [str(k) for k in np.cumsum([0, *steps[:-1]])]
    if isinstance(names, str) or len(names) != len(layers) or not all(isinstance(name, str) for name in names):
        raise ProblemError(f"names must be one text for each of {len(layers)} layers, got {shown(names)}: match them.")
    for k, (name, rows) in enumerate(zip(names, layers, strict=True)):
        columns = np.flatnonzero(free & (fed == k))
        result[f"{name}.weight"] = torch.tensor(matrix[np.ix_(rows, columns)])
        if np.isin(target[~inner], rows).any():
            result[f"{name}.bias"] = torch.tensor(matrix[rows, network.inputs.index(BIAS)])
    return result


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise EngineError(f"this needs {name}: install it with 'pip install \"{extra}\"'.") from None
