"""Files that are written whole or not at all: NetCDF files, and records of numbers, texts, arrays and tables."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import xarray as xr

from hamjl.checks import to_path
from hamjl.errors import HamjlError, ProblemError, shown
from hamjl.foreign import NETCDF, read_netcdf, read_text, reason
from hamjl.plain import decoded, digest, encode
from hamjl.schema import Schema, check

PART = ".hamjl-"  # how the names of unfinished parts begin
STALE = 60.0  # seconds after which a part that nobody holds has been left behind
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


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A new folder of our own in the folder of `path`, for what is to be moved there when it is whole.

    Nobody else can have put a link into it. It is gone at the end; one that a killed process left goes with the next.
    """
    _tidy(path.parent.absolute())
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=PART))
    handle = _hold(folder)
    try:
        yield folder
    finally:
        if handle is not None:
            os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)


@lru_cache(maxsize=64)  # once for a process
def _tidy(parent: Path) -> None:
    """Delete the parts that killed processes have left in a folder."""
    with suppress(OSError):
        for part in parent.glob(f"{PART}*"):
            if time.time() - part.lstat().st_mtime > STALE and (handle := _hold(part)) is not None:
                shutil.rmtree(part, ignore_errors=True)
                os.close(handle)


def _hold(folder: Path) -> int | None:
    """A handle that holds a folder for this process until it is closed, or the process ends; None where it cannot."""
    only = getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)  # neither on Windows
    try:
        handle = os.open(folder, os.O_RDONLY | only)
    except OSError:  # any folder on Windows; a file or link of that name
        return None
    try:
        lock(handle)
    except OSError:  # another process holds it; a file system without locks
        os.close(handle)
        return None
    return handle


def lock(handle: int) -> None:
    """Lock an open file for this process until it is closed, or the process ends; OSError where it cannot, at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a file in a folder of its own beside `path`, then put it in place in one move."""
    given, path = Path(path), check_writable(path)
    try:
        with beside(path) as folder:
            part = folder / f"part{path.suffix}"
            write(part)
            part.replace(path)
    except (OSError, RuntimeError) as error:  # the NetCDF library's on a full disk
        if isinstance(error, HamjlError):
            raise
        raise ProblemError(f"the output must be writable, got {shown(str(given))} ({reason(error)}).") from None
    return given


def write_netcdf(dataset: xr.Dataset, path: Path) -> None:
    """Write a NetCDF file; no other thread of hamjl's reads or writes one meanwhile."""
    with NETCDF:
        dataset.to_netcdf(path, engine="netcdf4")


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Put a record in place of the one before in one move, after it has reached the disk; OSError where that fails."""
    table = encode(record)
    with beside(path) as folder:
        part = folder / "part"
        with part.open("x", encoding="utf-8") as file:
            json.dump(table | {CHECK: digest(table)}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    sync(path.parent)


def read_record(path: Path, schema: Schema) -> dict[str, Any]:
    """Read a record; OSError or ValueError where there is none, it is not as it was written, or of another schema."""
    text = read_text(path)
    try:
        table = json.loads(text)
        if not isinstance(table, dict) or table.pop(CHECK, None) != digest(table):
            raise ValueError("it is damaged")
        record: dict[str, Any] = json.loads(text, object_hook=decoded)
    except (KeyError, TypeError, RecursionError):
        raise ValueError("it is damaged") from None
    del record[CHECK]
    check(record, schema)
    return record


def sync(path: Path) -> None:
    """Wait until a file or folder has reached the disk."""
    if os.name == "nt" and path.is_dir():
        return  # folders cannot be opened there
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # Windows waits for what may be written only
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def save(trajectory: xr.Dataset, path: str | Path) -> Path:
    """Write a trajectory to a NetCDF file; where that fails, e.g. on a full disk, to another folder, and say where."""
    try:
        return write_whole(path, lambda part: write_netcdf(trajectory, part))
    except ProblemError as error:
        if (kept := _set_aside(trajectory, Path(path))) is None:
            raise
        raise ProblemError(f"{str(error).removesuffix('.')}: the result is kept in {shown(str(kept))}.") from None


def _set_aside(trajectory: xr.Dataset, path: Path) -> Path | None:
    """Where there was room for a trajectory, if anywhere."""
    for folder in (tempfile.gettempdir(), Path.cwd(), Path.home()):
        with suppress(OSError, RuntimeError):
            kept = Path(tempfile.mkdtemp(dir=folder, prefix="hamjl-")) / f"{path.stem}.nc"
            try:
                write_netcdf(trajectory, kept)
            except BaseException:
                shutil.rmtree(kept.parent, ignore_errors=True)
                raise
            return kept
    return None


def load(path: str | Path) -> xr.Dataset:
    """Read a trajectory from a NetCDF file into memory."""
    trajectory = read_netcdf(path)
    missing = [name for name in ATTRIBUTES if not isinstance(trajectory.attrs.get(name), str)]
    if "recipe" in trajectory.coords:
        missing.remove("recipe")
    if missing or "time" not in trajectory.dims:
        lacks = ", ".join(missing) or "dimension time"
        raise ProblemError(f"the file must hold a trajectory, got {shown(str(path))} without {lacks}: is it hamjl's?")
    return trajectory
