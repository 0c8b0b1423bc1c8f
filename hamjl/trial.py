"""A script that reads all of a NetCDF file: in a process of its own, since a damaged file may crash the library.

python -P trial.py FILE SECONDS BYTES ends with 0 where that went well, with TOO_LARGE where the variables would take
more than so many bytes, and in any other way where the file cannot be read in so many seconds of processor time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from typing import Any

TOO_LARGE = 3


def main(path: str, seconds: int, size: int) -> int:
    """Read it."""
    import netCDF4

    _limit(seconds)
    groups = list(_groups(netCDF4.Dataset(path, "r")))
    variables = [variable for group in groups for variable in group.variables.values()]
    if sum(math.prod(map(int, one.shape)) * _itemsize(one) for one in variables) > size:
        return TOO_LARGE
    for variable in variables:
        variable.set_auto_maskandscale(False)
        variable[...]
    for one in (*groups, *variables):
        one.__dict__  # noqa: B018  (its attributes)
    return 0


def _limit(seconds: int) -> None:
    if sys.platform == "win32":
        return
    import resource

    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    allowed = seconds if hard == resource.RLIM_INFINITY else min(seconds, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (allowed, hard))


def _groups(group: Any) -> Iterator[Any]:
    yield group
    for inner in group.groups.values():
        yield from _groups(inner)


def _itemsize(variable: Any) -> int:
    return int(getattr(variable.dtype, "itemsize", 8))  # texts and lists are pointers at first


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
