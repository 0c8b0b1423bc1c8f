"""Files that are written whole or not at all: NetCDF files, and records of numbers, texts, arrays and tables."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hamjl.checks import to_path
from hamjl.errors import ProblemError, shown

CHECK = "sha256"  # of the rest of a record
ATTRIBUTES = ("recipe", "law", "method", "engine", "status", "message")  # what hamjl's own files carry


def check_writable(path: str | Path) -> Path:
    """Return where a file can be written, symbolic links followed, or say why it cannot, before any work is done."""
    given, path = str(path), to_path(path, "the output")
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise ProblemError(f"the output must be a regular file, got {shown(given)}: name another one.")
        if not path.parent.is_dir():
            raise ProblemError(f"the output's folder must exist, got {shown(str(path.parent))}: create it first.")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ProblemError(f"the output must be writable, got {shown(given)}: change its permissions or the path.")
    except ProblemError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise ProblemError(f"the output must be a writable file, got {shown(given)} ({reason(error)}).") from None
    return path


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then put it in place in one move."""
    given, path = Path(path), check_writable(path)
    part = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".hamjl-", suffix=path.suffix)
        os.close(handle)
        part = Path(name)
        write(part)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    except OSError as error:
        raise ProblemError(f"the output must be writable, got {shown(str(given))} ({reason(error)}).") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return given


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Put a record in place of the one before in one move, after it has reached the disk; OSError where that fails."""
    part, table = path.with_name(f".{path.name}.part"), _encode(record)
    try:
        with part.open("w", encoding="utf-8") as file:
            json.dump(table | {CHECK: _checksum(table)}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync(path.parent)


def read_record(path: Path) -> dict[str, Any]:
    """Read a record; OSError or ValueError where there is none, or it is not as it was written."""
    text = path.read_text(encoding="utf-8")
    table = json.loads(text)
    if not isinstance(table, dict) or table.pop(CHECK, None) != _checksum(table):
        raise ValueError("it is damaged")
    record: dict[str, Any] = json.loads(text, object_hook=_decode)
    del record[CHECK]
    return record


def sync(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _checksum(table: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()


def _encode(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return {key: _encode(value) for key, value in tree.items()}
    if isinstance(tree, np.ndarray):
        tree = np.ascontiguousarray(tree)
        text = base64.b64encode(tree.tobytes()).decode("ascii")
        return {"$array": text, "dtype": tree.dtype.str, "shape": list(tree.shape)}
    return tree.item() if isinstance(tree, np.generic) else tree


def _decode(table: dict[str, Any]) -> Any:
    if "$array" not in table:
        return table
    return np.frombuffer(base64.b64decode(table["$array"]), table["dtype"]).reshape(table["shape"]).copy()


def reason(error: Exception) -> str:
    """The gist of what a library raised."""
    return getattr(error, "strerror", None) or (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def save(trajectory: xr.Dataset, path: str | Path) -> Path:
    """Write a trajectory to a NetCDF file."""
    return write_whole(path, trajectory.to_netcdf)


def load(path: str | Path) -> xr.Dataset:
    """Read a trajectory from a NetCDF file into memory."""
    trajectory = read_netcdf(path)
    missing = [name for name in ATTRIBUTES if name not in {*trajectory.attrs, *trajectory.coords}]
    if missing or "time" not in trajectory.dims:
        lacks = ", ".join(missing) or "dimension time"
        raise ProblemError(f"the file must hold a trajectory, got {shown(str(path))} without {lacks}: is it hamjl's?")
    return trajectory


def read_netcdf(path: str | Path) -> xr.Dataset:
    """Read any NetCDF file into memory, times as the numbers they are."""
    path = to_path(path, "the file")
    if not path.is_file():
        raise ProblemError(f"the NetCDF file must exist, got {shown(str(path))}: check the name.")
    try:
        return xr.load_dataset(path, decode_times=False)
    except Exception as error:  # whatever the readers of foreign files raise
        why = reason(error) if isinstance(error, OSError) else "another format"
        raise ProblemError(f"the file must be readable NetCDF, got {shown(str(path))} ({why}).") from None
