"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import xarray as xr

from hamjl.errors import ProblemError


def check_writable(path: str | Path) -> Path:
    """Return the path of a file that can be written, or say why it cannot, before any work is done."""
    path = Path(path)
    if path.is_dir():
        raise ProblemError(f"the output must be a file, got the folder {str(path)!r}: add a file name.")
    if not path.parent.is_dir():
        raise ProblemError(f"the output's folder must exist, got {str(path.parent)!r}: create it first.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ProblemError(f"the output must be writable, got {str(path)!r}: change its permissions or the path.")
    return path


def write_whole(path: str | Path, write: Callable[[Path], object]) -> Path:
    """Let `write` fill a temporary file beside `path`, then put it in place in one move."""
    path = check_writable(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    part = Path(name)
    try:
        write(part)
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)
        part.replace(path)
    except OSError as error:
        raise ProblemError(f"the output must be writable, got {str(path)!r} ({error.strerror or error}).") from None
    finally:
        part.unlink(missing_ok=True)
    return path


def save(trajectory: xr.Dataset, path: str | Path) -> Path:
    """Write a trajectory to a NetCDF file."""
    return write_whole(path, trajectory.to_netcdf)


def load(path: str | Path) -> xr.Dataset:
    """Read a trajectory from a NetCDF file into memory."""
    try:
        trajectory = xr.load_dataset(path)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ProblemError(f"a trajectory must be a readable NetCDF file, got {str(path)!r} ({reason}).") from None
    if "recipe" not in trajectory.attrs:
        raise ProblemError(f"a trajectory must carry its recipe, got {str(path)!r} without: is it hamjl's?")
    return trajectory
