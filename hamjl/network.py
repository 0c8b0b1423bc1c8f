"""The digraph: inputs, neurons and the arcs between them, equation (7) of the paper."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hamjl import functions
from hamjl.checks import array, choice, count, flag, keys, mapping, number
from hamjl.errors import ProblemError, listed, shown
from hamjl.expressions import Formula
from hamjl.grids import convolution
from hamjl.plain import Plain
from hamjl.ties import Tied, arc_label, tie
from hamjl.vertices import (
    BIAS,
    as_text,
    axis_names,
    check_distinct,
    check_size,
    is_whole,
    names_of,
    numbered,
    with_bias,
)

if TYPE_CHECKING:
    import networkx

Activation = Formula | Sequence[Formula] | NDArray[Any] | Mapping[str, Formula]  # one for all neurons, or one each
Velocity = float | Sequence[float] | NDArray[Any] | Mapping[str, float]
MAX_TEXT = 20_000  # characters in all of different formulas, each of which is differentiated


@dataclass(frozen=True, eq=False, repr=False)
class Network(Plain):
    """An immutable digraph of inputs and neurons.

    Neuron i obeys ``x_i' = c_i (-x_i + σ(a_i))``, (7), with ``a_i = Σ_j w_ij x_j``, j over its parents; or another
    ``x_i' = c_i f(x_i, a_i)``, its *model*. Make one with `from_arcs`, `layered`, `fully_connected`, `from_adjacency`,
    `from_networkx`, `from_torch`, `convolutional` or `oscillators`.

    Arcs may be *tied*: they share one weight, up to a factor. Learning is then local no more within a tie: what moves
    the weight is a sum over its arcs.

    Attributes
    ----------
    inputs, neurons, outputs : tuple of str
        Names. Inputs have no parents; outputs are the neurons which the loss sees.
    source, target : int arrays, (arc,)
        ``source`` indexes ``inputs + neurons``, ``target`` indexes ``neurons``; arcs are sorted by target, then source.
    activation : tuple of str, (neuron,)
        Preset name or formula in ``a`` of each neuron.
    velocity : float array, (neuron,)
        c_i > 0, in 1/time.
    neuron : tuple of str, (neuron,)
        Model of each neuron: ``"leaky"`` (f = σ(a) - x), ``"integrator"`` (f = a), or a formula f in ``x`` and ``a``,
        where ``sigma(…)`` is the neuron's activation.
    weight, factor : int and float arrays, (arc,)
        Arc e has the value of the weight ``weight[e]``, times ``factor[e]``.
    """

    inputs: tuple[str, ...]
    neurons: tuple[str, ...]
    outputs: tuple[str, ...]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    activation: tuple[str, ...]
    velocity: NDArray[np.floating]
    neuron: tuple[str, ...]
    weight: NDArray[np.int64]
    factor: NDArray[np.floating]
    _shared: tuple[str, ...] | None = None  # names of the weights where arcs are tied
    _graph: dict[str, Any] = field(default_factory=dict)  # how it was built, for the recipe

    # -- constructors ------------------------------------------------------------------------------------------------
    @classmethod
    def from_arcs(
        cls,
        arcs: Iterable[tuple[str, str]],
        *,
        inputs: Sequence[str] = (),
        neurons: Sequence[str] | None = None,
        outputs: Sequence[str] | int = 1,
        activation: Activation = "tanh",
        velocity: Velocity = 1.0,
        neuron: Activation = "leaky",
        tied: Tied | None = None,
    ) -> Network:
        """Build a network from (source, target) pairs of names.

        Parameters
        ----------
        arcs : iterable of (str, str)
            Ends that are no text, such as whole numbers, become text; so do the names below.
        inputs : sequence of str
            Vertices without parents; one named ``"bias"`` is constantly 1, and is an input without being listed here.
        neurons : sequence of str, optional
            All other vertices, in order; by default those in `arcs`, in order of appearance.
        outputs : sequence of str or int
            Output neurons, or how many of the first neurons.
        activation, velocity, neuron
            One value for all neurons, a sequence of one each, or a mapping of neuron names (the others get ``"tanh"``,
            1 and ``"leaky"``).
        tied : mapping, optional
            From names of weights to the arcs that share them: ``"u0->x0"`` or ``("u0", "x0")``, each with the value of
            the weight; or a mapping from arcs to factors, e.g. ``{"omega": {"x->y": 1, "y->x": -1}}``.

        Raises
        ------
        ProblemError
            For unknown or repeated names, repeated arcs, arcs into an input, or an input that feeds nothing.
        """
        pairs, ins = as_text(arcs), names_of(inputs, "inputs")
        if neurons is None or BIAS not in names_of(neurons, "neurons"):
            ins = with_bias(ins, pairs)
        if neurons is None:
            fed = set(ins)
            neurons = list(dict.fromkeys(name for pair in pairs for name in pair if name not in fed))
        outs = names_of(neurons, "neurons")
        position = {name: k for k, name in enumerate((*ins, *outs))}
        for j, i in pairs:
            for name in (j, i):
                if name not in position:
                    choice(name, position, f"Both ends of arc {shown(j)} -> {shown(i)} must exist; a vertex")
            if position[i] < len(ins):
                raise ProblemError(
                    f"inputs have no parents, got the arc {shown(j)} -> {shown(i)}: make {shown(i)} a neuron."
                )
        source = np.array([position[j] for j, _ in pairs], dtype=np.int64)
        target = np.array([position[i] for _, i in pairs], dtype=np.int64) - len(ins)
        graph = {"kind": "arcs", "inputs": list(ins), "neurons": list(outs), "arcs": [list(pair) for pair in pairs]}
        return cls._make(ins, outs, outputs, source, target, graph, activation, velocity, neuron, tied)

    @classmethod
    def fully_connected(
        cls,
        neurons: int,
        *,
        inputs: int = 0,
        bias: bool = False,
        self_loops: bool = False,
        outputs: Sequence[str] | int = 1,
        activation: Activation = "tanh",
        velocity: Velocity = 1.0,
        neuron: Activation = "leaky",
        tied: Tied | None = None,
    ) -> Network:
        """Every input and neuron feeds every neuron; neurons are ``x0, x1, …``, inputs ``u0, u1, …``."""
        n, d, bias = count(neurons, "neurons", least=1), count(inputs, "inputs"), flag(bias, "bias")
        self_loops = flag(self_loops, "self_loops")
        check_size(n, d + n)
        names = (*numbered("u", d), *([BIAS] if bias else []))
        matrix = np.ones((n, len(names) + n), dtype=bool)
        if not self_loops:
            matrix[np.arange(n), len(names) + np.arange(n)] = False
        target, source = np.nonzero(matrix)
        graph = {"kind": "fully_connected", "neurons": n, "inputs": d, "bias": bias, "self_loops": self_loops}
        return cls._make(names, numbered("x", n), outputs, source, target, graph, activation, velocity, neuron, tied)

    @classmethod
    def layered(
        cls,
        sizes: Sequence[int],
        *,
        inputs: Sequence[str] | None = None,
        bias: bool = False,
        activation: Activation = "tanh",
        velocity: Velocity = 1.0,
        neuron: Activation = "leaky",
        tied: Tied | None = None,
    ) -> Network:
        """A feed-forward network; ``sizes`` counts the inputs first and the outputs last, e.g. ``[2, 8, 1]``.

        Inputs are ``u0, u1, …`` where `inputs` gives no names; neurons are ``x0, x1, …``, layer by layer. `activation`,
        `velocity` and `neuron` may also be lists of one for each layer of neurons.
        """
        try:
            widths = [count(size, "a layer's size", least=1) for size in sizes]
        except TypeError:
            widths = []
        if len(widths) < 2:
            raise ProblemError(
                f"sizes must list at least inputs and outputs, got {shown(sizes)}: write e.g. [2, 8, 1]."
            )
        d, n, bias = widths[0], sum(widths[1:]), flag(bias, "bias")
        check_size(n, d + n)
        given = numbered("u", d) if inputs is None else names_of(inputs, "inputs")
        if len(given) != d:
            raise ProblemError(f"inputs must name the {d} of sizes, got {len(given)} names: match them.")
        names = names_of([*given, *([BIAS] if bias else [])], "inputs")
        matrix = np.zeros((n, len(names) + n), dtype=bool)
        matrix[:, d : len(names)] = True
        row, column = 0, 0
        for before, width in pairwise(widths):
            matrix[row : row + width, column : column + before] = True
            column = len(names) + row
            row += width
        target, source = np.nonzero(matrix)
        neurons = numbered("x", n)
        graph = {"kind": "layered", "sizes": widths, "bias": bias} | ({} if inputs is None else {"inputs": list(given)})
        activation, velocity, neuron = (_per_layer(one, widths[1:]) for one in (activation, velocity, neuron))
        outs = neurons[-widths[-1] :]
        return cls._make(names, neurons, outs, source, target, graph, activation, velocity, neuron, tied)

    @classmethod
    def convolutional(
        cls,
        shape: int | Sequence[int],
        kernel: int | Sequence[int],
        *,
        channels: int = 1,
        stride: int = 1,
        bias: bool = False,
        outputs: Sequence[str] | int | None = None,
        activation: Activation = "tanh",
        velocity: Velocity = 1.0,
        neuron: Activation = "leaky",
    ) -> Network:
        """Neurons that look at inputs on a grid through shared kernels: a_p = Σ_q kernel_q u_{stride p + q} (+ bias).

        Parameters
        ----------
        shape : int or (int, int)
            Of the grid of inputs, named ``u0, u1, …`` or ``u0_0, u0_1, …`` (row, column).
        kernel : int or (int, int)
            Its size, as many dimensions. Its weights are ``k0, …`` or ``k0_0, …``; no input is invented at the borders,
            so that there are ``(size - kernel) // stride + 1`` neurons along a dimension. Inputs at the end that no
            kernel reaches, where the stride is more than 1, are left out.
        channels : int
            Kernels, each with neurons of its own. With more than one, names of its weights and neurons begin with the
            kernel's number: ``k1_0``, ``x1_0``.
        bias : bool
            Whether each kernel has a bias, the weight ``b0`` of arcs from the input ``bias``.
        outputs : sequence of str or int, optional
            By default all neurons.

        Locality is lost within a kernel: what moves its weights is a sum over all places.
        """
        arcs, tied, inputs, neurons = convolution(shape, kernel, channels, stride, flag(bias, "bias"))
        return cls.from_arcs(
            arcs,
            inputs=inputs,
            neurons=neurons,
            outputs=neurons if outputs is None else outputs,
            activation=activation,
            velocity=velocity,
            neuron=neuron,
            tied=tied,
        )

    @classmethod
    def oscillators(cls, pairs: int = 1, *, outputs: Sequence[str] | int | None = None) -> Network:
        """Pairs of integrators that rotate, x' = -ω y and y' = ω x, each with one weight ω.

        Neurons are ``x0, y0, x1, y1, …``, weights ``omega0, omega1, …`` (radians per unit of time), and the outputs by
        default all ``x``. Under weights that stay, x and y go around circles about the origin: a sine for ever.
        """
        names = [(f"x{k}", f"y{k}") for k in range(count(pairs, "pairs", least=1))]
        tied = {f"omega{k}": {(x, y): 1.0, (y, x): -1.0} for k, (x, y) in enumerate(names)}
        return cls.from_arcs(
            [arc for tie in tied.values() for arc in tie],
            neurons=[name for pair in names for name in pair],
            outputs=[x for x, _ in names] if outputs is None else outputs,
            neuron="integrator",
            tied=tied,
        )

    @classmethod
    def from_adjacency(
        cls,
        matrix: ArrayLike,
        *,
        outputs: Sequence[str] | int = 1,
        activation: Activation = "tanh",
        velocity: Velocity = 1.0,
        neuron: Activation = "leaky",
        tied: Tied | None = None,
    ) -> Network:
        """Build from a (neuron, input + neuron) matrix: entry (i, j) non-zero means an arc j -> i, as in w_ij.

        Inputs come first and are named u0, u1, …, neurons x0, x1, …; where rows and columns have names, as in a
        pandas.DataFrame or in what `.hamjl.weights()` gives at one time, these are taken, in any order of columns.
        """
        if isinstance(matrix, xr.DataArray) and set(matrix.dims) == {"target", "source"}:
            matrix = matrix.transpose("target", "source")
        present, rows, columns = array(matrix, "adjacency matrix"), *axis_names(matrix)
        if present.ndim != 2 or present.shape[0] == 0 or present.shape[1] < present.shape[0]:
            raise ProblemError(
                "adjacency matrix must have a row per neuron and a column per input and neuron, inputs first, "
                f"got shape {present.shape}: give n rows and d + n columns."
            )
        if not np.isfinite(present).all():
            raise ProblemError("adjacency matrix must be finite, got NaN or infinity: use 0 for no arc.")
        n, d = present.shape[0], present.shape[1] - present.shape[0]
        inputs, neurons = numbered("u", d), numbered("x", n)
        if rows and columns:
            known, place = set(rows), {name: k for k, name in enumerate(columns)}
            if not known <= set(columns):
                raise ProblemError(
                    f"neurons must have rows and columns of the same names, got rows {listed(rows)}: rename."
                )
            inputs, neurons = tuple(name for name in columns if name not in known), rows
            present = present[:, [place[name] for name in (*inputs, *neurons)]]
        target, source = np.nonzero(present)
        names = (*inputs, *neurons)
        arcs = [[names[j], neurons[i]] for i, j in zip(target, source, strict=True)]
        graph = {"kind": "arcs", "inputs": list(inputs), "neurons": list(neurons), "arcs": arcs}
        return cls._make(inputs, neurons, outputs, source, target, graph, activation, velocity, neuron, tied)

    @classmethod
    def from_networkx(
        cls,
        graph: networkx.DiGraph,
        *,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | int | None = None,
        activation: Activation | None = None,
        velocity: Velocity | None = None,
        neuron: Activation | None = None,
        tied: Tied | None = None,
    ) -> Network:
        """Build from a directed networkx graph; nodes that are no text are named by their text.

        By default, nodes without predecessors are the inputs, and neurons without successors (but themselves) are the
        outputs; where every neuron has some, the first one is. Attributes of nodes as `to_networkx` writes them,
        ``kind``, ``activation``, ``velocity`` and ``model``, say it where no argument does.
        """
        try:
            directed = graph.is_directed()
            degrees, edges = list(graph.in_degree()), list(graph.edges())
            said = {str(node): dict(attributes) for node, attributes in graph.nodes(data=True)}
        except (AttributeError, ValueError, TypeError):
            directed = False
        if not directed:
            raise ProblemError(f"graph must be a networkx.DiGraph, got {type(graph).__name__}: direct its edges.")
        check_distinct(node for node, _ in degrees)
        nodes, arcs = {str(node): degree for node, degree in degrees}, as_text(edges)
        kinds = {name: attributes.get("kind") for name, attributes in said.items()}
        known = all(isinstance(kind, str) and kind in ("input", "neuron", "output") for kind in kinds.values())
        roots = tuple(name for name, n in nodes.items() if (kinds[name] == "input" if known else n == 0))
        ins = with_bias(roots if inputs is None else names_of(inputs, "inputs"), arcs)
        fed = set(ins)
        neurons = [name for name in nodes if name not in fed]
        if outputs is None:
            inner = {j for j, i in arcs if j != i}
            ends = [name for name in neurons if (kinds[name] == "output" if known else name not in inner)]
            outputs = ends or 1
        sigma, c, models = (
            {one: said[one][name] for one in neurons if name in said[one]}
            for name in ("activation", "velocity", "model")
        )
        return cls.from_arcs(
            arcs,
            inputs=ins,
            neurons=neurons,
            outputs=outputs,
            activation=sigma if activation is None else activation,
            velocity=c if velocity is None else velocity,
            neuron=models if neuron is None else neuron,
            tied=tied,
        )

    @classmethod
    def from_torch(cls, model: Any, *, inputs: Sequence[str] | None = None) -> tuple[Network, xr.DataArray]:
        """A layered network, and its weights, of a ``torch.nn.Sequential`` of ``Linear`` layers and smooth activations.

        Where the neurons are at rest, its outputs are those of the model: ``network.at_rest(weights, samples)``.

        Parameters
        ----------
        model : torch.nn.Sequential
            Each ``Linear`` is followed by one activation or none (the identity), e.g. ``Tanh``, ``Sigmoid``,
            ``Softplus``, ``GELU``, ``SiLU``; ``Identity`` and ``Dropout`` are left out.
        inputs : sequence of str, optional
            Names of the inputs; by default ``u0, u1, …``.

        Returns
        -------
        network : Network
            As by `layered`, with arcs from ``"bias"`` to the layers that have one.
        weights : xarray.DataArray, (arc,)
            The model's parameters: ``Problem(…, initial={"w": weights})``. `to_state_dict` is the way back.

        Raises
        ------
        ProblemError
            For other layers, and activations that are not smooth.
        """
        from hamjl.exchange import from_torch

        return from_torch(model, inputs)

    @classmethod
    def _make(
        cls,
        inputs: tuple[str, ...],
        neurons: tuple[str, ...],
        outputs: Sequence[str] | int,
        source: NDArray[np.int64],
        target: NDArray[np.int64],
        graph: dict[str, Any],
        activation: Any,
        velocity: Any,
        neuron: Any,
        tied: Any,
    ) -> Network:
        if not neurons:
            raise ProblemError("a network must have at least one neuron, got none: add arcs or name the neurons.")
        shared = sorted(set(inputs) & set(neurons))
        if shared:
            raise ProblemError(f"a vertex is an input or a neuron, got {shared[0]!r} as both: name it once.")
        order = np.lexsort((source, target))
        source, target = source[order].astype(np.int64), target[order].astype(np.int64)
        vertices = (*inputs, *neurons)
        twice = np.nonzero((np.diff(source) == 0) & (np.diff(target) == 0))[0]
        if twice.size:
            j, i = vertices[source[twice[0]]], neurons[target[twice[0]]]
            raise ProblemError(f"an arc may appear once, got {shown(j)} -> {i!r} twice: remove one.")
        idle = np.nonzero(np.bincount(source, minlength=len(inputs))[: len(inputs)] == 0)[0]
        if idle.size:
            raise ProblemError(
                f"every input must feed a neuron, got {shown(inputs[idle[0]])} with no arc: remove it or add one."
            )
        c = _per_neuron(velocity, neurons, "velocity", 1.0)
        values = np.array([number(value, "velocity", positive=True) for value in c])
        sigma = _activations(_per_neuron(activation, neurons, "activation", "tanh"))
        models = _models(_per_neuron(neuron, neurons, "neuron", "leaky"), sigma)
        names: tuple[str, ...] | None = None
        weight, factor = np.arange(len(source)), array(np.ones(len(source)), "factors")
        if tied is not None and tied != {}:
            names, weight, factor = tie(tied, _labels(vertices, neurons, source, target))
        for values_ in (source, target, values, weight, factor):
            values_.setflags(write=False)
        outs = _outputs(outputs, neurons)
        return cls(inputs, neurons, outs, source, target, sigma, values, models, weight, factor, names, graph)

    # -- properties --------------------------------------------------------------------------------------------------
    @property
    def vertices(self) -> tuple[str, ...]:
        """Names of inputs, then neurons: what ``source`` indexes."""
        return (*self.inputs, *self.neurons)

    @property
    def arcs(self) -> tuple[str, ...]:
        """Labels ``"source->target"``, (arc,)."""
        return _labels(self.vertices, self.neurons, self.source, self.target)

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the weights, (weight,): those of ties, and of all other arcs their labels."""
        return self.arcs if self._shared is None else self._shared

    @property
    def weight_count(self) -> int:
        """How many weights there are, without their names."""
        return len(self.source) if self._shared is None else len(self._shared)

    @property
    def is_tied(self) -> bool:
        """Whether arcs share weights."""
        return self._shared is not None

    @property
    def output_index(self) -> NDArray[np.int64]:
        """Positions of the outputs among the neurons, (output,)."""
        position = {name: k for k, name in enumerate(self.neurons)}
        return np.array([position[name] for name in self.outputs], dtype=np.int64)

    @property
    def is_acyclic(self) -> bool:
        """Whether the neurons form a DAG (a self-loop is a cycle)."""
        return depths(len(self.inputs), len(self.neurons), self.source, self.target) is not None

    def matrix(self, values: ArrayLike) -> NDArray[np.floating]:
        """Spread arc values (…, arc) over a (…, neuron, input + neuron) matrix, zero where there is no arc."""
        values = array(values, "arc values")
        if values.shape[-1:] != self.source.shape:
            raise ProblemError(f"arc values must end with {len(self.source)} arcs, got shape {values.shape}: reshape.")
        result = np.zeros((*values.shape[:-1], len(self.neurons), len(self.vertices)))
        result[..., self.target, self.source] = values
        return result

    def arc_values(self, matrix: ArrayLike) -> NDArray[np.floating]:
        """Collect the arcs' entries (…, arc) of a (…, neuron, input + neuron) matrix: the inverse of `matrix`."""
        values = array(matrix, "weight matrix")
        if values.shape[-2:] != (len(self.neurons), len(self.vertices)):
            raise ProblemError(
                f"weight matrix must have shape {(len(self.neurons), len(self.vertices))}, got {values.shape}: "
                "rows are neurons, columns inputs then neurons."
            )
        return values[..., self.target, self.source]

    def ties(self, among: Collection[str] | None = None) -> dict[str, dict[str, float]]:
        """Arcs, of all or `among` some, and their factors, by the name of their shared weight; what `tied` takes."""
        names, found = self.weights, dict[str, dict[str, float]]()
        for arc, weight, factor in zip(self.arcs, self.weight.tolist(), self.factor.tolist(), strict=True):
            if names[weight] != arc and (among is None or arc in among):
                found.setdefault(names[weight], {})[arc] = factor
        return found

    def subgraph(self, arcs: Iterable[str | tuple[str, str]]) -> Network:
        """The network of some arcs, labels as in `arcs` or pairs, and the vertices at their ends.

        Their order, activations, velocities and outputs are those here; what is at the end of no arc goes.

        Raises
        ------
        ProblemError
            For arcs that there are not, and where no arc leads to an output any more.
        """
        kept, known = np.zeros(len(self.source), dtype=bool), {arc: k for k, arc in enumerate(self.arcs)}
        try:
            labels = None if isinstance(arcs, str) else list(arcs.values if isinstance(arcs, xr.DataArray) else arcs)
        except TypeError:
            labels = None
        if labels is None:
            raise ProblemError(f"arcs must be a list of labels or pairs, got {shown(arcs)}: write e.g. ['u0->x0'].")
        for arc in labels:
            kept[known[choice(arc_label(arc), known, "An arc of a subgraph")]] = True
        return self._only(kept)

    def prune(self, where: xr.DataArray | Mapping[str, bool] | Sequence[bool] | NDArray[np.bool_]) -> Network:
        """The network without the arcs where `where` is true, e.g. ``abs(run.w.isel(time=-1)) < 0.01``.

        What is at the end of no arc goes with them, as in `subgraph`. Weights that were learnt go on by their names:
        ``problem.replace(network=pruned, initial=run.isel(time=-1))``.

        Parameters
        ----------
        where : bool DataArray on ``arc``, bool array (arc,), or mapping from arcs to bool
            A DataArray goes by its labels; arcs that a mapping does not name stay.

        Raises
        ------
        ProblemError
            For other shapes, labels or values, and where no arc leads to an output any more.
        """
        arcs = self.arcs
        if isinstance(where, Mapping):
            table = {choice(arc_label(arc), arcs, "An arc to prune"): one for arc, one in where.items()}
            where = [table.get(arc, False) for arc in arcs]
        if isinstance(where, xr.DataArray):
            if where.dims != ("arc",):
                raise ProblemError(f"where must be on 'arc' alone, got {dict(where.sizes)}: select one time.")
            if "arc" in where.indexes:
                if sorted(map(str, where.indexes["arc"])) != sorted(arcs):
                    raise ProblemError("where must have this network's arcs by name, got others: rename them.")
                where = where.sel(arc=list(arcs))
        try:
            gone = np.asarray(where)
        except (TypeError, ValueError):
            gone = np.empty(0)
        if gone.dtype != np.bool_ or gone.shape != (len(arcs),):
            raise ProblemError(
                f"where must be true or false for each of {len(arcs)} arcs, got {shown(where)}: write e.g. "
                "abs(w) < 0.01."
            )
        return self._only(~gone)

    def _only(self, kept: NDArray[np.bool_]) -> Network:
        """The network of the arcs that are `kept`, (arc,)."""
        source, target, d = self.source[kept], self.target[kept], len(self.inputs)
        for name, k in zip(self.outputs, self.output_index.tolist(), strict=True):
            if k not in target:
                raise ProblemError(
                    f"an arc must lead to every output, got {name!r} without: keep one, or build a network without it."
                )
        here = np.union1d(source, target + d)
        neurons = [k - d for k in here.tolist() if k >= d]
        vertices = self.vertices
        return type(self).from_arcs(
            [(vertices[j], self.neurons[i]) for j, i in zip(source, target, strict=True)],
            inputs=[vertices[k] for k in here.tolist() if k < d],
            neurons=[self.neurons[k] for k in neurons],
            outputs=self.outputs,
            activation=[self.activation[k] for k in neurons],
            velocity=self.velocity[neurons],
            neuron=[self.neuron[k] for k in neurons],
            tied=self.ties(set(np.array(self.arcs)[kept].tolist())) if self.is_tied else None,
        )

    def to_networkx(self, weights: Any = None) -> networkx.DiGraph:
        """The digraph for networkx, as `from_networkx` reads it.

        Nodes have the attributes ``kind`` (``"input"``, ``"neuron"`` or ``"output"``), and neurons ``activation``,
        ``velocity`` and ``model``; arcs have ``weight`` where weights are given, as `at_rest` takes them.
        """
        from hamjl.exchange import to_networkx

        return to_networkx(self, weights)

    def to_state_dict(self, weights: Any, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Weights of a layered network as the ``state_dict`` of a ``torch.nn.Sequential``; needs torch.

        Parameters
        ----------
        weights : xarray.Dataset, xarray.DataArray or array of float, (arc,)
            As `at_rest` takes them.
        names : sequence of str, optional
            Of the ``Linear`` layers in the model; by default ``"0"``, ``"2"``, … where an activation follows each, and
            the next number where none does (the identity).

        Returns
        -------
        dict of str to torch.Tensor
            ``"0.weight"``, (out, in), and ``"0.bias"``, (out,), where arcs from the bias lead to that layer. Arcs that
            there are not are 0.

        Raises
        ------
        ProblemError
            Where arcs lead elsewhere than from a layer to the next.
        """
        from hamjl.exchange import to_state_dict

        return to_state_dict(self, weights, names)

    def at_rest(self, weights: Any, inputs: Any = None) -> xr.DataArray:
        """Outputs where neurons have settled, x = σ(a), under weights and inputs that stay as they are: test mode.

        By layers on a DAG, all samples at once; on cycles by Newton's method from x = 0, sample by sample.

        Parameters
        ----------
        weights : xarray.Dataset, xarray.DataArray or array of float, (arc,)
            A trajectory at one time (``run.isel(time=-1)``), or values by arc; where arcs are tied, also a DataArray on
            ``weight``.
        inputs : array, xarray.DataArray or pandas.DataFrame, (sample, input), or mapping from names, optional
            By name where columns have the inputs' names, else in order. The bias is 1 by itself.

        Returns
        -------
        xarray.DataArray
            (sample, output), or (…, output) with the leading dimensions of a DataArray, whose labels are kept.

        Raises
        ------
        ProblemError
            Where shapes or names do not fit, or neurons on cycles do not settle.
        """
        from hamjl.rest import at_rest  # here, since a network knows nothing of problems

        return at_rest(self, weights, inputs)

    def __repr__(self) -> str:
        return (
            f"Network({len(self.inputs)} inputs, {len(self.neurons)} neurons, {len(self.source)} arcs, "
            f"outputs={list(self.outputs)!r:.60})"
        )

    # -- declarative form --------------------------------------------------------------------------------------------
    def _identity(self) -> Any:
        names = ["inputs", "neurons", "outputs", "source", "target", "velocity", "activation"]
        names += ["neuron"] * any(model != "leaky" for model in self.neuron)
        tied = {"weights": self.weights, "weight": self.weight, "factor": self.factor} if self.is_tied else {}
        return {name: getattr(self, name) for name in names} | tied

    def _tree(self) -> dict[str, Any]:
        spec = dict(self._graph)
        if spec["kind"] != "layered":
            spec["outputs"] = list(self.outputs)
        spec["activation"] = _compact(self.activation)
        spec["velocity"] = _compact(self.velocity.tolist())
        if any(model != "leaky" for model in self.neuron):
            spec["neuron"] = _compact(self.neuron)
        if self.is_tied:
            spec["tied"] = self.ties()
        return spec

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any]) -> Network:
        """Build from a plain table with ``kind`` = ``"fully_connected"``, ``"layered"`` or ``"arcs"``."""
        table = mapping(spec, "network")
        kind = table.pop("kind", None)
        builders: dict[str, tuple[Any, tuple[str, ...], str]] = {
            "fully_connected": (cls.fully_connected, ("neurons", "inputs", "bias", "self_loops", "outputs"), "neurons"),
            "layered": (cls.layered, ("sizes", "inputs", "bias"), "sizes"),
            "arcs": (cls.from_arcs, ("arcs", "inputs", "neurons", "outputs"), "arcs"),
        }
        choice(kind, builders, "network kind")
        build, known, first = builders[kind]
        keys(table, f"network of kind {kind!r}", (*known, "activation", "velocity", "neuron", "tied"))
        if first not in table:
            raise ProblemError(f"a network of kind {kind!r} needs {first!r}, got {sorted(table)}: add it.")
        result: Network = build(table.pop(first), **table)
        return result


def depths(
    n_inputs: int, n_neurons: int, source: NDArray[np.int64], target: NDArray[np.int64]
) -> NDArray[np.int64] | None:
    """Longest path from an input or parentless neuron to each neuron, (neuron,); None if there is a cycle."""
    inner = source >= n_inputs
    parent, child = source[inner] - n_inputs, target[inner]
    waiting = np.bincount(child, minlength=n_neurons)
    depth = np.zeros(n_neurons, dtype=np.int64)
    order = np.argsort(parent, kind="stable")
    start = np.searchsorted(parent[order], np.arange(n_neurons + 1))
    ready = list(np.nonzero(waiting == 0)[0])
    done = 0
    while ready:
        j = ready.pop()
        done += 1
        for i in child[order[start[j] : start[j + 1]]]:
            depth[i] = max(depth[i], depth[j] + 1)
            waiting[i] -= 1
            if waiting[i] == 0:
                ready.append(i)
    return depth if done == n_neurons else None


def _labels(
    vertices: Sequence[str], neurons: Sequence[str], source: NDArray[np.int64], target: NDArray[np.int64]
) -> tuple[str, ...]:
    return tuple(f"{vertices[j]}->{neurons[i]}" for j, i in zip(source.tolist(), target.tolist(), strict=True))


def _outputs(outputs: Sequence[str] | int, neurons: tuple[str, ...]) -> tuple[str, ...]:
    if is_whole(outputs):
        if not 1 <= outputs <= len(neurons):
            raise ProblemError(
                f"outputs must be between 1 and {len(neurons)} neurons, got {shown(outputs)}: change it."
            )
        return neurons[:outputs]
    names, known = names_of(outputs, "outputs"), set(neurons)  # type: ignore[arg-type]  # a bool is refused there
    for name in names:
        choice(name, known, "An output must be a neuron and")
    if not names:
        raise ProblemError("outputs must name at least one neuron, got none: name the neurons that the loss sees.")
    return names


def _per_neuron(value: Any, neurons: tuple[str, ...], what: str, default: Any) -> list[Any]:
    if isinstance(value, Mapping):
        value = {str(name) if is_whole(name) else name: one for name, one in value.items()}
        known = set(neurons)
        for name in value:
            choice(name, known, f"A neuron given its {what}")
        return [value.get(name, default) for name in neurons]
    if isinstance(value, list | tuple | np.ndarray) and not (isinstance(value, np.ndarray) and value.ndim == 0):
        if len(value) != len(neurons):
            raise ProblemError(f"{what} must have one value per neuron ({len(neurons)}), got {len(value)}: match them.")
        return list(value)
    return [value] * len(neurons)


def _per_layer(value: Any, widths: list[int]) -> Any:
    """A list of one for each layer as one of one for each neuron; anything else as it is."""
    listed = isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim == 1)
    if not listed or len(value) != len(widths):
        return value
    return [one for one, width in zip(value, widths, strict=True) for _ in range(width)]


def _activations(values: list[Any]) -> tuple[str, ...]:
    """The checked names and formulas of all neurons, each different one looked at once."""
    given = dict.fromkeys(value for value in values if isinstance(value, str))
    if (size := sum(map(len, given))) > MAX_TEXT:
        raise ProblemError(
            f"different activations must have at most {MAX_TEXT} characters in all, got {size}: use fewer formulas."
        )
    checked = {value: functions.activation(value) for value in given}
    return tuple(checked[value] if isinstance(value, str) else functions.activation(value) for value in values)


def _models(values: list[Any], activations: tuple[str, ...]) -> tuple[str, ...]:
    """The checked models of all neurons, each different one looked at once with each activation that it has."""
    checked = {value: functions.neuron(value) for value in dict.fromkeys(v for v in values if isinstance(v, str))}
    models = tuple(checked[value] if isinstance(value, str) else functions.neuron(value) for value in values)
    for model, activation in dict.fromkeys(zip(models, activations, strict=True)):
        if model != "leaky":
            functions.neuron_program(model, activation)
    return models


def _compact(values: Sequence[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else list(values)
