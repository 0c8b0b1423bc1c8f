"""The plain form of a run: what a problem file says and what a trajectory carries, so that it can be re-run.

A recipe is tables, text and numbers. In a problem file its arrays are in a NetCDF file beside it, and leave
``{"$array": name, "dims": […]}`` behind; in a trajectory all of it is one text, the scalar coordinate ``recipe``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from hamjl.checks import choice, count, increasing, keys, mapping, read_toml, to_path
from hamjl.errors import HamjlError, ProblemError, shown
from hamjl.files import check_writable, write_netcdf, write_whole
from hamjl.foreign import Folder, read_netcdf, read_text
from hamjl.laws import BoundaryValue, CostateReversal, Law, as_law
from hamjl.methods import Adaptive, Collocation, Method, as_method
from hamjl.plain import ARRAY, Plain, pack, unpack
from hamjl.problem import Problem
from hamjl.statement import check_problem
from hamjl.symbolic import SymbolicSystem

_KINDS: dict[str, type[Problem | SymbolicSystem]] = {cls.kind: cls for cls in (Problem, SymbolicSystem)}
FORMAT = 1  # of a recipe, packed or in a file; the first ones do not say so
_RUN = ("law", "method", "times", "engine")


@dataclass(frozen=True, eq=False)
class Recipe(Plain):
    """A problem with the law, method, sample times and engine to solve it."""

    problem: Problem | SymbolicSystem
    law: Law = field(default_factory=CostateReversal)
    method: Method = field(default_factory=Adaptive)
    times: Any = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        check_problem(self.problem)
        object.__setattr__(self, "law", as_law(self.law))
        object.__setattr__(self, "method", as_method(self.method))
        if isinstance(self.law, BoundaryValue) and self.method == Adaptive():
            object.__setattr__(self, "method", Collocation())
        if self.times is not None:
            object.__setattr__(self, "times", _plain_times(self.times))

    def _tree(self) -> dict[str, Any]:
        run: dict[str, Any] = {"law": self.law.to_dict(), "method": self.method.to_dict(), "engine": self.engine}
        if self.times is not None:
            run["times"] = self.times
        return {self.problem.kind: self.problem._tree(), **run}

    @cached_property
    def packed(self) -> str:
        """The plain form as one text (JSON), arrays and its format included."""
        return pack({"format": FORMAT, **self._tree()})

    def _identity(self) -> Any:
        return [self._tree() | {self.problem.kind: None}, self.problem._identity()]

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], folder: Path | Folder | None = None) -> Recipe:
        """Build from the plain form; data files that it names are in `folder` or below; without one it has none."""
        table = _of_format(mapping(spec, "recipe"))
        keys(table, "a problem file", (*_KINDS, *_RUN))
        kinds = [kind for kind in _KINDS if kind in table]
        if len(kinds) != 1:
            raise ProblemError(f"a problem file must hold either [problem] or [system], got {sorted(table)}: add one.")
        return cls(
            _KINDS[kinds[0]].from_dict(table[kinds[0]], folder),
            as_law(table.get("law", CostateReversal())),
            as_method(table.get("method", Adaptive())),
            table.get("times"),
            table.get("engine", "auto"),
        )

    @classmethod
    def unpack(cls, text: str) -> Recipe:
        """Build from the text `packed`."""
        return cls._from_text(text, xr.Dataset())

    @classmethod
    def of(cls, trajectory: xr.Dataset) -> Recipe:
        """The recipe that a trajectory carries.

        ProblemError where it carries none, several (as runs put together do), or none that can be read.
        """
        given: Any = trajectory.coords["recipe"].values.ravel() if "recipe" in trajectory.coords else []
        texts = list(dict.fromkeys(given)) if "recipe" not in trajectory.attrs else [trajectory.attrs["recipe"]]
        if len(texts) > 1:
            raise ProblemError(
                f"this needs one trajectory with its recipe, got a Dataset of {len(texts)} runs: select one."
            )
        if not texts or texts[0] == "":
            raise ProblemError(
                "this needs one trajectory with its recipe, got a Dataset without: keep the coordinate recipe, also "
                "where you select with drop=True."
            )
        if "recipe" not in trajectory.attrs:
            return _unpacked(texts[0])
        return cls._from_text(texts[0], trajectory)  # of hamjl's first files

    @classmethod
    def _from_text(cls, text: Any, arrays: xr.Dataset) -> Recipe:
        try:
            return cls.from_dict(_put_back(unpack(text), arrays))
        except HamjlError:
            raise
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise ProblemError(
                f"the recipe of a trajectory must be as hamjl wrote it, got {shown(text)}: read the trajectory again."
            ) from None

    # -- in a file ---------------------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write a TOML problem file, and ``NAME.arrays.nc`` beside it if the recipe holds arrays."""
        import tomli_w

        path = check_writable(path)
        if path.suffix.lower() != ".toml":
            raise ProblemError(f"a problem file must end in .toml, got {shown(str(path))}: rename it.")
        arrays: dict[str, xr.DataArray] = {}
        table = {"format": FORMAT, **_take_out(self._tree(), "recipe", arrays)}
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
        table = _of_format(_table(path))
        name, files = table.pop("arrays", None), Folder(path.parent, within)
        arrays = xr.Dataset() if name is None else read_netcdf(files.find(str(name)))
        try:
            return cls.from_dict(_put_back(table, arrays), files)
        except RecursionError:
            raise ProblemError(
                f"the problem file must not be nested so deep, got {shown(str(path))}: flatten it."
            ) from None


@lru_cache(maxsize=16)
def _unpacked(text: str) -> Recipe:
    return Recipe.unpack(text)


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


def _of_format(table: dict[str, Any]) -> dict[str, Any]:
    """A recipe without its format, which must be one that is read here."""
    if (given := table.pop("format", FORMAT)) != FORMAT or isinstance(given, bool):
        raise ProblemError(f"a recipe must be of format {FORMAT}, got {shown(given)}: read it with a newer hamjl.")
    return table


def _plain_times(times: Any) -> Any:
    if isinstance(times, Mapping):
        return mapping(times, "times")
    if not isinstance(times, Sized):
        return count(times, "times", least=2)
    values = increasing(cast(ArrayLike, times), "times")
    values.setflags(write=False)
    return values


def _take_out(tree: Any, name: str, arrays: dict[str, xr.DataArray]) -> Any:
    """Copy the tree with every array moved to `arrays`, under a name made of its keys."""
    if isinstance(tree, Mapping):
        return {key: _take_out(value, f"{name}_{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, xr.DataArray):
        arrays[name] = tree.rename({dim: f"{name}_{dim}" for dim in tree.dims})
        return {ARRAY: name, "dims": list(tree.dims)}
    if isinstance(tree, np.ndarray):
        arrays[name] = xr.DataArray(tree, dims=[f"{name}_{k}" for k in range(tree.ndim)])
        return {ARRAY: name}
    if isinstance(tree, list | tuple):
        return [_take_out(value, f"{name}_{k}", arrays) for k, value in enumerate(tree)]
    return tree


def _put_back(tree: Any, arrays: xr.Dataset) -> Any:
    """The inverse of `_take_out`."""
    if isinstance(tree, list):
        return [_put_back(value, arrays) for value in tree]
    if not isinstance(tree, Mapping):
        return tree
    if ARRAY not in tree:
        return {key: _put_back(value, arrays) for key, value in tree.items()}
    name, dims = tree[ARRAY], tree.get("dims")
    choice(name, map(str, arrays.data_vars), "An array of a recipe (keep the file or the variable that holds it)")
    found = arrays[name]
    if dims is None:
        return found.values
    if not isinstance(dims, list) or [f"{name}_{dim}" for dim in dims] != list(found.dims):
        raise ProblemError(f"an array of a recipe must have the dimensions it was stored with, got {shown(dims)}.")
    found = found.drop_vars([c for c in found.coords if c not in found.dims])
    return found.rename({f"{name}_{dim}": dim for dim in dims}).rename(None)
