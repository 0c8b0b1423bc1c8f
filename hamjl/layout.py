"""The folder of a stored run: which arrays are in it, in which files, and that it holds nothing else that acts."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hamjl import schema
from hamjl.errors import ProblemError
from hamjl.files import PART
from hamjl.foreign import LARGEST, read_text, reason
from hamjl.schema import check, listed, one_of, table, text, whole
from hamjl.trajectory import TIME, Description

CODECS = (  # of numbers and of texts: what hamjl writes now, and what it wrote before chunks had a checksum
    ("bytes", "zstd", "crc32c"),
    ("bytes", "zstd"),
    ("vlen-utf8", "zstd"),
)
_CONFIGURATIONS = {
    "bytes": {"endian": one_of("little")},
    "vlen-utf8": {},
    "zstd": {"level": whole(-(2**17), 22), "checksum?": schema.flag},
    "crc32c": {},
}


def _codecs(value: Any) -> bool:
    steps = value if listed(table())(value) else []
    if tuple(step.get("name") for step in steps) not in CODECS:
        return False
    for step in steps:
        check(step, {"name": text, "configuration?": table()})
        check(step.get("configuration", {}), _CONFIGURATIONS[step["name"]], step["name"])
    return True


ARRAY: schema.Schema = {
    "node_type": one_of("array"),
    "zarr_format": one_of(3),
    "shape": listed(whole()),
    "data_type": one_of("float64", "float32", "string"),
    "chunk_grid": {"name": one_of("regular"), "configuration": {"chunk_shape": listed(whole(1))}},
    "chunk_key_encoding": {"name": one_of("default"), "configuration": {"separator": one_of("/")}},
    "fill_value": one_of("NaN", ""),
    "codecs": _codecs,
    "attributes?": table(),
    "dimension_names": listed(text),
    "storage_transformers?": lambda value: value == [],
}
GROUP: schema.Schema = {
    "node_type": one_of("group"),
    "zarr_format": one_of(3),
    "attributes?": table(),
    "consolidated_metadata?": schema.maybe(table()),
}


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

    def arrays(self, variables: Description, sizes: dict[str, int]) -> dict[str, Stored]:
        """What the arrays in time look like, by name."""
        found = {name: Stored((name,), (self.chunk // every(name),), "float64", TIME) for name in self.grids}
        for name, (dims, long_name, units) in variables.items():
            dim, dtype = self.dimension(name), "float32" if name in self.single else "float64"
            chunk = (self.chunk // every(dim), *(sizes[dim] for dim in dims))
            found[name] = Stored((dim, *dims), chunk, dtype, {"long_name": long_name, "units": units})
        return found


@dataclass(frozen=True)
class Stored:
    """Dimensions, shape of a chunk, data type and attributes of an array in time."""

    dims: tuple[str, ...]
    chunk: tuple[int, ...]
    dtype: str
    attributes: dict[str, str]

    def check(self, metadata: dict[str, Any], rows: int) -> None:
        """ValueError where metadata of Zarr say something else, or of fewer rows."""
        wanted = (list(self.dims), list(self.chunk), self.dtype, list(self.chunk[1:]))
        shape, grid = metadata["shape"], metadata["chunk_grid"]["configuration"]["chunk_shape"]
        if (metadata["dimension_names"], grid, metadata["data_type"], shape[1:]) != wanted or shape[0] < rows:
            raise ValueError(f"the array along {', '.join(self.dims)} is another than its record says, or shorter")


def every(dim: str) -> int:
    """Every how many samples a dimension in time has one."""
    return 1 if dim == "time" else int(dim.removeprefix("time_"))


def files_of(path: Path) -> set[str]:
    """The files in a store, by their paths in it; ValueError where there is anything but files and folders.

    What unfinished parts of a record or of a chunk there are comes and goes while the run goes on.
    """
    found, folders = set(), [str(path)]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith(PART):
                            folders.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        found.add(os.path.relpath(entry.path, path))
                    elif not entry.name.startswith(PART):
                        raise ValueError(f"{entry.path} is a link or no regular file")
        except FileNotFoundError:
            continue
    return found


def check_metadata(path: Path, files: set[str], arrays: dict[str, Stored], length: int) -> None:
    """ValueError where any array in the store is not of hamjl's kind, or one in time is not as its record says."""
    found = {Path(file).parent.as_posix(): json.loads(read_text(path / file)) for file in files if _is_metadata(file)}
    for name, metadata in found.items():
        _check_node(name, metadata)
    for name, expected in arrays.items():
        if name not in found or found[name]["node_type"] != "array":
            raise ValueError(f"{name} is gone")
        rows = -(-length // every(expected.dims[0]))
        expected.check(found[name], rows)
        lost = (file for file in chunks_of(name, expected.chunk, 0, rows) if os.path.normpath(file) not in files)
        if (file := next(lost, None)) is not None:
            raise ValueError(f"{file} is gone")  # Zarr would take it for NaN


def _is_metadata(file: str) -> bool:
    return os.path.basename(file) in ("zarr.json", ".zarray", ".zgroup")


def _check_node(name: str, metadata: Any) -> None:
    kind = metadata.get("node_type") if isinstance(metadata, dict) else None
    check(metadata, ARRAY if kind == "array" else GROUP, f"{name}/zarr.json")
    nodes = (metadata.get("consolidated_metadata") or {}).get("metadata", {})
    for inner, node in nodes.items() if isinstance(nodes, dict) else ():
        _check_node(f"{name}/{inner}", node)


def chunks_of(name: str | Path, chunk: tuple[int, ...], first: int, last: int) -> Iterator[str]:
    """The files that hold some rows of an array in time."""
    inner = "/0" * (len(chunk) - 1)
    for k in range(first // chunk[0], -(-last // chunk[0])):
        yield f"{name}/c/{k}{inner}"


@dataclass(frozen=True)
class Rows:
    """A stored array as dask reads it: its chunks must be there, and as they were written, when they are read."""

    array: Any
    folder: Path

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def dtype(self) -> Any:
        return self.array.dtype

    @property
    def ndim(self) -> int:
        return self.array.ndim

    def __getitem__(self, key: Any) -> Any:
        rows = key[0] if isinstance(key, tuple) else key
        if isinstance(rows, slice):
            first, last, _ = rows.indices(self.shape[0])
        else:  # dask hands on whole numbers and lists as they are
            first, last = int(np.min(rows)), int(np.max(rows)) + 1
        files = list(chunks_of(self.folder, self.array.chunks, first, last))
        try:
            for file in files:
                os.stat(file)  # Zarr would take it for NaN
            return self.array[key]
        except Exception as error:  # whatever a damaged chunk leads to
            which = f"{files[0]} to {files[-1]}" if len(files) > 1 else "".join(files)
            raise ProblemError(
                f"chunks of a store must be there as they were written, got {which} ({reason(error)}): bring it back "
                "from a copy, or where the store was moved open it there."
            ) from None


def lazy(array: Any, folder: Path, stored: Stored, length: int) -> xr.Variable:
    """The rows of a stored array that belong to the first `length` samples."""
    import dask.array

    rows = -(-length // every(stored.dims[0]))
    if rows == 0:
        data: Any = np.zeros((0, *array.shape[1:]), array.dtype)
    else:
        native = np.empty(0, array.dtype.newbyteorder("="))  # '<f8' is it too, but netCDF4 warns of every such array
        whole = dask.array.from_array(Rows(array, folder), array.chunks, name=False, fancy=False, meta=native)
        data = whole[:rows]
    return xr.Variable(stored.dims, data, stored.attributes)


def check_size(chunk: int, width: int) -> None:
    """Refuse chunks that would not fit into the memory that reading one may take."""
    if 8 * chunk * max(width, 1) > LARGEST:
        raise ProblemError(
            f"a chunk of a store must take {LARGEST:.2g} bytes at most, got {8 * chunk * width:.2g}: give a smaller "
            "chunk."
        )
