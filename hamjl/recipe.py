"""The plain form of a run: what a problem file says and what a trajectory's attributes carry, so that it can be re-run.

A recipe is tables, text and numbers. Arrays in it are moved to an `xarray.Dataset` (a NetCDF file beside the problem
file, or the trajectory itself) and leave ``{"array": name, "dims": […]}`` behind.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sized
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hamjl.checks import keys, mapping
from hamjl.errors import ProblemError
from hamjl.laws import CostateReversal, Law
from hamjl.laws import law as to_law
from hamjl.methods import Adaptive, Method
from hamjl.methods import method as to_method
from hamjl.problem import Problem
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

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form, with arrays as leaves."""
        run: dict[str, Any] = {"law": self.law.to_dict(), "method": self.method.to_dict(), "engine": self.engine}
        if self.times is not None:
            run["times"] = np.asarray(self.times, dtype=float) if isinstance(self.times, Sized) else int(self.times)
        return {_KINDS[type(self.problem)]: self.problem.to_dict(), **run}

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], folder: Path | None = None) -> Recipe:
        """Build from the plain form; files named in it are looked up in `folder`."""
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
        return cls.from_dict(_put_back(json.loads(text), arrays))

    # -- in a file ---------------------------------------------------------------------------------------------------
    def save(self, path: str | Path) -> None:
        """Write a TOML problem file, and a NetCDF file of the same name if the recipe holds arrays."""
        import tomli_w

        path = Path(path)
        arrays: dict[str, xr.DataArray] = {}
        table = _take_out(self.to_dict(), "recipe", arrays)
        try:
            if arrays:
                table = {"arrays": path.with_suffix(".nc").name, **table}
                xr.Dataset(arrays).to_netcdf(path.with_suffix(".nc"))
            path.write_text(tomli_w.dumps(table), encoding="utf-8")
        except OSError as error:
            raise ProblemError(f"the problem file must be writable, got {str(path)!r} ({error.strerror}).") from None

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a TOML problem file."""
        path = Path(path)
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ProblemError(f"the problem file must be readable, got {str(path)!r} ({error.strerror}).") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ProblemError(f"the problem file must be TOML, got {str(path)!r} ({error}).") from None
        arrays = xr.Dataset()
        name = table.pop("arrays", None)
        if name is not None:
            try:
                arrays = xr.load_dataset(path.parent / str(name))
            except (OSError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
                raise ProblemError(f"arrays must name a NetCDF file, got {str(name)!r} ({reason}).") from None
        return cls.from_dict(_put_back(table, arrays), path.parent)


def _take_out(tree: Any, name: str, arrays: dict[str, xr.DataArray]) -> Any:
    """Copy the tree with every array moved to `arrays`, under a name made of its keys."""
    if isinstance(tree, Mapping):
        return {key: _take_out(value, f"{name}_{key}", arrays) for key, value in tree.items()}
    if isinstance(tree, xr.DataArray):
        kept = tree.drop_vars([c for c in tree.coords if c not in tree.dims]).rename(None)
        kept.attrs, dims = {}, [str(dim) for dim in kept.dims]
        arrays[name] = kept.rename({dim: f"{name}_{dim}" for dim in dims})
        return {"array": name, "dims": dims}
    if isinstance(tree, np.ndarray) and tree.ndim:
        arrays[name] = xr.DataArray(tree, dims=[f"{name}_{k}" for k in range(tree.ndim)])
        return {"array": name}
    if isinstance(tree, list | tuple):
        return [_take_out(value, f"{name}_{k}", arrays) for k, value in enumerate(tree)]
    if isinstance(tree, np.generic | np.ndarray):
        return tree.item()
    if isinstance(tree, float) and not math.isfinite(tree):
        raise ProblemError(f"a recipe holds finite numbers, got {tree} in {name}: change it.")
    return tree


def _put_back(tree: Any, arrays: xr.Dataset) -> Any:
    """The inverse of `_take_out`."""
    if isinstance(tree, list):
        return [_put_back(value, arrays) for value in tree]
    if not isinstance(tree, Mapping):
        return tree
    if "array" not in tree:
        return {key: _put_back(value, arrays) for key, value in tree.items()}
    name, dims = tree["array"], tree.get("dims")
    if name not in arrays:
        raise ProblemError(f"the arrays of a recipe must be with it, got no {name!r}: keep the variable or the file.")
    found = arrays[name]
    if dims is None:
        return found.values
    found = found.drop_vars([c for c in found.coords if c not in found.dims])
    return found.rename({f"{name}_{dim}": dim for dim in dims}).rename(None)
