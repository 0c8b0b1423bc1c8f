"""The plain form of a run: what a problem file says and what a trajectory's attributes carry, so that it can be re-run.

A recipe is tables, text and numbers. Arrays in it are moved to an `xarray.Dataset` (a NetCDF file beside the problem
file, or the trajectory itself) and leave ``{"$array": name, "dims": […]}`` behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from hamjl.checks import choice, count, increasing, keys, mapping, read_toml, to_path
from hamjl.errors import ProblemError, shown
from hamjl.foreign import Folder, read_netcdf, read_text
from hamjl.laws import BoundaryValue, CostateReversal, Law
from hamjl.laws import law as to_law
from hamjl.methods import Adaptive, Collocation, Method
from hamjl.methods import method as to_method
from hamjl.problem import Problem
from hamjl.storage import check_writable, write_netcdf, write_whole
from hamjl.symbolic import SymbolicSystem

_KINDS: dict[type[Problem] | type[SymbolicSystem], str] = {Problem: "problem", SymbolicSystem: "system"}
_RUN = ("law", "method", "times", "engine")


@dataclass(frozen=True)
class Recipe:
    """A problem with the law, method, sample times and engine to solve it."""

    problem: Problem | SymbolicSystem
    law: Law = field(default_factory=CostateReversal)
    method: Method = field(default_factory=Adaptive)
    times: Any = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.problem, Problem | SymbolicSystem):
            raise ProblemError(f"a recipe needs a Problem or SymbolicSystem, got {shown(self.problem)}: build one.")
        object.__setattr__(self, "law", to_law(self.law))
        object.__setattr__(self, "method", to_method(self.method))
        if isinstance(self.law, BoundaryValue) and self.method == Adaptive():
            object.__setattr__(self, "method", Collocation())
        if self.times is not None:
            _plain_times(self.times)  # refused here, before it is run or saved

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form, with arrays as leaves."""
        run: dict[str, Any] = {"law": self.law.to_dict(), "method": self.method.to_dict(), "engine": self.engine}
        if self.times is not None:
            run["times"] = _plain_times(self.times)
        return {_KINDS[type(self.problem)]: self.problem.to_dict(), **run}

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], folder: Path | Folder | None = None) -> Recipe:
        """Build from the plain form; data files that it names are in `folder` or below; without one it has none."""
        table = mapping(spec, "recipe")
        keys(table, "a problem file", (*_KINDS.values(), *_RUN))
        kinds = [(kind, name) for kind, name in _KINDS.items() if name in table]
        if len(kinds) != 1:
            raise ProblemError(f"a problem file must hold either [problem] or [system], got {sorted(table)}: add one.")
        kind, name = kinds[0]
        return cls(
            kind.from_dict(table[name], folder),
            to_law(table.get("law", CostateReversal())),
            to_method(table.get("method", Adaptive())),
            table.get("times"),
            table.get("engine", "auto"),
        )

    # -- inside a trajectory -----------------------------------------------------------------------------------------
    def pack(self) -> tuple[str, xr.Dataset]:
        """Return the recipe as JSON, and the Dataset of its arrays."""
        arrays: dict[str, xr.DataArray] = {}
        return json.dumps(_take_out(self.to_dict(), "recipe", arrays)), xr.Dataset(arrays)

    @classmethod
    def unpack(cls, text: str, arrays: xr.Dataset) -> Recipe:
        """Build from what `pack` returned; `arrays` may hold more."""
        try:
            tree = json.loads(text)
        except (ValueError, TypeError, RecursionError):
            raise ProblemError(f"a packed recipe must be the text that pack returned, got {shown(text)}.") from None
        return cls.from_dict(_put_back(tree, arrays))

    # -- in a file ---------------------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write a TOML problem file, and ``NAME.arrays.nc`` beside it if the recipe holds arrays."""
        import tomli_w

        path = check_writable(path)
        if path.suffix.lower() != ".toml":
            raise ProblemError(f"a problem file must end in .toml, got {shown(str(path))}: rename it.")
        arrays: dict[str, xr.DataArray] = {}
        table = _take_out(self.to_dict(), "recipe", arrays)
        if arrays:
            beside = path.with_suffix(".arrays.nc")
            table = {"arrays": beside.name, **table}
            write_whole(beside, lambda part: write_netcdf(xr.Dataset(arrays), part))
        write_whole(path, lambda part: part.write_text(tomli_w.dumps(table), encoding="utf-8"))

    @classmethod
    def load(cls, path: str | Path, folder: str | Path | None = None) -> Recipe:
        """Read a TOML problem file.

        Parameters
        ----------
        path : path
        folder : path, optional
            Where the data files that it names may lie, or below, symbolic links followed: by default its own folder,
            where names are looked up in any case. ``"/"`` lets it name every file that you may read.
        """
        path = to_path(path, "the problem file")
        within = path.parent if folder is None else to_path(folder, "folder")
        table = _table(path)
        name, files = table.pop("arrays", None), Folder(path.parent, within)
        arrays = xr.Dataset() if name is None else read_netcdf(files.find(str(name)))
        try:
            return cls.from_dict(_put_back(table, arrays), files)
        except RecursionError:
            raise ProblemError(
                f"the problem file must not be nested so deep, got {shown(str(path))}: flatten it."
            ) from None


def files_of(path: str | Path) -> list[Path]:
    """A problem file and the data files that it names."""
    path = to_path(path, "the problem file")
    found: list[Any] = [_table(path)]
    names: list[str] = []
    while found:
        tree = found.pop()
        if isinstance(tree, dict):
            names += [name for key in ("file", "arrays") if isinstance(name := tree.get(key), str)]
            found += tree.values()
        elif isinstance(tree, list):
            found += tree
    return [path, *(path.parent / name for name in names)]


def _table(path: Path) -> dict[str, Any]:
    """What a TOML file says."""
    try:
        return read_toml(read_text(path))
    except OSError as error:
        raise ProblemError(f"the problem file must be readable, got {shown(str(path))} ({error.strerror}).") from None
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ProblemError(f"the problem file must be TOML, got {shown(str(path))} ({reason}).") from None


def _plain_times(times: Any) -> Any:
    if isinstance(times, Mapping):
        return mapping(times, "times")
    return increasing(cast(ArrayLike, times), "times") if isinstance(times, Sized) else count(times, "times", least=2)


_MARK = "$array"  # no name of a vertex, signal or option begins like this


def _take_out(tree: Any, name: str, arrays: dict[str, xr.DataArray]) -> Any:
    """Copy the tree with every array moved to `arrays`, under a name made of its keys."""
    if isinstance(tree, Mapping):
        return {key: _take_out(value, f"{name}_{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, xr.DataArray):
        arrays[name] = tree.rename({dim: f"{name}_{dim}" for dim in tree.dims})
        return {_MARK: name, "dims": list(tree.dims)}
    if isinstance(tree, np.ndarray):
        arrays[name] = xr.DataArray(tree, dims=[f"{name}_{k}" for k in range(tree.ndim)])
        return {_MARK: name}
    if isinstance(tree, list | tuple):
        return [_take_out(value, f"{name}_{k}", arrays) for k, value in enumerate(tree)]
    return tree


def _put_back(tree: Any, arrays: xr.Dataset) -> Any:
    """The inverse of `_take_out`."""
    if isinstance(tree, list):
        return [_put_back(value, arrays) for value in tree]
    if not isinstance(tree, Mapping):
        return tree
    if _MARK not in tree:
        return {key: _put_back(value, arrays) for key, value in tree.items()}
    name, dims = tree[_MARK], tree.get("dims")
    choice(name, map(str, arrays.data_vars), "An array of a recipe (keep the file or the variable that holds it)")
    found = arrays[name]
    if dims is None:
        return found.values
    if not isinstance(dims, list) or [f"{name}_{dim}" for dim in dims] != list(found.dims):
        raise ProblemError(f"an array of a recipe must have the dimensions it was stored with, got {shown(dims)}.")
    found = found.drop_vars([c for c in found.coords if c not in found.dims])
    return found.rename({f"{name}_{dim}": dim for dim in dims}).rename(None)


def digest(text: str, arrays: xr.Dataset) -> str:
    """A hash of a packed recipe."""
    found = hashlib.sha256(text.encode())
    for name in sorted(map(str, arrays.variables)):
        if f'"{name}"' in text or name.startswith("recipe_"):
            values = arrays[name].values
            found.update(name.encode())
            found.update(str(values.tolist()).encode() if values.dtype.kind in "OUT" else values.tobytes())
    return found.hexdigest()
