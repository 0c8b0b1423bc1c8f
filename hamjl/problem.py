"""A learning problem: network, objective, inputs, targets, span of time and initial values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl import functions, signals
from hamjl.checks import choice, count, finite, folded, keys, mapping, number, scalar
from hamjl.codegen import compile_program
from hamjl.errors import ProblemError, listed, shown
from hamjl.foreign import Folder
from hamjl.lowered import BOUND
from hamjl.network import BIAS, Network
from hamjl.objective import Objective
from hamjl.plain import Plain
from hamjl.signals import Signal

LONGEST = 1e100  # beyond it differences of times overflow
STATE = ("x", "w", "p_x", "p_w")
_DRAWS = {"uniform": {"uniform": [0.0, 1.0]}, "zeros": 0.0}

Assigned = Signal | dict[str, Signal]
SignalLike = Signal | xr.DataArray | float  # what `one_signal` takes
Given = SignalLike | Mapping[str, SignalLike]  # for inputs or outputs


@dataclass(frozen=True, eq=False, init=False, repr=False)
class Problem(Plain):
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
        ``"uniform"`` (x, w ~ U[0, 1], p = 0), ``"zeros"``, or a mapping of ``x``, ``w``, ``p_x``, ``p_w`` (default 0)
        to a number, an array (a DataArray by its labels), ``{"uniform": [low, high]}`` or
        ``{"normal": [mean, std]}``; or one time of a trajectory. Costates are those divided by φ.
    seed : int
        Of NumPy's default generator, for drawn initial values: x first, then w, p_x, p_w.

    Raises
    ------
    ProblemError
        For anything that does not fit together.
    """

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
        put("inputs", self._assign(inputs, network.inputs, "inputs"))
        put("target", self._assign(target, network.outputs, "target"))
        if objective.loss == functions.SOFTMAX and isinstance(self.target, dict) and self.target:
            for name in network.outputs:
                if name not in self.target:
                    raise ProblemError(
                        f"softmax needs a target for every output or for none, got none for {name!r}: give them all."
                    )
        put("seed", count(seed, "seed"))
        put("initial", self._initial(initial))
        self._check_signals()
        check_dissipation(objective.dissipation, self.span)
        self.initial_state()

    def initial_state(self) -> dict[str, NDArray[np.floating]]:
        """Draw or copy x (neuron), w (arc), p_x/φ (neuron), p_w/φ (arc) at the start."""
        rng = np.random.default_rng(self.seed)
        sizes = dict.fromkeys(("x", "p_x"), len(self.network.neurons))
        sizes |= dict.fromkeys(("w", "p_w"), len(self.network.source))
        return {name: _draw(self.initial.get(name, 0.0), sizes[name], rng, name) for name in STATE}

    def initial_vector(self) -> NDArray[np.floating]:
        """The initial state as one vector: x, w, p_x/φ, p_w/φ."""
        return np.concatenate(list(self.initial_state().values()))

    def signal_table(self, what: str) -> list[tuple[Signal, NDArray[np.int64]]]:
        """(signal, columns) pairs of ``"inputs"`` or ``"target"``, the bias included."""
        names = self.network.inputs if what == "inputs" else self.network.outputs
        given: Assigned = getattr(self, what)
        if isinstance(given, Signal):
            free = [k for k, name in enumerate(names) if name != BIAS or given.table.channels == len(names)]
            pairs = [(given, np.array(free, dtype=np.int64))]
        else:
            position = {name: k for k, name in enumerate(names)}
            pairs = [(signal, np.array([position[name]], dtype=np.int64)) for name, signal in given.items()]
        taken = {int(k) for _, columns in pairs for k in columns}
        if what == "inputs" and BIAS in names and names.index(BIAS) not in taken:
            pairs.append((signals.constant(1.0), np.array([names.index(BIAS)], dtype=np.int64)))
        return pairs

    def extended(self, inputs: Any = None, target: Any = None, since: float = -np.inf) -> Problem:
        """The problem whose sampled signals go on with more data; see `hamjl.Session.feed`."""
        given = {"inputs": inputs, "target": target}
        later = self._with(**{k: _extended(getattr(self, k), more, k, since) for k, more in given.items()})
        pairs = later.signal_table("inputs") + later.signal_table("target")
        later = later._with(span=common_span(self.span, [signal for signal, _ in pairs]))
        later._check_signals()
        return later

    def restarted(self, time: float, state: NDArray[np.floating]) -> Problem:
        """The problem from a later time on, where its `initial_vector` is `state`."""
        n, arcs = len(self.network.neurons), len(self.network.source)
        parts = [_frozen(part) for part in np.split(state, np.cumsum([n, arcs, n]))]
        return self._with(initial=dict(zip(STATE, parts, strict=True)), span=(time, self.span[1]))

    @property
    def known_until(self) -> float:
        """The time up to which all signals are defined; infinite where they are analytic."""
        pairs = self.signal_table("inputs") + self.signal_table("target")
        return min((signal.domain[1] for signal, _ in pairs), default=np.inf)

    def __repr__(self) -> str:
        return f"Problem({self.network!r}, span={self.span}, seed={self.seed})"

    # -- declarative form --------------------------------------------------------------------------------------------
    def _tree(self) -> dict[str, Any]:
        def plain(given: Assigned) -> dict[str, Any]:
            return given.spec if isinstance(given, Signal) else {name: signal.spec for name, signal in given.items()}

        return {
            "span": list(self.span),
            "seed": self.seed,
            "network": self.network.to_dict(),
            "objective": self.objective.to_dict(),
            "inputs": plain(self.inputs),
            "target": plain(self.target),
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

        def assigned(name: str) -> Any:
            value = table.get(name)
            if not isinstance(value, Mapping):
                return value
            if isinstance(value.get("kind"), str):
                return signals.from_dict(value, folder)
            return {
                key: signals.from_dict(part, folder) if isinstance(part, Mapping) else part
                for key, part in mapping(value, name).items()
            }

        return cls(
            Network.from_dict(table["network"]),
            Objective.from_dict(table.get("objective", {})),
            span=table["span"],
            inputs=assigned("inputs"),
            target=assigned("target"),
            initial=table.get("initial", "uniform"),
            seed=table.get("seed", 0),
        )

    # -- checks ------------------------------------------------------------------------------------------------------
    def _assign(self, value: Any, names: tuple[str, ...], what: str) -> Assigned:
        if value is None:
            value = {}
        if isinstance(value, Mapping):
            known = set(names)
            for name in value:
                choice(name, known, f"A name of {what}")
            result = {str(name): one_signal(part, f"{what} {name!r}") for name, part in value.items()}
            for name, signal in result.items():
                if signal.table.channels != 1:
                    raise ProblemError(
                        f"{what} {name!r} must have one channel, got {signal.table.channels}: select one, or give one "
                        f"array for all {what}."
                    )
            return result
        signal = one_signal(value, what)
        wanted = tuple(name for name in names if what == "target" or name != BIAS)
        if signal.table.channels == len(names):
            wanted = names
        if signal.table.channels != len(wanted):
            raise ProblemError(
                f"{what} must have one channel each for {listed(wanted) or 'no vertex'}, got "
                f"{signal.table.channels} channel(s): match them, or give a mapping from names to signals."
            )
        if signal.channels is None or not set(signal.channels) & set(self.network.vertices):
            self._check_no_near_names(signal.channels or (), what)
            return signal  # in order, also where names are of another kind, such as the columns of a table
        known = set(wanted)
        for name in signal.channels:
            if name not in known:
                raise ProblemError(
                    f"channels of {what} named after vertices must be {shown(list(wanted))}, got {shown(name)}: select "
                    "or rename them, or drop their names to go by order."
                )
        if len(set(signal.channels)) < len(wanted):
            raise ProblemError(f"channels of {what} must have different names, got {shown(signal.channels)}: rename.")
        return signals.series(signal.spec["data"].sel(channel=list(wanted)), signal.spec["interpolation"])

    def _check_no_near_names(self, channels: tuple[str, ...], what: str) -> None:
        """Refuse to go by order where a name is a vertex's but for capitals or spaces."""
        near = {folded(name): name for name in self.network.vertices} if channels else {}
        for name in channels:
            if folded(name) in near:
                raise ProblemError(
                    f"channels of {what} must be named after vertices exactly or not at all, got {shown(name)}, nearly "
                    f"{near[folded(name)]!r}: rename it, or drop the names to go by order."
                )

    def _check_signals(self) -> None:
        for what, names in (("inputs", self.network.inputs), ("target", self.network.outputs)):
            pairs = self.signal_table(what)
            for signal, columns in pairs:
                label = listed(names[k] for k in columns)
                covered(signal, self.span, what, label, gaps=what == "target")
            given = {int(k) for _, columns in pairs for k in columns}
            missing = [k for k in range(len(names)) if k not in given]
            if what == "inputs" and missing:
                raise ProblemError(
                    f"every input needs a signal, got none for {names[missing[0]]!r}: give inputs={{…}}."
                )

    def _initial(self, value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            choice(value, _DRAWS, "initial")
            return {"x": _DRAWS[value], "w": _DRAWS[value]}
        if isinstance(value, xr.Dataset):
            return {name: _frozen(self._state_of(value, name)) for name in STATE}
        if not isinstance(value, Mapping):
            raise ProblemError(f"initial must be a name, a mapping or a Dataset, got {shown(value)}: see Problem.")
        table = mapping(value, "initial")
        keys(table, "initial", STATE)
        return {name: _plain(self._in_order(v, name), f"initial {name}") for name, v in table.items()}

    def _in_order(self, value: Any, name: str) -> Any:
        """A labelled array in the network's order; anything else as it is."""
        if not isinstance(value, xr.DataArray) or value.ndim == 0:
            return value
        return self._state_of(xr.Dataset({name: value}), name)

    def _state_of(self, state: xr.Dataset, name: str) -> NDArray[np.floating]:
        """x, w, p_x or p_w at one time, by the names of neurons and arcs."""
        dim = "neuron" if name in ("x", "p_x") else "arc"
        labels = self.network.neurons if dim == "neuron" else self.network.arcs
        if name not in state or state[name].dims != (dim,):
            raise ProblemError(
                f"initial {name} with labels must be by {dim} alone, got {dict(state.sizes)}: select one time, e.g. "
                "trajectory.isel(time=-1)."
            )
        if dim not in state.indexes or sorted(map(str, state.indexes[dim])) != sorted(labels):
            raise ProblemError(f"initial {name} must have this network's {dim}s, got other labels: use its own {name}.")
        return finite(state[name].sel({dim: list(labels)}).values, name)


def common_span(span: tuple[float, float], given: list[Signal]) -> tuple[float, float]:
    """The start of a span, or what is left of it, to the end of the signals that have one."""
    start = max([span[0], *(signal.domain[0] for signal in given)])
    stop = min((signal.domain[1] for signal in given if np.isfinite(signal.domain[1])), default=span[1])
    return start, stop


def _extended(held: Assigned, more: Any, what: str, since: float) -> Assigned:
    """Signals with more data: one array for all, or a mapping from names to arrays."""
    if more is None:
        return held
    if isinstance(held, Signal):
        if isinstance(more, Mapping):
            raise ProblemError(f"{what} came as one array, got a mapping: give more data in the same form.")
        return signals.extended(held, more, since)
    if not isinstance(more, Mapping):
        if len(held) != 1:
            raise ProblemError(
                f"{what} came as a mapping from names, got {shown(more)}: give more data in the same form."
            )
        more = {next(iter(held)): more}
    for name in more:
        choice(name, held, f"A name of {what}")
    return {name: signals.extended(one, more[name], since) if name in more else one for name, one in held.items()}


def _plain(value: Any, what: str) -> Any:
    """A number, a random draw or a new array."""
    if isinstance(value, Mapping):
        return {str(key): finite(pair, what).tolist() for key, pair in value.items()}
    values = finite(value, what)
    return values.item() if values.ndim == 0 else _frozen(values)


def _frozen(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """A copy that cannot be changed."""
    kept = values.copy()
    kept.setflags(write=False)
    return kept


def covered(signal: Signal, span: tuple[float, float], what: str, label: str, *, gaps: bool) -> None:
    """Check that a signal is defined on the span, without NaN unless `gaps` are allowed."""
    (start, stop), (low, high) = span, signal.domain
    if low > start or high < stop:
        raise ProblemError(
            f"{what} must cover the span {start:g} to {stop:g}, got a signal for {label} from {low:g} to {high:g}: "
            "shorten the span or extend the data."
        )
    first, last = signal.table.piece(np.array([start, stop]))
    if not gaps and np.isnan(signal.table.poly[:, first : last + 1]).any():
        raise ProblemError(f"{what} must not be NaN, got NaN for {label}: fill the gaps first.")


def check_dissipation(phi: float | str, span: tuple[float, float]) -> None:
    """Check that φ is positive and finite on the span."""
    if isinstance(phi, float):
        return
    with np.errstate(all="ignore"):
        t = np.linspace(*span, 1001)
        values = compile_program(functions.dissipation_program(phi), ["f", "rate"])(t)
        value, rate = (v * np.ones_like(t) for v in values)
    bad = ~(value > 0) | ~np.isfinite(value) | ~np.isfinite(rate)
    if bad.any():
        k = int(np.argmax(bad))
        raise ProblemError(
            f"dissipation φ(t) must be positive and finite on the span, got {value[k]:g} at t = {t[k]:g} for "
            f"{shown(phi)}: change it or the span (a number θ gives exp(θ t), safe at any length)."
        )


def one_signal(value: Any, what: str) -> Signal:
    """Return a signal from a signal, a DataArray or a number."""
    value = scalar(value)
    if isinstance(value, Signal):
        return value
    if isinstance(value, xr.DataArray):
        return signals.series(value)
    if isinstance(value, Real) and not isinstance(value, bool | np.timedelta64):
        return signals.constant(number(value, what))
    raise ProblemError(f"{what} must be a signal, a DataArray on 'time' or a number, got {shown(value)}: convert it.")


def check_span(value: Any) -> tuple[float, float]:
    """Return the start and end of a span."""
    try:
        start, stop = value
    except (TypeError, ValueError):
        raise ProblemError(f"span must be a start and an end time, got {shown(value)}: write e.g. (0, 10).") from None
    start, stop = number(start, "start of the span"), number(stop, "end of the span")
    if abs(start) > LONGEST or abs(stop) > LONGEST:
        raise ProblemError(f"times of a span must be at most {LONGEST:g}, got {start:g} to {stop:g}: rescale time.")
    if stop <= start:
        raise ProblemError(f"span must end after its start, got {start:g} to {stop:g}: swap or change them.")
    return start, stop


def _draw(value: Any, size: int, rng: np.random.Generator, name: str) -> NDArray[np.floating]:
    if isinstance(value, Mapping):
        if len(value) != 1 or next(iter(value)) not in ("uniform", "normal"):
            raise ProblemError(
                f"initial {name} drawn at random must be {{'uniform': [low, high]}} or {{'normal': [mean, std]}}, "
                f"got {shown(dict(value))}: write one of them."
            )
        kind, pair = next(iter(value.items()))
        limits = finite(pair, f"the two numbers of {kind} {name}")
        if (
            limits.shape != (2,)
            or (kind == "normal" and limits[1] < 0)
            or (kind == "uniform" and limits[1] < limits[0])
        ):
            raise ProblemError(f"{kind} {name} takes [low, high] or [mean, std >= 0], got {shown(pair)}: change it.")
        if np.abs(limits).max() > BOUND:
            raise ProblemError(f"{kind} {name} takes numbers up to {BOUND:g}, got {shown(pair)}: change it.")
        drawn: NDArray[np.floating] = getattr(rng, kind)(limits[0], limits[1], size)
        return drawn
    values = finite(value, f"initial {name}")
    if values.shape not in ((), (size,)):
        raise ProblemError(f"initial {name} must be a number or have shape ({size},), got {values.shape}: reshape it.")
    return np.broadcast_to(values, (size,)).astype(np.float64)
