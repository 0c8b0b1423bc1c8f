"""A learning problem: network, objective, inputs, targets, span of time and initial values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl import channels, functions
from hamjl.arcs import by_weight, chosen
from hamjl.channels import Assigned, Channels, Given
from hamjl.checks import choice, count, keys, mapping
from hamjl.codegen import elementwise
from hamjl.dissipation import Dissipation, check_dissipation
from hamjl.errors import ProblemError, shown
from hamjl.foreign import Folder
from hamjl.initial import DRAWS, RULES, STATE, draw, kept, of_labels, plain
from hamjl.network import Network
from hamjl.objective import Objective
from hamjl.signals import Signal
from hamjl.statement import Statement, check_span


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Problem(Statement):
    """What is to be learnt, over which time, from where.

    Parameters
    ----------
    network : Network
    objective : Objective
    inputs, target : optional
        The functions u(t) of the inputs and z(t) of the outputs: a `Signal`, an ``xarray.DataArray`` on ``time`` (and
        one more dimension for the channels), a number, or a mapping from names to any of these. Channels named after
        vertices go by name, others by order. An input called ``"bias"`` is 1 by itself. An output without a target, or
        where the target is NaN, is not supervised; the softmax loss looks at all outputs at once, or at none.
    span : (float, float)
        Start and end time; signals must cover it.
    initial : str, mapping or xarray.Dataset
        ``"uniform"`` (x, w ~ U[0, 1], p = 0), ``"zeros"``; a draw of w that looks at the network (x = p = 0), namely
        ``"glorot"``, U[-l, l] with l = √(6/(fan in + fan out)), ``"he"``, N(0, 2/fan in), or ``"orthogonal"``, random
        orthonormal rows or columns; a mapping of ``x``, ``w``, ``p_x``, ``p_w`` (default 0); or one time of a
        trajectory, also of another network. Costates are those divided by φ.

        The mapping is to a number, an array (a DataArray by its labels), ``{"uniform": [low, high]}`` or
        ``{"normal": [mean, std]}``; w and p_w also to a matrix, (target, source) or as in `Network.from_adjacency`, and
        w to the name of a draw. Of a mapping from neurons or arcs to numbers, and of what another network has, those of
        this network are taken, and the others are as in ``"uniform"``.

        Fan in of arc j -> i is the number of arcs to i, fan out that of arcs from j, the bias not counted: in layers
        the widths before and after. Orthogonal are the weights of all neurons that have the same inputs as parents,
        and those of all that have the same neurons: in layers each layer's matrix, in a fully connected network with
        self-loops that of the inputs and the square one of the neurons. Biases begin at 0.

        With tied arcs w is drawn once for each weight, and an array may be by arc or by weight; p_w is by weight.
    seed : int
        Of NumPy's default generator, for drawn initial values: x first, then w, p_x, p_w.
    frozen : bool, str, int or sequence, optional
        Arcs whose weights stay as they are, and whose p_w is 0: True for all (test mode); labels ``"u0->x0"`` or pairs
        ``("u0", "x0")``; names of tied weights, of neurons (the arcs into them) or of inputs (those from them); numbers
        of layers, from 1.

    Raises
    ------
    ProblemError
        For anything that does not fit together.
    """

    kind, control_dim, replayed = "problem", "arc", ("x", "w")

    network: Network
    objective: Objective
    inputs: Assigned
    target: Assigned
    span: tuple[float, float]
    initial: dict[str, Any]
    seed: int
    frozen: bool | tuple[str, ...]

    def __init__(
        self,
        network: Network,
        objective: Objective,
        *,
        span: tuple[float, float],
        inputs: Given | None = None,
        target: Given | None = None,
        initial: str | Mapping[str, Any] | xr.Dataset = "uniform",
        seed: int = 0,
        frozen: Any = None,
    ) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if not isinstance(network, Network):
            raise ProblemError(f"network must be a hamjl.Network, got {type(network).__name__}: build one.")
        if not isinstance(objective, Objective):
            raise ProblemError(f"objective must be a hamjl.Objective, got {type(objective).__name__}: build one.")
        put("network", network)
        put("objective", objective)
        put("span", check_span(span))
        put("inputs", {})
        put("target", {})
        for one, given in zip(self.channels, (inputs, target), strict=True):
            put(one.what, one.assign(given, network.vertices).given)
        self._check_losses()
        put("seed", count(seed, "seed"))
        meant = chosen(network, frozen, "frozen")
        whole = bool(meant.all()) and bool(meant.size)  # labels of arcs are made only where some are frozen
        some = tuple(np.array(network.arcs)[meant[network.weight]].tolist()) if meant.any() and not whole else ()
        put("frozen", whole or some)
        self.inertia, self.regularizer_scale  # noqa: B018  (refuse what does not fit the network)
        put("initial", self._initial(initial))
        self._check_signals()
        check_dissipation(objective.dissipation, self.span)
        self._check_loss_weights()
        self.initial_state()

    def initial_state(self) -> dict[str, NDArray[np.floating]]:
        """Draw or copy x (neuron), w (arc), p_x/φ (neuron), p_w/φ (weight) at the start."""
        found, network = self._initial_parts(), self.network
        if network.is_tied:
            found["w"] = network.factor * found["w"][network.weight]
        return found

    def _initial_parts(self) -> dict[str, NDArray[np.floating]]:
        """x, w (weight), p_x/φ, p_w/φ (weight) at the start."""
        rng, network = np.random.default_rng(self.seed), self.network
        found = {name: draw(network, self.initial.get(name, 0.0), name, rng) for name in STATE}
        found["p_w"][~self.moves] = 0.0
        return found

    def initial_vector(self) -> NDArray[np.floating]:
        """The initial state as one vector: x, w, p_x/φ, p_w/φ, of the weights that move."""
        found, moves = self._initial_parts(), self.moves
        return np.concatenate([found[name][moves] if name.endswith("w") else found[name] for name in STATE])

    def weight_values(self) -> NDArray[np.floating]:
        """The weights at the start, (weight,)."""
        return self._initial_parts()["w"]

    @cached_property
    def moves(self) -> NDArray[np.bool_]:
        """Which weights are not frozen, (weight,)."""
        moves = np.isfinite(np.broadcast_to(self.inertia, self.network.weight_count))
        return moves & ~chosen(self.network, self.frozen, "frozen")

    @cached_property
    def inertia(self) -> float | NDArray[np.floating]:
        """m, for all or by weight."""
        return by_weight(self.network, self.objective.m, "m", 1.0, positive=True)

    @cached_property
    def regularizer_scale(self) -> float | NDArray[np.floating]:
        """k, for all or by weight."""
        return by_weight(self.network, self.objective.k, "k", 0.0)

    @property
    def loss_weights(self) -> list[tuple[float | str | Signal, int]]:
        """The weights of the losses by the positions of their outputs, or none where one number holds for all."""
        given, outputs = self.objective.loss_weight, self.network.outputs
        if isinstance(given, float):
            return []
        if isinstance(given, Mapping):
            for name in given:
                choice(name, outputs, "An output given its loss_weight")
            return [(given.get(name, 1.0), k) for k, name in enumerate(outputs)]
        if isinstance(given, Signal) and (given.table.channels > 1 or given.channels is not None):
            whole = Channels("loss_weight", outputs, {}, required=False).assign(given, self.network.vertices)
            return [(given.channel(int(j)), int(k)) for _, columns in whole.pairs() for j, k in enumerate(columns)]
        return [(given, k) for k in range(len(outputs))]

    @property
    def losses(self) -> dict[str, NDArray[np.int64]]:
        """The positions of the outputs that each loss looks at."""
        place = {name: k for k, name in enumerate(self.network.outputs)}
        found = dict[str, NDArray[np.int64]]()
        for loss, names in self.objective.losses.items():
            for name in names or ():
                choice(name, place, f"An output of the loss {shown(loss)}")
            found[loss] = np.array([place[name] for name in names or place], dtype=np.int64)
        return found

    @property
    def channels(self) -> tuple[Channels, Channels]:
        """Inputs and targets."""
        network = self.network
        wanted = Channels("target", network.outputs, self.target, required=False)
        return Channels("inputs", network.inputs, self.inputs), wanted

    @property
    def dissipation(self) -> Dissipation:
        """θ of φ = e^{θt}, or φ(t)."""
        return self.objective.dissipation

    def _told(self) -> list[Signal]:
        return [one for one in (self.dissipation, *(q for q, _ in self.loss_weights)) if isinstance(one, Signal)]

    def _labels(self) -> dict[str, tuple[str, Iterable[str]]]:
        network = self.network
        names = network.weights if network.is_tied else ()
        return {
            "weight": ("weight", names),
            "arc_weight": ("arc", [names[k] for k in network.weight] if names else ()),
            "input": ("input", network.inputs),
            "neuron": ("neuron", network.neurons),
            "output": ("output", network.outputs),
            "arc": ("arc", network.arcs),
            "arc_source": ("arc", (network.vertices[j] for j in network.source)),
            "arc_target": ("arc", (network.neurons[i] for i in network.target)),
        }

    def extended(self, inputs: Any = None, target: Any = None, since: float = -np.inf) -> Problem:
        """The problem whose sampled signals go on with more data; see `hamjl.Session.feed`."""
        return self._gone_on(inputs, target, since=since)

    def restarted(self, time: float, state: NDArray[np.floating]) -> Problem:
        """The problem from a later time on, where its `initial_vector` is `state`."""
        found, moves, n = self._initial_parts(), self.moves, len(self.network.neurons)
        parts = np.split(state, np.cumsum([n, np.count_nonzero(moves), n]))
        for name, part in zip(STATE, parts, strict=True):
            found[name][moves if name.endswith("w") else slice(None)] = part
        if len(self.network.source) == len(found["w"]):  # what comes in so many numbers is by arc
            found["w"] = found["w"] * self.network.factor
        return self._with(initial={name: kept(found[name]) for name in STATE}, span=(time, self.span[1]))

    def __repr__(self) -> str:
        return f"Problem({self.network!r}, span={self.span}, seed={self.seed})"

    # -- declarative form --------------------------------------------------------------------------------------------
    def _tree(self) -> dict[str, Any]:
        return {
            "span": list(self.span),
            "seed": self.seed,
            "network": self.network.to_dict(),
            "objective": self.objective.to_dict(),
            **{one.what: one.to_dict() for one in self.channels},
            "initial": dict(self.initial),
            **({"frozen": self.frozen if isinstance(self.frozen, bool) else list(self.frozen)} if self.frozen else {}),
        }

    def _identity(self) -> Any:
        return self._tree() | {"network": self.network._identity()}

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], folder: Path | Folder | None = None) -> Problem:
        """Build a problem from its plain form; data files named in it are in `folder` or below."""
        table = mapping(spec, "problem")
        keys(table, "a problem", ("network", "objective", "inputs", "target", "span", "initial", "seed", "frozen"))
        for name in ("network", "span"):
            if name not in table:
                raise ProblemError(f"a problem needs {name!r}, got {sorted(table)}: add it.")

        return cls(
            Network.from_dict(table["network"]),
            Objective.from_dict(table.get("objective", {}), folder),
            span=table["span"],
            inputs=channels.from_dict(table.get("inputs"), "inputs", folder),
            target=channels.from_dict(table.get("target"), "target", folder),
            initial=table.get("initial", "uniform"),
            seed=table.get("seed", 0),
            frozen=table.get("frozen"),
        )

    # -- checks ------------------------------------------------------------------------------------------------------
    def _check_losses(self) -> None:
        for loss, columns in self.losses.items():
            if loss != functions.SOFTMAX:
                continue
            names = [self.network.outputs[k] for k in columns]
            if len(names) < 2:
                raise ProblemError("softmax needs at least two outputs, got one: use binary_cross_entropy.")
            bare = [name for name in self.channels[1].missing if name in names]
            if 0 < len(bare) < len(names):
                raise ProblemError(
                    f"softmax needs a target for every output or for none, got none for {bare[0]!r}: give them all."
                )

    def _check_loss_weights(self) -> None:
        (start, stop), t = self.span, np.linspace(*self.span, 1001)
        for weight, k in self.loss_weights:
            what = f"loss_weight of {self.network.outputs[k]!r}"
            if isinstance(weight, float):
                continue
            if isinstance(weight, Signal):
                low, high = weight.domain
                if low > start or high < stop:
                    raise ProblemError(
                        f"{what} must cover the span {start:g} to {stop:g}, got one from {low:g} to {high:g}: shorten "
                        "the span or extend the data."
                    )
                values = weight(
                    np.union1d(t, weight.table.start[(weight.table.start > start) & (weight.table.start < stop)])
                )
            else:
                with np.errstate(all="ignore"):
                    values = elementwise(functions.weight_program(weight), "f")(t)
                if not np.isfinite(values).all():
                    raise ProblemError(f"{what} must be finite on the span, got {shown(weight)}: change it.")
            if (values < 0).any():
                raise ProblemError(f"{what} must not be negative, got {np.nanmin(values):g}: change it.")

    def _initial(self, value: Any) -> dict[str, Any]:
        network = self.network
        if isinstance(value, str):
            choice(value, (*DRAWS, *RULES), "initial")
            return {"w": value} if value in RULES else dict.fromkeys(("x", "w"), DRAWS[value])
        if isinstance(value, xr.Dataset):
            names = [name for name in STATE if name in value or name == "w"]
            return {name: of_labels(network, value, name) for name in names}
        if not isinstance(value, Mapping):
            raise ProblemError(f"initial must be a name, a mapping or a Dataset, got {shown(value)}: see Problem.")
        table = mapping(value, "initial")
        keys(table, "initial", STATE)
        return {name: plain(network, one, name) for name, one in table.items()}
