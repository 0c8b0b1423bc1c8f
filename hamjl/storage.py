"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from hamjl.errors import ProblemError, shown

ATTRIBUTES = ("recipe", "law", "method", "engine", "status", "message")  # what hamjl's own files carry


def check_writable(path: str | Path) -> Path:
    """Return where a file can be written, symbolic links followed, or say why it cannot, before any work is done."""
    given, path = str(path), Path(path)
    try:
        path = path.resolve()
        if path.exists() and not path.is_file():
            raise ProblemError(f"the output must be a regular file, got {shown(given)}: name another one.")
        if not path.parent.is_dir():
            raise ProblemError(f"the output's folder must exist, got {shown(str(path.parent))}: create it first.")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise ProblemError(f"the output must be writable, got {shown(given)}: change its permissions or the path.")
    except (OSError, ValueError, RuntimeError) as error:
        raise ProblemError(f"the output must be a writable file, got {shown(given)} ({_reason(error)}).") from None
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
        raise ProblemError(f"the output must be writable, got {shown(str(given))} ({_reason(error)}).") from None
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return given


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def save(trajectory: xr.Dataset, path: str | Path) -> Path:
    """Write a trajectory to a NetCDF file."""
    return write_whole(path, trajectory.to_netcdf)


def load(path: str | Path) -> xr.Dataset:
    """Read a trajectory from a NetCDF file into memory."""
    trajectory = read_netcdf(path)
    missing = [name for name in ATTRIBUTES if name not in trajectory.attrs]
    if missing or "time" not in trajectory.dims:
        lacks = ", ".join(missing) or "dimension time"
        raise ProblemError(f"the file must hold a trajectory, got {shown(str(path))} without {lacks}: is it hamjl's?")
    return trajectory


def read_netcdf(path: str | Path) -> xr.Dataset:
    """Read any NetCDF file into memory, times as the numbers they are."""
    if not Path(path).is_file():
        raise ProblemError(f"the NetCDF file must exist, got {shown(str(path))}: check the name.")
    try:
        return xr.load_dataset(path, decode_times=False)
    except Exception as error:  # whatever the readers of foreign files raise
        reason = _reason(error) if isinstance(error, OSError) else "another format"
        raise ProblemError(f"the file must be readable NetCDF, got {shown(str(path))} ({reason}).") from None
