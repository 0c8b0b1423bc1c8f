"""Runs that outlive the process: a trajectory in a Zarr store that grows by whole chunks, and goes on where it was.

In the folder are the trajectory's arrays (Zarr format 3), and under ``run/`` the recipe and the commit record. Chunks
are written first, then the record is replaced in one move; what it does not name yet does not count. It holds the
number of samples, the time, the complete state of the integrator and the recipe's hash.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hamjl import schema, trajectory
from hamjl.checks import choice, count, mapping, to_path
from hamjl.engines import select
from hamjl.engines.running import move
from hamjl.errors import EngineError, HamjlError, ProblemError, shown, warn
from hamjl.files import beside, lock, read_record, sync, write_record
from hamjl.foreign import read_netcdf, read_text, reason
from hamjl.laws import BoundaryValue
from hamjl.layout import Layout, Rows, Stored, check_metadata, check_size, chunks_of, every, files_of, lazy
from hamjl.lowered import STATUS, Goal, Lowered, Result
from hamjl.lowering import goal, lower, samples
from hamjl.plain import digest
from hamjl.progress import reporting, stoppable
from hamjl.recipe import Recipe

BYTES = 4 * 2**20  # of a chunk, where the user names no size
PARTS = 20  # into which a short run is cut at least, so that little is lost
PATIENCE = 30.0  # seconds between commits at most, full chunk or not
RESUMABLE = ("running", "interrupted")
RECORD, RECIPE, LOCK = "run/commit.json", "run/recipe.json", "run/lock"
LEFTOVER = re.compile(r"(\w+/)?(c/)?([0-9]+/)*([0-9]+|zarr)\.[0-9a-f]{32}\.partial")  # of Zarr's, by a killed process
COMMIT = {
    **{"format": schema.one_of(1, 2), "recipe": schema.text, "attributes?": schema.text, "engine": schema.text},
    **{"chunk": schema.whole(1), "thin": schema.table(schema.whole(2)), "float32": schema.listed(schema.text)},
    **{"length": schema.whole(), "time": schema.real, "reached": schema.real},
    **{"status": schema.one_of("running", *STATUS), "message": schema.text, "gaps": schema.text},
    **{"statistics": schema.text, "state": schema.maybe(schema.table())},
}


def _kept(dim: str, first: int, last: int) -> tuple[slice, slice]:
    """Of the samples first:last, those on a dimension in time, and where they go."""
    k = every(dim)
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
    _zarr()
    path = to_path(path, "the store")
    if isinstance(recipe.law, BoundaryValue):
        raise ProblemError("a stored run goes forward in time, got BoundaryValue, which needs all of it: use no store.")
    if os.path.lexists(path):
        raise ProblemError(f"a new store must not exist yet, got {shown(str(path))}: resume it, or name another one.")
    if not path.parent.is_dir():
        raise ProblemError(f"the store's folder must exist, got {shown(str(path.parent))}: create it first.")
    lowered, size = lower(recipe.problem, recipe.law, recipe.method), len(_samples(recipe))
    engine = select(recipe.engine, lowered.method.name)
    layout = _layout(chunk, thin, float32, trajectory.describe(recipe.problem), len(lowered.initial), size)
    attributes = trajectory.attributes(recipe, lowered, engine.name)
    record = {
        **{"format": 2, "recipe": digest(recipe.packed), "engine": engine.name, "attributes": digest(attributes)},
        **{"chunk": layout.chunk, "thin": layout.thin, "float32": list(layout.single)},
        **{"length": 0, "time": lowered.span[0], "reached": lowered.span[0], "status": "running"},
        **{"message": "", "gaps": "", "statistics": "{}", "state": None},
    }
    try:
        with beside(path) as folder:
            part = folder / "store"
            _write_arrays(part, recipe, layout, attributes)
            (part / RECIPE).write_text(recipe.packed, encoding="utf-8")
            write_record(part / RECORD, record)
            for file in part.rglob("*"):
                sync(file)
            part.rename(path)
        sync(path.parent)
    except OSError as error:
        raise ProblemError(f"the store must be writable, got {shown(str(path))} ({reason(error)}).") from None


def _write_arrays(path: Path, recipe: Recipe, layout: Layout, attributes: dict[str, Any]) -> None:
    """Labels, and arrays in time without rows."""
    zarr = _zarr()
    group = zarr.open_group(path, mode="w", zarr_format=3)
    group.attrs.update(attributes)
    for name, (dim, given) in recipe.problem.labels.items():
        label = group.create_array(name, shape=(len(given),), dtype="string", dimension_names=(dim,))
        label[:] = np.array(given, dtype=object)
    for name, array in _arrays(recipe, layout).items():
        group.create_array(
            name, shape=(0, *array.chunk[1:]), chunks=array.chunk, dtype=array.dtype, dimension_names=array.dims,
            attributes=array.attributes, fill_value=math.nan,
            compressors=[zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()],
        )  # fmt: skip
    group.create_group("run")


def _arrays(recipe: Recipe, layout: Layout) -> dict[str, Stored]:
    """What the arrays in time of a run look like."""
    sizes = {dim: len(given) for dim, given in recipe.problem.labels.values()}
    return layout.arrays(trajectory.describe(recipe.problem), sizes)


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
    if recipe is not None and not isinstance(recipe, Recipe):
        raise ProblemError(f"recipe must be a hamjl.Recipe, got {shown(recipe)}: a store knows its own, give none.")
    found = _find(path)
    if recipe is not None and recipe != found.recipe:
        raise ProblemError(
            f"a store goes on with the recipe that began it, got another than that of {shown(str(found.path))}: name a "
            "new store."
        )
    with _locked(found.path):
        found = _find(found.path)
        if found.record["status"] in RESUMABLE:
            _Writer(found).run(progress, log)
        elif found.record["status"] != "success":
            warn(f"the run has ended at t = {found.record['reached']:g}: {found.record['message']}")
    return open_store(found.path)


def open_store(path: str | Path) -> xr.Dataset:
    """The committed part of a stored run as a lazy Dataset (dask), also while the run goes on.

    Variables kept every k-th sample only have the dimension ``time_k``. Reading a chunk that is damaged or gone is a
    ProblemError.
    """
    found = _find(path)
    record, problem = found.record, found.recipe.problem
    with _reading(found.path):
        fields = {name: found.field(name) for name in trajectory.describe(problem)}
        labels = {name: (dim, np.array(given, dtype=np.str_)) for name, (dim, given) in problem.labels.items()}
        attrs = found.attributes | {name: record[name] for name in ("status", "message", "reached", "statistics")}
        if "solver" in (counts := json.loads(record["statistics"])):
            attrs["method"] = counts["solver"]
        ds = xr.Dataset(fields, labels, attrs)
        return ds.assign_coords({**found.times, "recipe": trajectory.carried(found.recipe.packed)})


@dataclass(frozen=True)
class _Found:
    """A store whose files are what they seem: its record, recipe, attributes and arrays."""

    path: Path
    record: dict[str, Any]
    files: set[str]
    recipe: Recipe
    layout: Layout
    arrays: dict[str, Stored]
    attributes: dict[str, Any]
    group: Any

    def field(self, name: str) -> xr.Variable:
        """The committed rows of a variable, lazy."""
        return lazy(self.group[name], self.path / name, self.arrays[name], self.record["length"])

    @cached_property
    def times(self) -> dict[str, xr.Variable]:
        """The times of samples; ValueError where they are not those of the record."""
        times = {name: self.field(name).load() for name in self.layout.grids}
        if not all(np.isfinite(time.values).all() for time in times.values()):
            raise ValueError("its times have gaps")
        if self.record["length"] and times["time"].values[-1] != self.record["time"]:
            raise ValueError("its times are others than its record says")
        return times


def _find(path: str | Path) -> _Found:
    """Look at all of a store before any of it is used; ProblemError where it is none, or is not whole."""
    zarr = _zarr()
    path = to_path(path, "the store").resolve()  # as it is now: the working folder may change
    record = _record(path)  # first: all that it names is there
    with _reading(path):
        files = files_of(path)
        recipe = _recipe(path, record)
        layout = Layout(record["chunk"], dict(record["thin"]), tuple(record["float32"]))
        arrays = _arrays(recipe, layout)
        check_size(layout.chunk, max(math.prod(array.chunk[1:]) for array in arrays.values()))
        check_metadata(path, files, arrays, record["length"])
        group = zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)
        attributes = dict(group.attrs)
        if record.get("attributes") not in (None, digest(attributes)):
            raise ValueError("its attributes are others than those it was begun with")
        attributes.pop("recipe", None)
        found = _Found(path, record, files, recipe, layout, arrays, attributes, group)
        assert found.times  # read and looked at
        return found


def _recipe(path: Path, record: dict[str, Any]) -> Recipe:
    """What a store is a run of."""
    if record["format"] == 1:  # of hamjl's first stores
        return Recipe.of(read_netcdf((path / RECIPE).with_suffix(".nc")))
    text = read_text(path / RECIPE)
    if digest(text) != record["recipe"]:
        raise ValueError("its recipe is another than the one it was begun with")
    return Recipe.unpack(text)


class _Writer:
    """A stored run under way."""

    def __init__(self, found: _Found) -> None:
        self.path, self.recipe, self.record, self.found = found.path, found.recipe, found.record, found
        self.layout = found.layout
        self.lowered: Lowered = lower(self.recipe.problem, self.recipe.law, self.recipe.method)
        self.samples = _samples(self.recipe)
        self.engine = select(self.record["engine"], self.lowered.method.name)

    def run(self, progress: bool, log: str | Path | None) -> None:
        """Integrate chunk after chunk."""
        with _reading(self.path):
            run = self.engine.start(self.lowered, self.record["state"])
            if run.reached != self.record["reached"] or self.record["length"] > len(self.samples):
                raise ValueError("its state is another than its record says")
        self._truncate()
        size, chunk = len(self.samples), self.layout.chunk
        problem, method = self.recipe.problem, self.recipe.method
        first, status, committing = self.record["length"], "running", None
        with (
            reporting(self.lowered.span, progress, log) as report,
            stoppable() as asked,
            ThreadPoolExecutor(1) as behind,  # a chunk is written while the next one is integrated
            ThreadPoolExecutor(16) as self.pool,
        ):
            while status == "running":
                last = min((first // chunk + 1) * chunk, size)
                rows = self.samples[first:last]
                part = goal(problem, method, rows) if last == size else Goal(float(rows[0][-1]), *rows)
                result = move(run, part, lambda t: report(t, lambda: self._loss(run.result())), asked, PATIENCE)
                status = "running" if result.status == "success" and last < size else result.status
                if status == "no_fixed_point" and first == 0 and not len(result.states):
                    raise ProblemError(
                        f"{result.message}, got none at the start: use CostateReversal with a finite velocity."
                    )
                result = replace(result, status=status, message=STATUS.get(status, ""))
                if committing is not None:
                    committing.result()
                committing = behind.submit(self._commit, first, result, run.export())
                first += len(result.states)
            if committing is not None:
                committing.result()
            report.write(run.reached, None, status=status)
        if self.record["gaps"]:
            warn(self.record["gaps"])
        if status != "success":
            stopped = f"stopped at t = {result.reached:g}: {result.message}"
            hint = f"; resume {str(self.path)!r} to go on" if status in RESUMABLE else ""
            warn(stopped + hint)

    def _loss(self, result: Result) -> float | None:
        """The loss at the sample taken last."""
        if not len(result.states):
            return None
        last = replace(result, times=result.times[-1:], states=result.states[-1:], signs=result.signs[-1:])
        values = trajectory.derive(self.lowered, last)
        return float(values["loss" if "loss" in values else "lagrangian"][0])

    def _truncate(self) -> None:
        """Forget what was written after the last commit."""
        try:
            for file in filter(LEFTOVER.fullmatch, self.found.files):
                (self.path / file).unlink(missing_ok=True)
            zarr = _zarr()
            with zarr.config.set({"array.write_empty_chunks": True}):  # that a chunk is gone then says something
                group = zarr.open_group(self.path, mode="r+", zarr_format=3, use_consolidated=False)
                self.arrays = {name: group[name] for name in self.found.arrays}
            self._resize(self.record["length"])
            for name, array in self.arrays.items():  # the chunk that is gone on with, if it is not full
                Rows(array, self.path / name)[max(array.shape[0] - 1, 0) :]
        except OSError as error:
            raise self._lost(error) from None

    def _resize(self, length: int) -> None:
        """Make room for so many samples; what is beyond is deleted."""
        self.room = length
        for array in self.arrays.values():
            rows = -(-length // every(array.metadata.dimension_names[0]))
            if array.shape[0] != rows:
                array.resize((rows, *array.shape[1:]))

    def _commit(self, first: int, result: Result, state: dict[str, Any]) -> None:
        """Write rows, wait until they are on the disk, then replace the record."""
        times = result.times
        last = first + len(times)
        values = trajectory.derive(self.lowered, result)
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
        for chunk in map(Path, chunks_of(folder, array.chunks, place.start, place.stop)):
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
    chunk = -(-chunk // least) * least
    check_size(chunk, width)
    return Layout(chunk, table, single)


def _record(path: Path) -> dict[str, Any]:
    """The commit record, whole."""
    try:
        record = read_record(path / RECORD, COMMIT)
        if record["state"] is None and record["length"] > 0:
            raise ValueError("it has samples and no state")
        counts = json.loads(record["statistics"])
        if not schema.table()(counts) or not schema.text(counts.get("solver", "")):
            raise ValueError("its statistics are no table")
        return record
    except (OSError, ValueError) as error:
        raise ProblemError(f"a store of hamjl's must be there, got {shown(str(path))} ({reason(error)}).") from None


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever the readers of a damaged store raise into one sentence."""
    try:
        yield
    except HamjlError:
        raise
    except Exception as error:
        raise ProblemError(f"the store must be whole, got {shown(str(path))} ({reason(error)}).") from None


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process writes to a store; the lock ends with the process, however it ends."""
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # neither on Windows
    try:
        handle = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | careful, 0o666)
        with os.fdopen(handle, "r+"):
            try:
                lock(handle)
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
