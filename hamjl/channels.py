"""The signals of some vertices: one for all of them, in order, or one each by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl import signals
from hamjl.checks import choice, folded, mapping, number, scalar
from hamjl.errors import ProblemError, listed, shown
from hamjl.foreign import Folder
from hamjl.signals import Signal
from hamjl.vertices import BIAS

Assigned = Signal | dict[str, Signal]
SignalLike = Signal | xr.DataArray | float  # what is made a signal
Given = SignalLike | Mapping[str, SignalLike]  # for inputs or outputs


@dataclass(frozen=True, eq=False)
class Channels:
    """The signals given for `names`, and what they are called in messages.

    Where they are `required`, each name needs one without gaps, and the bias is 1 by itself.
    """

    what: str
    names: tuple[str, ...]
    given: Assigned
    required: bool = True

    def assign(self, value: Any, vertices: Sequence[str] = ()) -> Channels:
        """What a user gives instead; channels named after `vertices` go by name, others by order, a number to all."""
        free = [name for name in self.names if not self.required or name != BIAS]
        if len(free) > 1 and isinstance(scalar(value), Real):
            value = dict.fromkeys(free, value)
        if value is None or isinstance(value, Mapping):
            return replace(self, given=self._by_name({} if value is None else value))
        return replace(self, given=self._in_order(_signal(value, self.what), vertices))

    def pairs(self) -> list[tuple[Signal, NDArray[np.int64]]]:
        """Each signal with the positions of its channels among the names, the bias included."""
        if isinstance(self.given, Signal):
            whole = self.given.table.channels == len(self.names)
            free = [k for k, name in enumerate(self.names) if whole or name != BIAS]
            pairs = [(self.given, np.array(free, dtype=np.int64))]
        else:
            position = {name: k for k, name in enumerate(self.names)}
            pairs = [(signal, np.array([position[name]], dtype=np.int64)) for name, signal in self.given.items()]
        taken = {int(k) for _, columns in pairs for k in columns}
        if self.required and BIAS in self.names and (bias := self.names.index(BIAS)) not in taken:
            pairs.append((signals.constant(1.0), np.array([bias], dtype=np.int64)))
        return pairs

    @property
    def missing(self) -> list[str]:
        """The names without a signal."""
        taken = {int(k) for _, columns in self.pairs() for k in columns}
        return [name for k, name in enumerate(self.names) if k not in taken]

    def extended(self, more: Any, since: float = -np.inf) -> Channels:
        """Signals with more data, given as they were: one array for all, or a mapping from names to arrays."""
        held = self.given
        if more is None:
            return self
        if isinstance(held, Signal):
            if isinstance(more, Mapping):
                raise ProblemError(f"{self.what} came as one array, got a mapping: give more data in the same form.")
            return replace(self, given=signals.extended(held, more, since))
        if not isinstance(more, Mapping):
            if len(held) != 1:
                raise ProblemError(
                    f"{self.what} came as a mapping from names, got {shown(more)}: give more data in the same form."
                )
            more = {next(iter(held)): more}
        for name in more:
            choice(name, held, f"A name of {self.what}")
        later = {name: signals.extended(held[name], part, since) for name, part in more.items()}
        return replace(self, given=held | later)

    def check(self, span: tuple[float, float]) -> None:
        """Refuse signals that are not defined on the span, or have gaps, or are missing, where they are required."""
        for signal, columns in self.pairs():
            label, (start, stop), (low, high) = listed(self.names[k] for k in columns), span, signal.domain
            if low > start or high < stop:
                raise ProblemError(
                    f"{self.what} must cover the span {start:g} to {stop:g}, got a signal for {label} from {low:g} to "
                    f"{high:g}: shorten the span or extend the data."
                )
            first, last = signal.table.piece(np.array([start, stop]))
            if self.required and np.isnan(signal.table.poly[:, first : last + 1]).any():
                raise ProblemError(f"{self.what} must not be NaN, got NaN for {label}: fill the gaps first.")
        if self.required and self.missing:
            raise ProblemError(f"every input needs a signal, got none for {self.missing[0]!r}: give inputs={{…}}.")

    def to_dict(self) -> dict[str, Any]:
        """The plain form."""
        if isinstance(self.given, Signal):
            return self.given.spec
        return {name: signal.spec for name, signal in self.given.items()}

    def _by_name(self, table: Mapping[str, Any]) -> dict[str, Signal]:
        known = set(self.names)
        for name in table:
            choice(name, known, f"A name of {self.what}")
        result = {str(name): _signal(part, f"{self.what} {name!r}") for name, part in table.items()}
        for name, signal in result.items():
            if signal.table.channels != 1:
                raise ProblemError(
                    f"{self.what} {name!r} must have one channel, got {signal.table.channels}: select one for each."
                )
        return result

    def _in_order(self, signal: Signal, vertices: Sequence[str]) -> Signal:
        wanted = tuple(name for name in self.names if not self.required or name != BIAS)
        if signal.table.channels == len(self.names):
            wanted = self.names
        if signal.table.channels != len(wanted):
            raise ProblemError(
                f"{self.what} must have one channel each for {listed(wanted) or 'no vertex'}, got "
                f"{signal.table.channels} channel(s): match them, or give a mapping from names to signals."
            )
        if signal.channels is None or not set(signal.channels) & set(vertices):
            self._check_no_near_names(signal.channels or (), vertices)
            return signal  # in order, also where names are of another kind, such as the columns of a table
        known = set(wanted)
        for name in signal.channels:
            if name not in known:
                raise ProblemError(
                    f"channels of {self.what} named after vertices must be {shown(list(wanted))}, got {shown(name)}: "
                    "select or rename them, or drop their names to go by order."
                )
        if len(set(signal.channels)) < len(wanted):
            raise ProblemError(
                f"channels of {self.what} must have different names, got {shown(signal.channels)}: rename."
            )
        return signals.series(signal.spec["data"].sel(channel=list(wanted)), signal.spec["interpolation"])

    def _check_no_near_names(self, channels: Sequence[str], vertices: Sequence[str]) -> None:
        """Refuse to go by order where a name is a vertex's but for capitals or spaces."""
        near = {folded(name): name for name in vertices} if channels else {}
        for name in channels:
            if folded(name) in near:
                raise ProblemError(
                    f"channels of {self.what} must be named after vertices exactly or not at all, got {shown(name)}, "
                    f"nearly {near[folded(name)]!r}: rename it, or drop the names to go by order."
                )


def from_dict(value: Any, what: str, folder: Path | Folder | None = None) -> Any:
    """What `Channels.to_dict` returned, as the signals that it stands for; numbers are left to `Channels.assign`."""
    if not isinstance(value, Mapping):
        return value
    if isinstance(value.get("kind"), str):
        return signals.from_dict(value, folder)
    return {
        name: signals.from_dict(part, folder) if isinstance(part, Mapping) else part
        for name, part in mapping(value, what).items()
    }


def _signal(value: Any, what: str) -> Signal:
    """Return a signal from a signal, a DataArray or a number."""
    value = scalar(value)
    if isinstance(value, Signal):
        return value
    if isinstance(value, xr.DataArray):
        return signals.series(value)
    if isinstance(value, Real) and not isinstance(value, bool | np.timedelta64):
        return signals.constant(number(value, what))
    raise ProblemError(f"{what} must be a signal, a DataArray on 'time' or a number, got {shown(value)}: convert it.")
