"""Argument checks shared by the public constructors; each returns the value in its plain form."""

from __future__ import annotations

import math
import os
import re
import sys
import tomllib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hamjl.errors import ProblemError, shown, unknown

LARGEST = 2**63  # of whole numbers, as in files
MAX_PARTS = 100  # of a dotted key


def number(
    value: Any, what: str, *, positive: bool = False, nonnegative: bool = False, infinite: bool = False
) -> float:
    """Return a float, positive or non-negative where asked, and finite unless it may be infinite."""
    rule = "a positive number" if positive else "a non-negative number" if nonnegative else "a finite number"
    value = scalar(value)
    if not isinstance(value, bool | np.timedelta64) and isinstance(value, Real):
        try:
            result = float(value)
        except (OverflowError, TypeError, ValueError):
            result = math.nan
        if (
            (math.isfinite(result) or (infinite and math.isinf(result)))
            and not (positive and result <= 0)
            and not (nonnegative and result < 0)
        ):
            return result
    raise ProblemError(f"{what} must be {rule}, got {shown(value)}: change it.")


def count(value: Any, what: str, *, least: int = 0) -> int:
    """Return an integer not below `least`."""
    value = scalar(value)
    if not isinstance(value, bool | np.timedelta64) and isinstance(value, Integral) and int(value) >= least:
        if int(value) < LARGEST:
            return int(value)
        raise ProblemError(f"{what} must be a whole number below 2**63, got {shown(value)}: change it.")
    raise ProblemError(f"{what} must be a whole number, {least} or more, got {shown(value)}: change it.")


def scalar(value: Any) -> Any:
    """Return what an array of no dimensions holds, and anything else as it is."""
    return np.asarray(value)[()] if isinstance(value, np.ndarray | xr.DataArray) and value.ndim == 0 else value


def flag(value: Any, what: str) -> bool:
    """Return a bool."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise ProblemError(f"{what} must be true or false, got {shown(value)}: change it.")


def to_path(value: Any, what: str) -> Path:
    """Return a path of a file or folder, which need not exist."""
    if isinstance(value, str | Path):
        with suppress(OSError, ValueError, RuntimeError):  # a name too long, or with a NUL; a ring of links
            path = Path(value)
            path.exists()
            path.resolve()
            return path
    raise ProblemError(f"{what} must be a path, got {shown(value)}: name a file or folder.")


def choice(value: Any, known: Iterable[str], what: str, *, any_case: bool = False) -> str:
    """Return a name that is among the `known` ones; with `any_case`, capitals and underscores make no difference."""
    names = known if isinstance(known, Collection) else tuple(known)  # looked up in, where it can be
    if isinstance(value, str) and value in names:
        return value
    if any_case and isinstance(value, str):
        found = [name for name in names if folded(name) == folded(value)]
        if len(found) == 1:
            return found[0]
    raise ProblemError(unknown(what, value, names))


def folded(name: str) -> str:
    """A name without what is easily mistaken: capitals, spaces, underscores, hyphens."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def affordable(size: float, what: str, remedy: str) -> None:
    """Refuse, before it is asked for, memory of so many bytes where the machine or the process has less."""
    if size > (room := _memory()):
        raise ProblemError(f"{what} must fit in memory, {room / 1e9:.3g} GB here, got {size / 1e9:.3g} GB: {remedy}.")


def _memory() -> float:
    """Bytes that a process may have: the machine's, or fewer where its user has set a limit."""
    found = np.inf
    if sys.platform == "win32":
        return found
    import resource

    with suppress(OSError, ValueError):  # not on this system
        found = float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        found = found if limit == resource.RLIM_INFINITY else min(found, limit)
    return found


def read_toml(text: str) -> dict[str, Any]:
    """Return the table that a TOML text is; ValueError or RecursionError for another text.

    The standard library's reader takes time that grows with the square of the parts of a dotted key.
    """
    part = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
    if re.search(rf"(?<![\w-]){part}(?:[ \t]*\.[ \t]*{part}){{{MAX_PARTS}}}", text):
        raise ValueError(f"a key of more than {MAX_PARTS} parts")
    return tomllib.loads(text)


def array(value: ArrayLike, what: str) -> NDArray[np.floating]:
    """Return a new float array; NaN is let through, text and ragged lists are not."""
    try:
        given = np.asarray(value)
        if given.dtype.kind in "biuf" or (given.size == 0 and given.dtype.kind == "O"):
            return np.array(given, dtype=np.float64)
        if given.dtype.kind == "O" and all(isinstance(v, Real) for v in given.flat):
            return np.array([float(v) for v in given.flat]).reshape(given.shape)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise ProblemError(f"{what} must be an array of real numbers, got {shown(value)}: convert it.")


def finite(value: ArrayLike, what: str) -> NDArray[np.floating]:
    """Return a new float array without NaN or infinity."""
    result = array(value, what)
    if not np.isfinite(result).all():
        bad = int(np.count_nonzero(~np.isfinite(result)))
        raise ProblemError(f"{what} must be finite, got {bad} NaN or infinite value(s): fill or drop them first.")
    return result


def increasing(value: ArrayLike, what: str) -> NDArray[np.floating]:
    """Return a new one-dimensional, strictly increasing, finite float array of at least one element."""
    result = finite(value, what)
    if result.ndim != 1 or result.size == 0:
        raise ProblemError(f"{what} must be a non-empty list of numbers, got shape {result.shape}: reshape it.")
    steps = np.diff(result)
    if (steps <= 0).any():
        k = int(np.argmax(steps <= 0))
        raise ProblemError(
            f"{what} must increase strictly, got {result[k]:g} followed by {result[k + 1]:g}: "
            "sort them and drop repeated ones."
        )
    return result


def mapping(value: Any, what: str) -> dict[str, Any]:
    """Return a dict with string keys."""
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    raise ProblemError(f"{what} must be a table of names and values, got {shown(value)}: write it as one.")


def keys(value: Mapping[str, Any], what: str, known: tuple[str, ...]) -> None:
    """Refuse a table that holds a key which is not `known`."""
    for key in value:
        choice(key, known, f"A key of {what}")
