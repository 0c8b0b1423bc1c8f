"""Runs that outlive the process: a trajectory in a Zarr store that grows by whole chunks, and goes on where it was.

In the folder are the trajectory's arrays (Zarr format 3), and under ``run/`` the recipe and the commit record. Chunks
are written first, then the record is replaced in one move; what it does not name yet does not count. It holds the
number of samples, the time, the complete state of the integrator and the recipe's hash.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hamjl import trajectory
from hamjl.checks import choice, count, mapping, to_path
from hamjl.engines import running, select
from hamjl.errors import EngineError, HamjlError, ProblemError, RunWarning, shown
from hamjl.foreign import read_netcdf, reason
from hamjl.laws import BoundaryValue
from hamjl.lowered import STATUS, Floats, Lowered, Result
from hamjl.lowering import lower_run, samples
from hamjl.progress import reporting, stoppable
from hamjl.recipe import Recipe, digest
from hamjl.storage import read_record, sync, write_record

BYTES = 4 * 2**20  # of a chunk, where the user names no size
PARTS = 20  # into which a short run is cut at least, so that little is lost
PATIENCE = 30.0  # seconds between commits at most, full chunk or not
RESUMABLE = ("running", "interrupted")
RECORD, RECIPE, LOCK = "run/commit.json", "run/recipe.nc", "run/lock"


@dataclass(frozen=True)
class Layout:
    """Samples per chunk, variables of which only every k-th sample is stored, and those in single precision."""

    chunk: int
    thin: dict[str, int]
    single: tuple[str, ...]

    def dimension(self, name: str) -> str:
        """The dimension in time of a variable."""
        return f"time_{self.thin[name]}" if name in self.thin else "time"

    @property
    def grids(self) -> list[str]:
        """The dimensions in time."""
        return list(dict.fromkeys(["time", *map(self.dimension, self.thin)]))


def _every(dim: str) -> int:
    """Every how many samples a dimension in time has one."""
    return 1 if dim == "time" else int(dim.removeprefix("time_"))


def _kept(dim: str, first: int, last: int) -> tuple[slice, slice]:
    """Of the samples first:last, those on a dimension in time, and where they go."""
    k = _every(dim)
    begin, end = -(-first // k), -(-last // k)
    return slice(begin * k - first, max(last - first, 0), k), slice(begin, end)


def create(
    recipe: Recipe,
    path: str | Path,
    *,
    chunk: int | None = None,
    thin: Mapping[str, int] | None = None,
    float32: bool | Sequence[str] = False,
) -> None:
    """Lay out a new store: all of it appears at once, with no samples yet."""
    zarr = _zarr()
    path = to_path(path, "the store")
    if isinstance(recipe.law, BoundaryValue):
        raise ProblemError("a stored run goes forward in time, got BoundaryValue, which needs all of it: use no store.")
    if path.exists():
        raise ProblemError(f"a new store must not exist yet, got {shown(str(path))}: resume it, or name another one.")
    if not path.parent.is_dir():
        raise ProblemError(f"the store's folder must exist, got {shown(str(path.parent))}: create it first.")
    lowered, size = lower_run(recipe.problem, recipe.law, recipe.method), len(_samples(recipe))
    engine = select(recipe.engine, lowered.method.name)
    variables = trajectory.describe(recipe.problem)
    layout = _layout(chunk, thin, float32, variables, len(lowered.initial), size)
    text, arrays = recipe.pack()
    part = None
    try:
        part = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
        part.chmod(0o755)
        group = zarr.open_group(part, mode="w", zarr_format=3)
        group.attrs.update({**trajectory.attributes(recipe, lowered, engine.name, arrays), "recipe": text})
        labels = trajectory.coordinates(recipe.problem)
        sizes = {dim: len(given) for dim, given in labels.values()}
        for name, (dim, given) in labels.items():
            label = group.create_array(name, shape=(len(given),), dtype="string", dimension_names=(dim,))
            label[:] = np.array(given, dtype=object)
        for name in layout.grids:
            group.create_array(
                name, shape=(0,), chunks=(layout.chunk // _every(name),), dtype="float64", dimension_names=(name,),
                attributes=trajectory.TIME, fill_value=math.nan,
            )  # fmt: skip
        for name, (dims, long_name, units) in variables.items():
            inner = tuple(sizes[dim] for dim in dims)
            group.create_array(
                name, shape=(0, *inner), chunks=(layout.chunk // _every(layout.dimension(name)), *inner),
                dtype="float32" if name in layout.single else "float64",
                dimension_names=(layout.dimension(name), *dims),
                attributes={"long_name": long_name, "units": units}, fill_value=math.nan,
            )  # fmt: skip
        group.create_group("run")
        arrays.assign_attrs(recipe=text).to_netcdf(part / RECIPE)
        record = {
            **{"format": 1, "recipe": digest(text, arrays), "engine": engine.name},
            **{"chunk": layout.chunk, "thin": layout.thin, "float32": list(layout.single)},
            **{"length": 0, "time": lowered.span[0], "reached": lowered.span[0], "status": "running"},
            **{"message": "", "gaps": "", "statistics": "{}", "state": None},
        }
        write_record(part / RECORD, record)
        for file in part.rglob("*"):
            sync(file)
        part.rename(path)
        sync(path.parent)
    except OSError as error:
        raise ProblemError(f"the store must be writable, got {shown(str(path))} ({reason(error)}).") from None
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def resume(
    path: str | Path,
    recipe: Recipe | None = None,
    *,
    progress: bool = True,
    log: str | Path | None = None,
) -> xr.Dataset:
    """Go on with a stored run where its last commit is, to the end of its span.

    Parameters
    ----------
    path : path
        A store made by ``hamjl.run(…, store=path)``.
    recipe : Recipe, optional
        Where given, the store must be of this recipe.
    progress : bool
    log : path, optional
        A file to which lines of JSON are appended.

    Returns
    -------
    xarray.Dataset
        As `open` returns it.

    Raises
    ------
    ProblemError
        If there is no such store, it is of another recipe, another process writes to it, or it cannot be written.
    """
    path = to_path(path, "the store")
    if recipe is not None and not isinstance(recipe, Recipe):
        raise ProblemError(f"recipe must be a hamjl.Recipe, got {shown(recipe)}: a store knows its own, give none.")
    record = _record(path)
    with _reading(path):
        stored = read_netcdf(path / RECIPE)
        own = Recipe.unpack(stored.attrs["recipe"], stored)
    if digest(stored.attrs["recipe"], stored) != record["recipe"]:
        raise ProblemError(f"a store's recipe must be the one it was begun with, got another in {shown(str(path))}.")
    if recipe is not None and digest(*recipe.pack()) != record["recipe"]:
        raise ProblemError(
            f"a store goes on with the recipe that began it, got another than that of {shown(str(path))}: name a new "
            "store."
        )
    with _locked(path):
        record = _record(path)
        if record["status"] in RESUMABLE:
            _Writer(path, own, record).run(progress, log)
        elif record["status"] != "success":
            warnings.warn(
                f"the run has ended at t = {record['reached']:g}: {record['message']}", RunWarning, stacklevel=2
            )
    return open_store(path)


def open_store(path: str | Path) -> xr.Dataset:
    """The committed part of a stored run as a lazy Dataset (dask), also while the run goes on.

    Variables kept every k-th sample only have the dimension ``time_k``.
    """
    zarr = _zarr()
    path = to_path(path, "the store")
    record = _record(path)  # first: all that it names is there
    with _reading(path):
        group = zarr.open_group(path, mode="r")
        stored = read_netcdf(path / RECIPE)
        recipe = Recipe.unpack(stored.attrs["recipe"], stored)
        variables = trajectory.describe(recipe.problem)
        layout = Layout(record["chunk"], dict(record["thin"]), tuple(record["float32"]))
        fields = {name: _lazy(group[name], path / name, record["length"]) for name in (*layout.grids, *variables)}
        times = {name: fields[name].load() for name in layout.grids}
        if not all(np.isfinite(time.values).all() for time in times.values()):
            raise ValueError("its times have gaps")
        labels = {
            name: (dim, np.array(given, dtype=np.str_))
            for name, (dim, given) in trajectory.coordinates(recipe.problem).items()
        }
        attrs = dict(group.attrs) | {name: record[name] for name in ("status", "message", "reached", "statistics")}
        if "solver" in (counts := json.loads(record["statistics"])):
            attrs["method"] = counts["solver"]
        ds = xr.Dataset({name: fields[name] for name in variables}, labels, attrs)
        return ds.assign_coords(times).merge(stored)


def _lazy(array: Any, folder: Path, length: int) -> xr.Variable:
    """The rows of a stored array that belong to the first `length` samples."""
    import dask.array

    dims = array.metadata.dimension_names
    rows = -(-length // _every(dims[0]))
    if array.shape[0] < rows:
        raise ValueError(f"{array.basename} is shorter than its record")
    if lost := next((file for file in _chunks(array, folder, 0, rows) if not os.path.exists(file)), None):
        raise ValueError(f"{lost} is gone")  # Zarr would take it for NaN
    if rows == 0:
        data: Any = np.zeros((0, *array.shape[1:]), array.dtype)
    else:
        native = np.empty(0, array.dtype.newbyteorder("="))  # '<f8' is it too, but netCDF4 warns of every such array
        data = dask.array.from_array(array, chunks=array.chunks, meta=native)[:rows]
    return xr.Variable(dims, data, dict(array.attrs))


def _chunks(array: Any, folder: Path, first: int, last: int) -> Iterator[str]:
    """The files that hold some rows of a stored array."""
    inner = "/0" * (array.ndim - 1)
    for k in range(first // array.chunks[0], -(-last // array.chunks[0])):
        yield f"{folder}/c/{k}{inner}"


class _Writer:
    """A stored run under way."""

    def __init__(self, path: Path, recipe: Recipe, record: dict[str, Any]) -> None:
        self.path, self.recipe, self.record = path, recipe, record
        self.layout = Layout(record["chunk"], dict(record["thin"]), tuple(record["float32"]))
        self.lowered: Lowered = lower_run(recipe.problem, recipe.law, recipe.method)
        self.samples = _samples(recipe)
        self.engine = select(record["engine"], self.lowered.method.name)
        self.variables = trajectory.describe(recipe.problem)

    def run(self, progress: bool, log: str | Path | None) -> None:
        """Integrate chunk after chunk."""
        self._truncate()
        run = self.engine.start(self.lowered, self.record["state"])
        size, chunk, end = len(self.samples), self.layout.chunk, self.lowered.span[1]
        first, status, committing = self.record["length"], "running", None
        with (
            reporting(self.lowered.span, progress, log) as report,
            stoppable() as asked,
            ThreadPoolExecutor(1) as behind,  # a chunk is written while the next one is integrated
            ThreadPoolExecutor(16) as self.pool,
        ):
            while status == "running":
                last = min((first // chunk + 1) * chunk, size)
                times, save = self.samples[first:last]
                run.aim(end if last == size and not len(save) else float(times[-1]), times, save)
                more, due = True, time.monotonic() + PATIENCE
                while more and not asked():
                    more = run.advance(running.SECONDS)
                    report(run.reached, lambda times=times: self._loss(times, run.result()))  # type: ignore[misc]
                    if time.monotonic() > due:
                        break
                result = run.result()
                if more and asked():
                    result = running.interrupted(result)
                status = "running" if result.status == "success" and last < size else result.status
                if status == "no_fixed_point" and first == 0 and not len(result.states):
                    raise ProblemError(
                        f"{result.message}, got none at the start: use CostateReversal with a finite velocity."
                    )
                result = replace(result, status=status, message=STATUS.get(status, ""))
                if committing is not None:
                    committing.result()
                committing = behind.submit(self._commit, first, times[: len(result.states)], result, run.export())
                first += len(result.states)
            if committing is not None:
                committing.result()
            report.write(run.reached, None, status=status)
        if self.record["gaps"]:
            warnings.warn(self.record["gaps"], RunWarning, stacklevel=4)
        if status != "success":
            stopped = f"stopped at t = {result.reached:g}: {result.message}"
            hint = f"; resume {str(self.path)!r} to go on" if status in RESUMABLE else ""
            warnings.warn(stopped + hint, RunWarning, stacklevel=4)

    def _loss(self, times: Floats, result: Result) -> float | None:
        """The loss at the sample taken last."""
        if not len(result.states):
            return None
        last = replace(result, states=result.states[-1:], signs=result.signs[-1:])
        row = len(result.states) - 1
        values = trajectory.derive(self.recipe.problem, self.lowered, times[row : row + 1], last)
        return float(values["loss" if "loss" in values else "lagrangian"][0])

    def _truncate(self) -> None:
        """Forget what was written after the last commit."""
        open_store(self.path)  # refuses one that is not whole
        try:
            for leftover in self.path.rglob("*.partial"):
                leftover.unlink(missing_ok=True)
            zarr = _zarr()
            with zarr.config.set({"array.write_empty_chunks": True}):  # that a chunk is gone then says something
                group = zarr.open_group(self.path, mode="r+")
                self.arrays = {name: group[name] for name in (*self.variables, *self.layout.grids)}
            self._resize(self.record["length"])
        except OSError as error:
            raise self._lost(error) from None

    def _resize(self, length: int) -> None:
        """Make room for so many samples; what is beyond is deleted."""
        self.room = length
        for array in self.arrays.values():
            rows = -(-length // _every(array.metadata.dimension_names[0]))
            if array.shape[0] != rows:
                array.resize((rows, *array.shape[1:]))

    def _commit(self, first: int, times: Floats, result: Result, state: dict[str, Any]) -> None:
        """Write rows, wait until they are on the disk, then replace the record."""
        last = first + len(times)
        values = trajectory.derive(self.recipe.problem, self.lowered, times, result)
        try:
            if not (self.path / RECORD).is_file():  # else Zarr would make the folders anew
                raise FileNotFoundError(2, "it is gone")
            if last > self.room or result.status != "running":
                self._resize(last if result.status != "running" else min(2 * last, len(self.samples)))
            written: list[Path] = []
            for name, array in self.arrays.items():
                rows, place = _kept(array.metadata.dimension_names[0], first, last)
                if place.stop > place.start:
                    array[place] = values.get(name, times)[rows]
                    written += self._files(name, place)
            list(self.pool.map(sync, written))  # at once: the disk gathers them
            gaps = self.record["gaps"] or trajectory.gaps(values, times)
            record = self.record | {
                **{"length": last, "reached": float(result.reached), "status": result.status},
                **{"message": "; ".join(filter(None, (result.message, gaps))), "gaps": gaps},
                **{"statistics": json.dumps(result.statistics), "state": state},
                "time": float(times[-1]) if len(times) else self.record["time"],
            }
            write_record(self.path / RECORD, record)
            self.record = record
        except OSError as error:
            raise self._lost(error) from None

    def _files(self, name: str, place: slice) -> list[Path]:
        """The files that hold some rows, and the folders that name them."""
        array, folder = self.arrays[name], self.path / name
        files = [folder / "zarr.json", folder / "c"]
        for chunk in map(Path, _chunks(array, folder, place.start, place.stop)):
            files += [chunk, chunk.parent]
        return list(dict.fromkeys(files))

    def _lost(self, error: Exception) -> ProblemError:
        return ProblemError(
            f"the store must be writable to the end, got {shown(str(self.path))} ({reason(error)}): what was committed "
            f"up to t = {self.record['time']:g} stays; make it writable and resume it."
        )


def _samples(recipe: Recipe) -> Any:
    return samples(recipe.problem, recipe.law, recipe.method, recipe.times)


def _layout(chunk: Any, thin: Any, float32: Any, variables: Any, width: int, size: int) -> Layout:
    table = {name: count(k, f"thin {name!r}", least=1) for name, k in mapping(thin or {}, "thin").items()}
    if isinstance(float32, str) or not isinstance(float32, bool | Sequence):
        raise ProblemError(f"float32 must be True, False or a list of variables, got {shown(float32)}: list them.")
    single = tuple(variables) if float32 is True else tuple(float32 or ())
    for name in (*table, *single):
        choice(name, variables, "A variable to be stored")
    table = {name: k for name, k in table.items() if k > 1}
    least, most = math.lcm(*table.values()), max(1, BYTES // (16 * max(width, 1)))
    if least > most:
        raise ProblemError(
            f"thin factors must have a common multiple of {most} at most, got {table}: chunks are multiples of it."
        )
    if chunk is None:
        chunk = max(1, min(most, -(-size // PARTS)))
    chunk = min(count(chunk, "chunk", least=1), max(size, 1))
    return Layout(-(-chunk // least) * least, table, single)


def _record(path: Path) -> dict[str, Any]:
    """The commit record, whole."""
    try:
        record = read_record(path / RECORD)
        if record["format"] != 1:
            raise ValueError("of another version")
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ProblemError(f"a store of hamjl's must be there, got {shown(str(path))} ({reason(error)}).") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever the readers of a damaged store raise into one sentence."""
    try:
        yield
    except HamjlError:
        raise
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise ProblemError(f"the store must be whole, got {shown(str(path))} ({reason(error)}).") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process writes to a store; the lock ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        with (path / LOCK).open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise ProblemError(
                    f"one process writes to a store, got {shown(str(path))} which another one writes to: wait for it."
                ) from None
            yield
    except OSError as error:
        raise ProblemError(f"the store must be writable, got {shown(str(path))} ({reason(error)}).") from None


def _zarr() -> Any:
    try:
        import dask.array  # noqa: F401
        import zarr
    except ImportError:
        raise EngineError("a store needs zarr and dask: install them with 'pip install \"hamjl[store]\"'.") from None
    return zarr
