"""A learning problem: network, objective, inputs, targets, span of time and initial values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl import channels, functions
from hamjl.channels import Assigned, Channels, Given
from hamjl.checks import choice, count, keys, mapping
from hamjl.errors import ProblemError, shown
from hamjl.foreign import Folder
from hamjl.initial import DRAWS, RULES, STATE, draw, kept, of_labels, plain
from hamjl.network import Network
from hamjl.objective import Objective
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
    seed : int
        Of NumPy's default generator, for drawn initial values: x first, then w, p_x, p_w.

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
    ) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if not isinstance(network, Network):
            raise ProblemError(f"network must be a hamjl.Network, got {type(network).__name__}: build one.")
        if not isinstance(objective, Objective):
            raise ProblemError(f"objective must be a hamjl.Objective, got {type(objective).__name__}: build one.")
        if objective.loss == functions.SOFTMAX and len(network.outputs) < 2:
            raise ProblemError("softmax needs at least two outputs, got one: use binary_cross_entropy.")
        put("network", network)
        put("objective", objective)
        put("span", check_span(span))
        put("inputs", {})
        put("target", {})
        for one, given in zip(self.channels, (inputs, target), strict=True):
            put(one.what, one.assign(given, network.vertices).given)
        bare = self.channels[1].missing
        if objective.loss == functions.SOFTMAX and 0 < len(bare) < len(network.outputs):
            raise ProblemError(
                f"softmax needs a target for every output or for none, got none for {bare[0]!r}: give them all."
            )
        put("seed", count(seed, "seed"))
        put("initial", self._initial(initial))
        self._check_signals()
        functions.check_dissipation(objective.dissipation, self.span)
        self.initial_state()

    def initial_state(self) -> dict[str, NDArray[np.floating]]:
        """Draw or copy x (neuron), w (arc), p_x/φ (neuron), p_w/φ (arc) at the start."""
        rng = np.random.default_rng(self.seed)
        return {name: draw(self.network, self.initial.get(name, 0.0), name, rng) for name in STATE}

    def initial_vector(self) -> NDArray[np.floating]:
        """The initial state as one vector: x, w, p_x/φ, p_w/φ."""
        return np.concatenate(list(self.initial_state().values()))

    @property
    def channels(self) -> tuple[Channels, Channels]:
        """Inputs and targets."""
        network = self.network
        wanted = Channels("target", network.outputs, self.target, required=False)
        return Channels("inputs", network.inputs, self.inputs), wanted

    @property
    def dissipation(self) -> float | str:
        """θ of φ = e^{θt}, or φ(t)."""
        return self.objective.dissipation

    def _labels(self) -> dict[str, tuple[str, Iterable[str]]]:
        network = self.network
        return {
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
        n, arcs = len(self.network.neurons), len(self.network.source)
        parts = [kept(part) for part in np.split(state, np.cumsum([n, arcs, n]))]
        return self._with(initial=dict(zip(STATE, parts, strict=True)), span=(time, self.span[1]))

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
        }

    def _identity(self) -> Any:
        return self._tree() | {"network": self.network._identity()}

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], folder: Path | Folder | None = None) -> Problem:
        """Build a problem from its plain form; data files named in it are in `folder` or below."""
        table = mapping(spec, "problem")
        keys(table, "a problem", ("network", "objective", "inputs", "target", "span", "initial", "seed"))
        for name in ("network", "span"):
            if name not in table:
                raise ProblemError(f"a problem needs {name!r}, got {sorted(table)}: add it.")

        return cls(
            Network.from_dict(table["network"]),
            Objective.from_dict(table.get("objective", {})),
            span=table["span"],
            inputs=channels.from_dict(table.get("inputs"), "inputs", folder),
            target=channels.from_dict(table.get("target"), "target", folder),
            initial=table.get("initial", "uniform"),
            seed=table.get("seed", 0),
        )

    # -- checks ------------------------------------------------------------------------------------------------------
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
