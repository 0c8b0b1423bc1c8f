"""Files that others made: regular ones only, read as data, and none that leads to another file."""

from __future__ import annotations

import errno
import math
import mmap
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import xarray as xr

from hamjl import trial
from hamjl.checks import to_path
from hamjl.errors import ProblemError, shown

NETCDF = threading.Lock()  # the NetCDF library is no place for two threads at once
LARGEST = 2**30  # bytes of all variables, whatever the size of the file
RATIO = 100  # bytes of variables for each byte of a larger file: more is hardly data
WORK, PACE = 4.0, 50e6  # seconds of processor time, and bytes in each second more, in which a file must have been read


def reason(error: Exception) -> str:
    """The gist of what a library raised."""
    return getattr(error, "strerror", None) or (str(error).strip() or type(error).__name__).splitlines()[0][:120]


# -- where ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Folder:
    """Where the data files that a problem file names are looked up, and the folder that they must lie in or below."""

    path: Path
    within: Path

    def find(self, name: str) -> Path:
        """The path of a data file, symbolic links followed."""
        try:
            found, within = (self.path / name).resolve(), self.within.resolve()
        except (OSError, ValueError, RuntimeError):  # a name with a NUL, a ring of links
            raise ProblemError(f"a data file must have a path, got {shown(name)}: name another one.") from None
        if not found.is_relative_to(within):
            raise ProblemError(
                f"data files must lie in the folder of the problem file or below, got {shown(name)}: copy it there, or "
                "allow others (folder='/', on the command line --allow-files) where you trust who wrote the file."
            )
        return found


def to_folder(value: Path | str | Folder | None) -> Folder:
    """A folder as the user gives it; without one no file may be named."""
    if value is None:
        raise ProblemError(
            "data files are read where a folder for them is named, got none: give folder=, or load a problem file."
        )
    return value if isinstance(value, Folder) else Folder(path := to_path(value, "folder"), path)


# -- bytes and text ------------------------------------------------------------------------------------------------
def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; OSError for anything else, at once also for a FIFO that nobody writes to."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # opening a device may do something
        raise OSError(errno.EINVAL, "it is no regular file")
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    file = os.fdopen(handle, "rb")
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is no regular file")
    return file


def read_text(path: Path) -> str:
    """The text of a regular file; OSError or ValueError where it has none."""
    with open_regular(path) as file:
        return file.read().decode("utf-8-sig")


# -- NetCDF ----------------------------------------------------------------------------------------------------------
def read_netcdf(path: str | Path, *, own: bool = False) -> xr.Dataset:
    """Read any NetCDF file into memory, times as the numbers they are; see `open_netcdf` for `own`."""
    path = to_path(path, "the file")
    if not path.exists():
        raise ProblemError(f"the NetCDF file must exist, got {shown(str(path))}: check the name.")
    try:
        with open_netcdf(path, own=own) as found:
            return found.load()
    except Exception as error:  # whatever the readers of foreign files raise
        why = reason(error) if isinstance(error, OSError | ProblemError) else "another format"
        raise ProblemError(f"the file must be readable NetCDF, got {shown(str(path))} ({why}).") from None


@contextmanager
def open_netcdf(path: Path, *, own: bool = False) -> Iterator[xr.Dataset]:
    """A NetCDF file to read from, by the NetCDF library alone; no other thread reads or writes one meanwhile.

    A damaged file may crash the library, or never end. So it is read in a process of its own first, unless this user's
    hamjl wrote it (`own`).

    OSError or ValueError for what is none, or is not what it seems; the library's own errors where it is damaged.
    """
    import netCDF4  # here, so that `import hamjl` loads no library of files

    with NETCDF:
        _check_netcdf(path)
        if not own:
            _try_out(path)
        stored = netCDF4.Dataset(str(path.absolute()), "r")  # absolute, so that none is an address on the net
        try:
            with xr.open_dataset(xr.backends.NetCDF4DataStore(stored), decode_times=False) as found:
                yield found
        finally:
            if stored.isopen():
                stored.close()


def _try_out(path: Path) -> None:
    size = path.stat().st_size
    given = [str(path.absolute()), str(math.ceil(WORK + size / PACE)), str(max(LARGEST, RATIO * size))]
    ended = subprocess.run(
        [sys.executable, "-P", trial.__file__, *given],  # -P: nothing of the working folder is imported
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode
    if ended == trial.TOO_LARGE:
        raise OSError(errno.EFBIG, f"its variables would take more than {max(LARGEST, RATIO * size):.2g} bytes")
    if ended != 0:
        raise OSError(errno.EIO, "the NetCDF library cannot read all of it")


def _check_netcdf(path: Path) -> None:
    with open_regular(path) as file:
        start = file.read(8)
        if start[:4] in (b"CDF\x01", b"CDF\x02", b"CDF\x05"):  # the classic format knows no other files
            return
        if start != b"\x89HDF\r\n\x1a\n":
            raise ValueError("it is no NetCDF file")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if leads_elsewhere(content):
                raise OSError(errno.EPERM, "it leads to other files, which are not read")


def leads_elsewhere(content: mmap.mmap | bytes) -> bool:
    """Whether an HDF5 file may name other files, in any of the three ways there are.

    Not by walking its structures but by what these need to be written with, anywhere in the file: NetCDF's own files
    have nothing of it. See the HDF5 File Format Specification 3.0, sections III.D to E and IV.A.
    """
    version = content[8]
    sizes, base = (content[13:15], content[24 + 4 * version :][:8]) if version < 2 else (content[9:11], content[12:20])
    plain = sizes == b"\x08\x08" and base == bytes(8)  # addresses count from the start of the file, in eight bytes
    external_data = content.find(b"HEAP\0") >= 0  # names of the files are in a local heap
    return not plain or external_data or _has_virtual_data(content) or _has_external_link(content)


def _has_virtual_data(content: mmap.mmap | bytes) -> bool:
    """A data layout of version 4 or 5 and class 3, whose mapping is in a global heap."""
    for found in re.finditer(rb"\x03(?<=[\x04\x05]\x03)(?=(.{5}\0\0\0))", content, re.DOTALL):
        address = int.from_bytes(found[1], "little")
        if content[address : address + 4] == b"GCOL":
            return True
    return False


def _has_external_link(content: mmap.mmap | bytes) -> bool:
    """A link message of type 64, or a fractal heap whose links are compressed."""
    for found in re.finditer(rb"FRHP\0..(..)", content, re.DOTALL):
        if found[1] != b"\0\0":
            return True
    for found in re.finditer(rb"\x01[\x08-\x1f]\x40", content):
        flags, at = content[found.start() + 1], found.end()
        at += 8 * bool(flags & 4) + bool(flags & 16)  # order of creation, character set
        width = 1 << (flags & 3)
        at += width + int.from_bytes(content[at : at + width], "little")  # the name
        value = content[at + 2 : at + 2 + int.from_bytes(content[at : at + 2], "little")]
        if value[:1] == b"\0" and value[-1:] == b"\0" and value.count(b"\0", 1) == 2:  # a file, and what is in it
            return True
    return False
