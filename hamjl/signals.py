"""Inputs and targets as functions of time: sampled series from xarray, or exact cosines, constants, patches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hamjl.checks import array, choice, increasing, keys, mapping, number
from hamjl.errors import ProblemError, shown
from hamjl.piecewise import Piecewise

INTERPOLATIONS = ("previous", "linear", "cubic")


@dataclass(frozen=True, eq=False)
class Signal:
    """A function of time with one or more channels; build it with `constant`, `cosine`, `cosines`, `patches`, `series`.

    Call it on times (…) to get values (…, channel). ``domain`` is the closed interval on which it is defined.
    """

    table: Piecewise
    domain: tuple[float, float]
    channels: tuple[str, ...] | None  # names, when the data bring them
    spec: dict[str, Any]  # the plain form; data stay DataArrays in it

    def __call__(self, t: ArrayLike) -> NDArray[np.floating]:
        return self.table.value(array(t, "time"))


def constant(value: float) -> Signal:
    """The signal that is always `value`."""
    return _analytic([], number(value, "constant"), {"kind": "constant", "value": float(value)})


def cosine(amplitude: float = 1.0, omega: float = 1.0, phase: float = 0.0, offset: float = 0.0) -> Signal:
    """``offset + amplitude cos(omega t + phase)``, omega in radians per unit of time."""
    terms = [(amplitude, omega, phase)]
    spec = {"kind": "cosine", "amplitude": amplitude, "omega": omega, "phase": phase, "offset": offset}
    return _analytic(terms, offset, spec)


def cosines(terms: Iterable[Sequence[float]], offset: float = 0.0) -> Signal:
    """``offset + Σ amplitude cos(omega t + phase)`` over (amplitude, omega, phase) terms."""
    try:
        triples = [tuple(term) for term in terms]
    except TypeError:
        triples = [()]
    if not all(len(term) == 3 for term in triples):
        raise ProblemError(f"terms must be (amplitude, omega, phase) triples, got {shown(terms)}: list them.")
    return _analytic(triples, offset, {"kind": "cosines", "terms": [list(t) for t in triples], "offset": offset})


def patches(pieces: Iterable[tuple[float, Signal]]) -> Signal:
    """Analytic signals one after another: each (start, signal) holds from its start to the next one's (Fig. 3)."""
    try:
        parts = [(number(start, "start of a patch"), signal) for start, signal in pieces]
    except (TypeError, ValueError):
        parts = []
    if not parts or not all(isinstance(s, Signal) and len(s.table.start) == 1 for _, s in parts):
        raise ProblemError(
            "patches must be (start, signal) pairs of constants, cosines or sums of cosines, "
            f"got {shown(pieces)}: write e.g. [(0, cosine(.5, .01)), (100, constant(.2))]."
        )
    start = increasing([t for t, _ in parts], "starts of the patches")
    tables = [signal.table for _, signal in parts]
    width = max(len(table.amplitude) for table in tables)

    def padded(name: str) -> NDArray[np.floating]:
        values = np.zeros((width, len(parts), 1))
        for k, table in enumerate(tables):
            values[: len(table.amplitude), k] = getattr(table, name)[:, 0]
        return values

    poly = np.stack([table.poly[:, 0] for table in tables], axis=1)
    table = Piecewise(start, poly, padded("amplitude"), padded("omega"), padded("phase"), start[1:])
    spec = {"kind": "patches", "pieces": [{"start": t, **signal.spec} for t, signal in parts]}
    return Signal(table, (float(start[0]), np.inf), None, spec)


def series(data: xr.DataArray, interpolation: str = "linear") -> Signal:
    """A sampled signal.

    Parameters
    ----------
    data : xarray.DataArray
        Dimension ``time`` (numbers, strictly increasing) and at most one other, the channels. NaN means *no value
        there*: the pieces that touch it are NaN.
    interpolation : {"linear", "previous", "cubic"}
        ``"cubic"`` is the not-a-knot spline of each run of finite samples.
    """
    choice(interpolation, INTERPOLATIONS, "interpolation")
    if not isinstance(data, xr.DataArray):
        raise ProblemError(f"a series must be an xarray.DataArray, got {type(data).__name__}: wrap it in one.")
    if "time" not in data.dims or data.ndim > 2:
        raise ProblemError(f"a series must have the dimension 'time' and at most one more, got {data.dims}: rename it.")
    if "time" not in data.coords:
        raise ProblemError("a series must have the coordinate 'time', got none: assign it with assign_coords(time=…).")
    if data.time.dtype.kind not in "iuf":
        raise ProblemError(f"the coordinate 'time' must be numbers, got {data.time.dtype}: convert dates to e.g. days.")
    data = data.transpose("time", ...)
    time = increasing(data.time.values, "times of a series")
    values = array(data.values, "values of a series").reshape(len(time), -1)
    if np.isinf(values).any():
        raise ProblemError("values of a series must be finite or NaN, got infinity: replace it.")
    names = None
    if data.ndim == 2:
        dim = data.dims[1]
        names = tuple(map(str, data[dim].values)) if dim in data.coords else None
    start, poly, stops = _TABLES[interpolation](time, values)
    none = np.zeros((0, len(start), values.shape[1]))
    spec = {"kind": "series", "data": data, "interpolation": interpolation}
    return Signal(Piecewise(start, poly, none, none, none, stops), (float(time[0]), float(time[-1])), names, spec)


def from_dict(spec: Mapping[str, Any], folder: Path | None = None) -> Signal:
    """Build a signal from its plain form; a series' ``file`` is looked up in `folder`."""
    table = mapping(spec, "signal")
    kind = table.pop("kind", None)
    builders: dict[str, tuple[Any, tuple[str, ...]]] = {
        "constant": (constant, ("value",)),
        "cosine": (cosine, ("amplitude", "omega", "phase", "offset")),
        "cosines": (cosines, ("terms", "offset")),
        "patches": (_patches_from, ("pieces",)),
        "series": (_series_from, ("data", "interpolation", *_FILE_KEYS)),
    }
    choice(kind, builders, "signal kind")
    build, known = builders[kind]
    keys(table, f"signal of kind {kind!r}", known)
    try:
        result: Signal = build(**table, folder=folder) if kind == "series" else build(**table)
    except TypeError:  # an argument is missing
        raise ProblemError(
            f"a signal of kind {kind!r} needs {', '.join(known)}, got {sorted(table)}: add it."
        ) from None
    return result


_FILE_KEYS = ("file", "variable", "time", "columns", "scale", "offset", "delay")


def _patches_from(pieces: Sequence[Mapping[str, Any]]) -> Signal:
    parts = []
    for piece in pieces if isinstance(pieces, Sequence) else ():
        table = mapping(piece, "a patch")
        start = table.pop("start", None)
        parts.append((start, from_dict(table)))
    return patches(parts)


def _series_from(
    data: xr.DataArray | None = None,
    interpolation: str = "linear",
    folder: Path | None = None,
    *,
    file: str | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    delay: float = 0.0,
    **where: Any,
) -> Signal:
    if file is not None:
        data = _read((folder or Path()) / file, **where)
        data = data * number(scale, "scale") + number(offset, "offset")
        if data.coords.get("time") is not None and data.time.dtype.kind in "iuf":
            data = data.assign_coords(time=data.time + number(delay, "delay"))
    if data is None:
        raise ProblemError("a series needs 'data' or 'file', got neither: name the file that holds it.")
    return series(data, interpolation)


def _read(
    path: Path, variable: str | None = None, time: str = "time", columns: Sequence[str] | None = None
) -> xr.DataArray:
    """Read a series from a NetCDF file (`variable`) or from a CSV file (`time` and `columns` name its columns)."""
    try:
        if path.suffix.lower() == ".csv":
            import pandas as pd

            frame = pd.read_csv(path)
            wanted = [name for name in frame.columns if name != time] if columns is None else columns
            wanted = [wanted] if isinstance(wanted, str) else list(wanted)
            for name in (time, *wanted):
                choice(name, map(str, frame.columns), f"A column of {path.name}")
            values = array(frame[wanted].values, f"columns {wanted} of {path.name}")
            when = array(frame[time].values, f"column {time!r} of {path.name}")
            return xr.DataArray(values, dims=("time", "channel"), coords={"time": when, "channel": wanted})
        with xr.open_dataset(path) as stored:
            names = list(map(str, stored.data_vars))
            if variable is None and len(names) == 1:
                variable = names[0]
            choice(variable, names, f"variable of {path.name}")
            return stored[variable].rename({time: "time"} if time != "time" else {}).load()
    except ProblemError:
        raise
    except Exception as error:  # whatever the readers of foreign files raise
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ProblemError(f"data file must be a readable CSV or NetCDF file, got {str(path)!r} ({reason}).") from None


def _analytic(terms: Sequence[Sequence[float]], offset: float, spec: dict[str, Any]) -> Signal:
    columns = [[number(v, name) for v in column] for name, column in zip(_TERM, _transpose(terms), strict=True)]
    amplitude, omega, phase = (np.array(column, dtype=float).reshape(-1, 1, 1) for column in columns)
    poly = np.zeros((4, 1, 1))
    poly[0] = number(offset, "offset")
    table = Piecewise(np.zeros(1), poly, amplitude, omega, phase, np.zeros(0))
    return Signal(table, (-np.inf, np.inf), None, spec)


_TERM = ("amplitude", "omega", "phase")


def _transpose(terms: Sequence[Sequence[float]]) -> list[list[float]]:
    return [[term[k] for term in terms] for k in range(3)]


# Each table maker takes times (time,) and values (time, channel), and returns start, poly and stops.
_Made = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]


def _previous(time: NDArray[np.floating], values: NDArray[np.floating]) -> _Made:
    poly = np.zeros((4, *values.shape))
    poly[0] = values
    changed = np.nonzero(~((np.diff(values, axis=0) == 0) | _both_nan(values)).all(axis=1))[0] + 1
    return time, poly, time[changed]


def _both_nan(values: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.isnan(values[1:]) & np.isnan(values[:-1])


def _linear(time: NDArray[np.floating], values: NDArray[np.floating]) -> _Made:
    if len(time) < 2:
        return _previous(time, values)
    poly = np.zeros((4, len(time) - 1, values.shape[1]))
    poly[0] = values[:-1]
    poly[1] = np.diff(values, axis=0) / np.diff(time)[:, None]
    return time[:-1], poly, time[1:-1]


def _cubic(time: NDArray[np.floating], values: NDArray[np.floating]) -> _Made:
    from scipy.interpolate import CubicSpline

    if len(time) < 2:
        return _previous(time, values)
    poly = np.full((4, len(time) - 1, values.shape[1]), np.nan)
    stops: set[float] = set()
    for channel, column in enumerate(values.T):
        known = np.flatnonzero(np.isfinite(column))
        for run in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
            if len(run) >= 2:
                first, last = run[0], run[-1]
                spline = CubicSpline(time[first : last + 1], column[first : last + 1])
                poly[:, first:last, channel] = spline.c[::-1]
            stops.update(time[[run[0], run[-1]]] if len(run) else ())
    inner = sorted(stops - {time[0], time[-1]})
    return time[:-1], poly, np.array(inner, dtype=float)


_TABLES = {"previous": _previous, "linear": _linear, "cubic": _cubic}
