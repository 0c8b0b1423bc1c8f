"""What problems of every kind are: signals over a span of time, and names for what moves."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from inspect import signature
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from hamjl.channels import Channels
from hamjl.checks import choice, number
from hamjl.errors import ProblemError, shown
from hamjl.plain import Plain
from hamjl.signals import Signal

LONGEST = 1e100  # beyond it differences of times overflow


class Statement(Plain):
    """A learning problem of some kind; see `hamjl.Problem` and `hamjl.SymbolicSystem`."""

    kind: ClassVar[str]  # the table of a problem file that holds it
    control_dim: ClassVar[str]  # the dimension of what is optimised
    replayed: ClassVar[tuple[str, str]]  # the variables that say where a run began and what its control was

    span: tuple[float, float]

    @property
    def channels(self) -> tuple[Channels, ...]:
        """All signals, in the order in which `extended` takes more of them."""
        raise NotImplementedError

    @cached_property
    def labels(self) -> dict[str, tuple[str, list[str]]]:
        """The labels of a trajectory of this problem: name, dimension, texts; none of what there is none of."""
        found = {name: (dim, [str(label) for label in given]) for name, (dim, given) in self._labels().items()}
        return {name: (dim, given) for name, (dim, given) in found.items() if given}

    def _labels(self) -> dict[str, tuple[str, Iterable[str]]]:
        raise NotImplementedError

    @property
    def known(self) -> tuple[float, float]:
        """The interval on which all signals are defined; infinite where they are analytic."""
        domains = [signal.domain for channels in self.channels for signal, _ in channels.pairs()]
        domains += [signal.domain for signal in self._told()]
        return max((low for low, _ in domains), default=-np.inf), min((high for _, high in domains), default=np.inf)

    @property
    def known_until(self) -> float:
        """The time up to which all signals are defined; infinite where they are analytic."""
        return self.known[1]

    def _told(self) -> list[Signal]:
        """The functions of time that are sampled, beside the channels."""
        return []

    def initial_vector(self) -> NDArray[np.floating]:
        """The initial state as one vector, the costates (divided by φ) last."""
        raise NotImplementedError

    def replace(self, **changes: Any) -> Self:
        """The same problem but for what is named, as its constructor takes it: ``problem.replace(seed=1)``.

        All that is kept must fit a new network; ``initial=run.isel(time=-1)`` takes of another one what both have.

        Raises
        ------
        ProblemError
            For other names, and for what does not fit together.
        """
        build, names = type(self), tuple(signature(type(self)).parameters)
        for name in changes:
            choice(name, names, f"A part of a {self.kind}")
        return build(**({name: getattr(self, name) for name in names} | changes))

    def _check_signals(self) -> None:
        for channels in self.channels:
            channels.check(self.span)

    def _gone_on(self, *more: Any, since: float) -> Self:
        """The problem with more of its data, over what they all cover."""
        changed = {one.what: one.extended(part, since).given for one, part in zip(self.channels, more, strict=True)}
        later = self._with(**changed)
        start, stop = later.known
        later = later._with(span=(max(self.span[0], start), stop if np.isfinite(stop) else self.span[1]))
        later._check_signals()
        return later


def check_problem(given: Any) -> None:
    """Refuse what is no problem of any kind."""
    if not isinstance(given, Statement):
        raise ProblemError(f"problem must be a hamjl.Problem or SymbolicSystem, got {shown(given)}: build one.")


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
