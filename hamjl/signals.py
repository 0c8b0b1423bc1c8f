"""Inputs and targets as functions of time: sampled series from xarray, or exact cosines, constants, patches."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hamjl.checks import array, choice, increasing, keys, mapping, number
from hamjl.errors import ProblemError, shown
from hamjl.foreign import Folder, open_netcdf, read_text, to_folder
from hamjl.piecewise import Piecewise
from hamjl.plain import Plain

INTERPOLATIONS = ("previous", "linear", "cubic")


@dataclass(frozen=True, eq=False)
class Signal(Plain):
    """A function of time with one or more channels; build it with `constant`, `cosine`, `cosines`, `patches`, `series`.

    Call it on times (…) to get values (…, channel). ``domain`` is the closed interval on which it is defined.
    """

    table: Piecewise
    domain: tuple[float, float]
    channels: tuple[str, ...] | None  # names, when the data bring them
    spec: dict[str, Any]  # the plain form; data stay DataArrays in it

    def _tree(self) -> dict[str, Any]:
        return self.spec

    def channel(self, k: int) -> Signal:
        """The k-th channel by itself."""
        kept = (
            self.spec["data"].isel(channel=k, drop=True) if "channel" in self.spec["data"].dims else self.spec["data"]
        )
        return series(kept, self.spec["interpolation"])

    def __call__(self, t: ArrayLike) -> NDArray[np.floating]:
        return self.table.value(array(t, "time"))


def constant(value: float) -> Signal:
    """The signal that is always `value`."""
    value = number(value, "constant")
    return _analytic([], value, {"kind": "constant", "value": value})


def cosine(amplitude: float = 1.0, omega: float = 1.0, phase: float = 0.0, offset: float = 0.0) -> Signal:
    """``offset + amplitude cos(omega t + phase)``, omega in radians per unit of time."""
    given = {"amplitude": amplitude, "omega": omega, "phase": phase, "offset": offset}
    spec = {name: number(value, name) for name, value in given.items()}
    return _analytic([[spec[name] for name in _TERM]], spec["offset"], {"kind": "cosine", **spec})


def cosines(terms: Iterable[Sequence[float]], offset: float = 0.0) -> Signal:
    """``offset + Σ amplitude cos(omega t + phase)`` over (amplitude, omega, phase) terms."""
    try:
        triples = [list(term) for term in terms]
    except TypeError:
        triples = [[]]
    if not all(len(term) == 3 for term in triples):
        raise ProblemError(f"terms must be (amplitude, omega, phase) triples, got {shown(terms)}: list them.")
    triples = [[number(value, name) for value, name in zip(term, _TERM, strict=True)] for term in triples]
    offset = number(offset, "offset")
    return _analytic(triples, offset, {"kind": "cosines", "terms": triples, "offset": offset})


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
    time = increasing(data.time.values, "times of a series")
    values = array(data.transpose("time", ...).values, "values of a series").reshape(len(time), -1)
    if np.isinf(values).any():
        raise ProblemError("values of a series must be finite or NaN, got infinity: replace it.")
    values.setflags(write=False)
    kept, names = xr.DataArray(values, dims=("time", "channel"), coords={"time": time}), None
    if data.ndim == 1:
        kept = kept.isel(channel=0)
    elif (dim := next(dim for dim in data.dims if dim != "time")) in data.coords:
        names = tuple(map(str, data[dim].values))
        kept = kept.assign_coords(channel=list(names))
    with np.errstate(all="ignore"):
        start, poly, stops = _TABLES[interpolation](time, values)
    if np.isinf(poly).any():
        raise ProblemError("slopes of a series must be finite, got values too large or times too close: rescale it.")
    none = np.zeros((0, len(start), values.shape[1]))
    spec = {"kind": "series", "data": kept, "interpolation": interpolation}
    return Signal(Piecewise(start, poly, none, none, none, stops), (float(time[0]), float(time[-1])), names, spec)


def extended(signal: Signal, data: xr.DataArray, since: float = -np.inf) -> Signal:
    """A sampled signal that goes on with more data, later than those it has; it forgets what is over at `since`.

    ``"previous"`` and ``"linear"`` interpolation do not change what was before. The cubic spline would.
    """
    if signal.spec["kind"] != "series":
        raise ProblemError(f"only a sampled signal takes more data, got a signal of kind {signal.spec['kind']!r}.")
    interpolation = signal.spec["interpolation"]
    if interpolation == "cubic":
        raise ProblemError(
            "a signal with cubic interpolation cannot go on, since later data would change it: use 'linear' or "
            "'previous'."
        )
    held, new = signal.spec["data"], series(data, interpolation)
    if new.domain[0] <= signal.domain[1]:
        raise ProblemError(
            f"more data must be later than those before, got {new.domain[0]:g} after {signal.domain[1]:g}: drop the "
            "times already given."
        )
    chunk, names = new.spec["data"], signal.channels
    alike = chunk.shape[1:] == held.shape[1:] and sorted(new.channels or ()) == sorted(names or ())
    if not alike or (new.channels != names and len(set(names or ())) < len(names or ())):
        raise ProblemError(
            f"more data must have the channels of those before ({_channels(signal)}), got {_channels(new)}: select, "
            "name or rename them."
        )
    if new.channels != names:
        chunk = chunk.sel(channel=list(names or ()))
    first = max(int(np.searchsorted(held.time.values, since, side="right")) - 2, 0)  # one more: does it jump there?
    return series(xr.concat([held.isel(time=slice(first, None)), chunk], "time", join="exact"), interpolation)


def _channels(signal: Signal) -> str:
    if signal.channels is not None:
        return shown(list(signal.channels))
    return "time alone" if signal.spec["data"].ndim == 1 else f"{signal.table.channels} without names"


def from_dict(spec: Mapping[str, Any], folder: Path | Folder | None = None) -> Signal:
    """Build a signal from its plain form; a series' ``file`` is in `folder` or below, and without one there is none."""
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


_FILE_KEYS = ("file", "variable", "time", "time_unit", "columns", "scale", "offset", "delay")
_TIME_UNITS = {"days": 86400.0, "hours": 3600.0, "minutes": 60.0, "seconds": 1.0}


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
    folder: Path | Folder | None = None,
    *,
    file: str | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    delay: float = 0.0,
    **where: Any,
) -> Signal:
    if (data is None) == (file is None):
        raise ProblemError("a series needs either 'data' or 'file', got both or neither: name the file that holds it.")
    if file is None:
        if where or scale != 1.0 or offset != 0.0 or delay != 0.0:
            raise ProblemError(
                "scale, offset, delay and what is in a file go with 'file', got 'data': change the data."
            )
        assert data is not None
        return series(data, interpolation)
    if not isinstance(file, str):
        raise ProblemError(f"file must be the name of a CSV or NetCDF file, got {shown(file)}: write it as text.")
    data = _read(to_folder(folder).find(file), **where)
    data = data.copy(data=data.values * number(scale, "scale") + number(offset, "offset"))
    return series(data.assign_coords(time=data.time.values + number(delay, "delay")), interpolation)


def _read(path: Path, time: str = "time", time_unit: str | None = None, **where: Any) -> xr.DataArray:
    """Read a series from a NetCDF file (``variable``) or a CSV file (``columns``); `time` names the time there.

    Dates become numbers of a `time_unit` since the first.
    """
    reader = _read_csv if path.suffix.lower() == ".csv" else _read_netcdf
    keys(where, f"a series from {path.name}", ("columns",) if reader is _read_csv else ("variable",))
    try:
        found = reader(path, time, **where)
    except ProblemError:
        raise
    except Exception as error:  # whatever the readers of foreign files raise
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ProblemError(
            f"data file must be a readable CSV or NetCDF file, got {shown(str(path))} ({reason}): check it."
        ) from None
    dated = found.time.dtype.kind not in "iuf" or " since " in str(found.time.attrs.get("units", ""))
    if time_unit is not None:
        unit = _TIME_UNITS[choice(time_unit, _TIME_UNITS, "time_unit")]
        if not dated or (elapsed := _elapsed(found.time)) is None:
            first = shown(str(found.time.values[0]))[1:-1]
            raise ProblemError(
                f"time_unit is for dates as in 2000-01-31, got {first} in {path.name}: leave it out, or write them."
            )
        found = found.assign_coords(time=elapsed / unit)
    elif dated:
        raise ProblemError(f"times in {path.name} must be numbers, got dates or text: add time_unit = 'days'.")
    return found.assign_coords(time=found.time.values.astype(np.float64)).astype(np.float64)


def _elapsed(time: xr.DataArray) -> NDArray[np.floating] | None:
    """Seconds since the first of some dates, as text or as NetCDF's "days since …"; None where they are none."""
    word, since, _ = str(time.attrs.get("units", "")).partition(" since ")
    if since:
        name = word.strip().lower()
        unit = _TIME_UNITS.get(name, _TIME_UNITS.get(f"{name}s"))
        return None if unit is None or time.dtype.kind not in "iuf" else (time.values - time.values[0]) * unit
    try:
        dates = time.values.astype("datetime64[us]")  # half a million years; nanoseconds would last from 1678 to 2262
    except (ValueError, TypeError):
        return None
    return None if np.isnat(dates).any() else (dates - dates[0]).astype(np.float64) / 1e6


def _read_csv(path: Path, time: str, columns: Sequence[str] | str | None = None) -> xr.DataArray:
    import pandas as pd

    columns = [columns] if isinstance(columns, str) else columns
    if not (columns is None or (isinstance(columns, list | tuple) and columns)):
        raise ProblemError(f"columns must be a list of names, got {shown(columns)}: write e.g. ['now'].")
    text = read_text(path)
    _check_rows(text, path.name)
    frame = pd.read_csv(io.StringIO(text), index_col=False)
    names = list(map(str, frame.columns))
    wanted = [name for name in names if name != time] if columns is None else list(columns)
    for name in (time, *wanted):
        choice(name, names, f"A column of {path.name}")
    values = array(frame[wanted].values, f"columns {', '.join(wanted)} of {path.name}")
    when = frame[time].values
    when = np.asarray(when, dtype=np.str_) if frame[time].dtype.kind not in "iuf" else when
    return xr.DataArray(values, dims=("time", "channel"), coords={"time": when, "channel": wanted})


def _check_rows(text: str, name: str) -> None:
    """Refuse rows with other than as many values as the header: a gap is written as nothing between two commas."""
    width = None
    for row in csv.reader(io.StringIO(text)):
        if not row or (len(row) == 1 and not row[0].strip()):
            continue  # an empty line
        width = width or len(row)
        if len(row) < width or any(value.strip() for value in row[width:]):
            more = "more" if len(row) > width else "fewer"
            raise ProblemError(
                f"rows of {name} must have as many values as its header, got {more} in {shown(','.join(row))}: name "
                "all of them, and write a gap as nothing between two commas."
            )


def _read_netcdf(path: Path, time: str, variable: str | None = None) -> xr.DataArray:
    with open_netcdf(path) as stored:
        names = list(map(str, stored.data_vars))
        if variable is None and len(names) == 1:
            variable = names[0]
        found = stored[choice(variable, names, f"variable of {path.name}")].load()
    if time not in found.dims:
        raise ProblemError(
            f"{variable} of {path.name} must have the dimension {shown(time)}, got {found.dims}: name it."
        )
    if "time" in {*found.dims, *found.coords} - {time}:
        raise ProblemError(
            f"{variable} of {path.name} must have one time, got 'time' beside {shown(time)}: rename or drop one there."
        )
    found = found.rename({time: "time"} if time != "time" else {})
    if "time" not in found.coords:
        raise ProblemError(f"{variable} of {path.name} must have times, got a dimension without: add the coordinate.")
    return found.copy(data=array(found.values, f"{variable} of {path.name}"))


_TERM = ("amplitude", "omega", "phase")


def _analytic(terms: Sequence[Sequence[float]], offset: float, spec: dict[str, Any]) -> Signal:
    columns = np.array(terms, dtype=np.float64).reshape(-1, 3).T
    amplitude, omega, phase = (column.reshape(-1, 1, 1) for column in columns)
    poly = np.zeros((4, 1, 1))
    poly[0] = offset
    table = Piecewise(np.zeros(1), poly, amplitude, omega, phase, np.zeros(0))
    return Signal(table, (-np.inf, np.inf), None, spec)


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
    poly = np.zeros((4, *values.shape))
    poly[0] = values
    slope = np.diff(values, axis=0) / np.diff(time)[:, None]
    poly[1] = np.concatenate((slope, slope[-1:]))  # at the last time exactly the last value, as when more data follow
    return time, poly, time[1:-1]


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
