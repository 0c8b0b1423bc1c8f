"""Tables of samples as users have them, inputs and truths, as plain arrays with names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from hamjl.checks import finite
from hamjl.errors import ProblemError, listed, shown
from hamjl.lowered import Floats


def pairs(given: Any) -> tuple[Any, Any]:
    """Inputs and truths of an iterable of pairs."""
    table = isinstance(given, np.ndarray | xr.DataArray | str | Mapping) or hasattr(given, "columns")
    try:
        found = None if table else [(x, y) for x, y in given]
    except (TypeError, ValueError):
        found = None
    if not found or not hasattr(found[0][0], "__len__"):
        raise ProblemError(
            f"a stream is of X and y, or of pairs (x, y), got {shown(type(given).__name__)} alone: give the truths too."
        )
    samples, truths = zip(*found, strict=True)
    if not isinstance(samples[0], Mapping):
        return list(samples), list(truths)
    import pandas as pd

    names = list(samples[0])
    odd = next((x for x in samples if not isinstance(x, Mapping) or set(x) != set(names)), None)
    if odd is not None:
        raise ProblemError(
            f"all samples must have the inputs of the first, {listed(names)}, got {shown(odd)}: fill in."
        )
    return pd.DataFrame([[x[name] for name in names] for x in samples], columns=names), list(truths)


def inputs(given: Any) -> tuple[Floats, tuple[str, ...] | None]:
    """The table (sample, input) and the names of its columns."""
    try:
        values = _numbers(given)
    except ProblemError:
        raise ProblemError(
            f"X must be an array (sample, input) of real numbers, got {shown(_kinds(given))}: convert or encode them."
        ) from None
    values = finite(values, "X")
    if values.ndim not in (1, 2) or not values.size:
        raise ProblemError(f"X must be an array (sample, input), got shape {values.shape}: reshape it.")
    return values.reshape(len(values), -1), _columns(given)


def truth(given: Any, classes: bool | Sequence[Any] | None) -> tuple[Floats, tuple[Any, ...] | None, Any]:
    """The truths (sample, output), or classes by their positions (sample, 1); the classes; names of the outputs."""
    if classes is None and (kinds := getattr(given, "dtype", None)) is not None and hasattr(kinds, "categories"):
        classes = list(kinds.categories)
    flat = _objects(given)
    if classes is None:
        classes = any(isinstance(v, bool | np.bool_) or not isinstance(v, Real) for v in _known(flat))
    if classes is False:
        try:
            values = _numbers(given)
        except ProblemError:
            raise ProblemError(f"y must be numbers or classes, got {shown(given)}: convert it.") from None
        if np.isinf(values).any() or values.ndim not in (1, 2):
            raise ProblemError(
                f"y must be finite or NaN, (sample,) or (sample, output), got {shown(given)}: change it."
            )
        return values.reshape(len(values), -1), None, _columns(given)
    if flat.size != len(flat):
        raise ProblemError(f"y must have one class for each sample, got shape {flat.shape}: reshape it.")
    flat = flat.ravel()
    known = [_label(value) for value in _known(flat)]
    try:
        labels = _sorted(set(known)) if classes is True else list(map(_label, classes))
        position = {label: float(k) for k, label in enumerate(labels)}
    except TypeError:
        raise ProblemError(f"classes must be True, False or a list, got {shown(classes)}: list the classes.") from None
    if len(position) < 2 or len(position) < len(labels):
        raise ProblemError(f"classes must be two or more different ones, got {shown(labels)}: list all of them.")
    stray = next((label for label in known if label not in position), None)
    if stray is not None:
        raise ProblemError(f"y must hold the classes {listed(map(repr, labels))}, got {stray!r}: list it too.")
    values = np.full((len(flat), 1), np.nan)
    values[~_missing(flat), 0] = [position[label] for label in known]
    return values, tuple(labels), tuple(map(str, labels))


def _numbers(given: Any) -> Floats:
    flat = _objects(given)
    if flat.dtype.kind in "biuf":
        return flat.astype(np.float64)
    if not all(isinstance(v, Real | np.bool_) for v in _known(flat)):
        raise ProblemError(f"a table must hold real numbers, got {shown(given)}: convert them.")
    values = np.array(flat, dtype=object)
    values[_missing(flat)] = np.nan
    return values.astype(np.float64)


def _objects(given: Any) -> NDArray[Any]:
    """An array of what was given, of Python's objects unless these are numbers."""
    try:
        found = np.asarray(given.to_numpy() if hasattr(given, "to_numpy") else given)
        return np.atleast_1d(found if found.dtype.kind in "biuf" else np.asarray(given, dtype=object))
    except (TypeError, ValueError, RuntimeError):
        raise ProblemError(f"X and y must be tables, got {shown(given)}: make all samples alike.") from None


def _missing(values: NDArray[Any]) -> NDArray[np.bool_]:
    import pandas as pd

    return np.asarray(pd.isna(values))


def _known(values: NDArray[Any]) -> NDArray[Any]:
    return values[~_missing(values)]


def _label(value: Any) -> Any:
    """A class as Python has it; whole numbers, which NaN beside them makes floats, as whole numbers."""
    value = value.item() if isinstance(value, np.generic) else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _sorted(labels: Iterable[Any]) -> list[Any]:
    labels = list(labels)
    try:
        return sorted(labels)
    except TypeError:
        return sorted(labels, key=str)


def label_array(labels: Sequence[Any]) -> NDArray[Any]:
    if len({type(label) for label in labels}) == 1 and isinstance(labels[0], str | bool | int | float):
        return np.array(labels)
    found = np.empty(len(labels), dtype=object)
    found[:] = labels
    return found


def _columns(given: Any) -> tuple[str, ...] | None:
    if hasattr(given, "columns"):
        return tuple(map(str, given.columns))
    if isinstance(given, xr.DataArray) and given.ndim == 2 and given.dims[1] in given.coords:
        return tuple(map(str, given[given.dims[1]].values))
    return None


def _kinds(given: Any) -> Any:
    return dict(given.dtypes.astype(str)) if hasattr(given, "columns") else given


def names(given: Any, own: tuple[str, ...] | None, size: int, what: str) -> tuple[str, ...] | None:
    if given is None:
        return own
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or len(names) != size or len({*map(str, names)}) < size:
        raise ProblemError(f"{what} must be {size} different name(s), got {shown(given)}: name each column.")
    return tuple(map(str, names))


def row_labels(X: Any, y: Any, rows: int) -> NDArray[Any]:
    """What the rows of the table are called: those of X, else of y, else numbers."""
    found = [labels for labels in map(_index, (X, y)) if labels is not None]
    if len(found) == 2 and not np.array_equal(found[0], found[1]):
        raise ProblemError("X and y must have the same index, got others: align them, or give plain arrays.")
    return found[0] if found else np.arange(rows)


def _index(given: Any) -> Any:
    if isinstance(given, xr.DataArray):
        return given[given.dims[0]].values if given.dims and given.dims[0] in given.coords else None
    index: Any = getattr(given, "index", None)
    return index.to_numpy() if hasattr(index, "to_numpy") else None
