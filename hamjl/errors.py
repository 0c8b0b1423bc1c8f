"""What hamjl raises and warns: one sentence each, the rule, what was given, what to do."""

from __future__ import annotations

import reprlib
import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches


class HamjlError(Exception):
    """Base class of every error raised on purpose by hamjl."""


class ProblemError(HamjlError, ValueError):
    """The problem, law, method or file given is not one that hamjl can solve as stated."""


class ExpressionError(ProblemError):
    """A formula is outside the small language of :mod:`hamjl.expressions`."""


class EngineError(HamjlError, RuntimeError):
    """An engine is missing or could not do the work."""


class RunWarning(UserWarning):
    """A run stopped early, as its ``status`` says, or loss or energies have no value, as its ``message`` says."""


def warn(message: str, category: type[Warning] = RunWarning) -> None:
    """Warn at the line of the user's that called hamjl, however deep in it this is."""
    level, own = 1, 1
    frame = sys._getframe()
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        level += 1
        if frame.f_globals.get("__name__", "").partition(".")[0] == __package__:
            own = level
    warnings.warn(message, category, stacklevel=own + 1)


def shown(given: object) -> str:
    """Return what the user gave on one line, shortened."""
    text = " ".join(_SHORT.repr(given).split())
    return text if len(text) <= 80 else f"{text[:76]} …"


class _Short(reprlib.Repr):
    """Text of anything at all, long or deep or broken, in no time; in full where it is short."""

    def __init__(self) -> None:
        super().__init__()
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 80
        self.maxstring, self.maxother = 400, 400

    def repr_int(self, given: int, level: int) -> str:
        return repr(given) if given.bit_length() < 4000 else "an integer of more than 1000 digits"

    def repr_instance(self, given: object, level: int) -> str:
        try:
            text = repr(given)
        except Exception:  # whatever a class of somebody else raises
            text = f"an object of type {type(given).__name__}"
        return text[:400]


_SHORT = _Short()


def listed(names: Iterable[object]) -> str:
    """Return names one after another, the first few of many."""
    texts = list(map(str, names))
    return ", ".join(texts) if len(texts) <= 30 else f"{', '.join(texts[:10])} … ({len(texts)} in all)"


def printable(text: str) -> str:
    """Return text of a file that others wrote with what would steer a terminal written out, and shortened."""
    text = text if len(text) <= 2000 else f"{text[:1996]} …"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def unknown(kind: str, given: object, known: Iterable[str]) -> str:
    """Return the sentence for a name that is not among the `known` ones, with the nearest of them."""
    known = sorted(known)
    near = get_close_matches(given[:100], known, n=1, cutoff=0.5) if isinstance(given, str) else ()
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {listed(map(repr, known))}."
    return f"{kind} must be a known name, got {shown(given)}: {hint}"
