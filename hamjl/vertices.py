"""The vertices of a digraph by their names, and how many of them there may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any, TypeGuard

import numpy as np
import xarray as xr

from hamjl.errors import ProblemError, shown

BIAS = "bias"  # the input that is constantly 1
MAX_PAIRS = 10**7  # of vertices, in the constructors that look at all of them
PAIR = 100  # bytes that an arc takes while a network is built


def check_size(rows: int, columns: int) -> None:
    if rows * columns > MAX_PAIRS:
        raise ProblemError(
            f"a network built whole must have at most {MAX_PAIRS} pairs of vertices, got {_short(rows * columns)}, "
            f"which take {_short(rows * columns * PAIR // 10**9)} GB: give a sparse one by its arcs."
        )


def _short(value: int) -> str:
    """A whole number, however large."""
    return str(value) if value < 10**15 else f"10**{len(str(value)) - 1}"


def numbered(letter: str, n: int) -> tuple[str, ...]:
    return tuple(f"{letter}{k}" for k in range(n))


def axis_names(matrix: Any) -> tuple[tuple[str, ...], ...]:
    """The names of rows and of columns, where a table has some; counting from 0 is no name."""
    indexes = getattr(matrix, "axes", None)  # of a pandas.DataFrame
    if isinstance(matrix, xr.DataArray):
        indexes = [matrix.indexes.get(dim, ()) for dim in matrix.dims]
    listed = [list(index) for index in indexes or ()]
    if len(listed) != 2 or not all(listed) or all(index == list(range(len(index))) for index in listed):
        return (), ()
    return names_of(listed[0], "rows"), names_of(listed[1], "columns")


def as_text(arcs: Iterable[tuple[Any, Any]]) -> list[tuple[str, str]]:
    """Pairs of names, whatever the vertices are."""
    try:
        given = list(arcs)
        if not all(isinstance(pair, list | tuple | np.ndarray) for pair in given):
            raise TypeError  # neither the two letters of a name nor a set, which has no order
        pairs = [(j, i) for j, i in given]
        vertices = dict.fromkeys(vertex for pair in pairs for vertex in pair)
    except (TypeError, ValueError):
        raise ProblemError(
            f"arcs must be (source, target) pairs of names, got {shown(arcs)}: write e.g. [('u0', 'x0')]."
        ) from None
    check_distinct(vertices)
    return [(str(j), str(i)) for j, i in pairs]


def check_distinct(vertices: Iterable[Any]) -> None:
    """Refuse different vertices that read the same, such as 0 and "0"."""
    first: dict[str, Any] = {}
    for vertex in vertices:
        other = first.setdefault(str(vertex), vertex)
        if other != vertex:
            raise ProblemError(
                f"vertices must have different names as text, got {shown(other)} and {shown(vertex)}: rename one."
            )


def with_bias(inputs: tuple[str, ...], arcs: list[tuple[str, str]]) -> tuple[str, ...]:
    """The inputs, and the bias where it feeds a vertex and none feeds it."""
    roots = {j for j, _ in arcs} - {i for _, i in arcs}
    return (*inputs, BIAS) if BIAS in roots - set(inputs) else inputs


def names_of(values: Sequence[Any], what: str) -> tuple[str, ...]:
    """Names in a list or array; whole numbers become text, as vertices do."""
    listed = isinstance(values, list | tuple) or (isinstance(values, np.ndarray) and values.ndim == 1)
    given = [str(name) if is_whole(name) else name for name in values] if listed else []
    if not listed or not all(isinstance(name, str) and name for name in given):
        raise ProblemError(f"{what} must be a list of names, got {shown(values)}: write e.g. ['x0', 'x1'].")
    names = tuple(map(str, given))
    for name in names:
        if "->" in name or "/" in name or not name.isprintable() or len(name) > 100:
            raise ProblemError(
                f"{what} must have plain, short names without '->' and '/', got {shown(name)}: rename it."
            )
    if len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise ProblemError(f"{what} must have different names, got {shown(twice)} twice: rename one.")
    return names


def is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, Integral) and not isinstance(value, bool | np.timedelta64)
