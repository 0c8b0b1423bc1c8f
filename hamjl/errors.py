"""What hamjl raises and warns: one sentence each, the rule, what was given, what to do."""

from __future__ import annotations

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


def shown(given: object) -> str:
    """Return what the user gave on one line, shortened."""
    text = " ".join(repr(given).split())
    return text if len(text) <= 80 else f"{text[:76]} …"


def printable(text: str) -> str:
    """Return text of a file that others wrote with what would steer a terminal written out, and shortened."""
    text = text if len(text) <= 2000 else f"{text[:1996]} …"
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def unknown(kind: str, given: object, known: Iterable[str]) -> str:
    """Return the sentence for a name that is not among the `known` ones, with the nearest of them."""
    known = sorted(known)
    near = get_close_matches(str(given), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"choose one of {', '.join(map(repr, known))}."
    return f"{kind} must be a known name, got {shown(given)}: {hint}"
