"""How a law is solved: Euler with a fixed step, an adaptive solver by its usual name, or collocation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import xarray as xr

from hamjl.checks import choice, count, keys, mapping, number
from hamjl.engines import SOLVERS
from hamjl.errors import ProblemError, shown
from hamjl.plain import Plain

ControlLike = xr.Dataset | xr.DataArray  # what `as_control` takes


class Method:
    """Base class of the methods; see the subclasses."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form read by `as_method`."""
        given = {name: value for name, value in asdict(self).items() if value is not None}  # type: ignore[call-overload]
        return given if "name" in given else {"name": "Euler", **given}


@dataclass(frozen=True)
class Euler(Method):
    """Explicit Euler, x, w and p updated simultaneously (Algorithm 1), by a fixed `step` in units of time.

    The run ends at the last whole step within the span.
    """

    step: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "step", number(self.step, "step", positive=True))


@dataclass(frozen=True)
class Adaptive(Method):
    """An adaptive solver.

    Parameters
    ----------
    name : str
        ``"auto"``, which chooses by stiffness, or a solver of one engine. Python has SciPy's ``"RK45"``, ``"DOP853"``
        (explicit), ``"BDF"``, ``"Radau"`` (implicit, sparse analytic Jacobian) and ``"LSODA"`` (switching, dense
        Jacobian). Julia has DifferentialEquations.jl's ``"Tsit5"``, ``"Vern7"``, ``"Vern9"`` (explicit), ``"FBDF"``,
        ``"Rodas5P"`` and ``"KenCarp4"`` (implicit, arcs eliminated from the Newton matrix). Capitals do not matter.
    rtol, atol : float
        Relative and absolute tolerance of the local error.
    max_steps : int
        Internal steps after which the run stops with status ``"max_steps"``.
    """

    name: str = "auto"
    rtol: float = 1e-6
    atol: float = 1e-9
    max_steps: int = 10_000_000

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", choice(self.name, ("auto", *SOLVERS), "method", any_case=True))
        for name in ("rtol", "atol"):
            object.__setattr__(self, name, number(getattr(self, name), name, positive=True))
        if not 1e-13 <= self.rtol < 1:
            raise ProblemError(f"rtol must be between 1e-13 and 1, got {self.rtol:g}: double precision allows no less.")
        object.__setattr__(self, "max_steps", count(self.max_steps, "max_steps", least=1))


@dataclass(frozen=True, eq=False)
class Collocation(Plain, Method):
    """The best local minimum of G over controls (`BoundaryValue`) that is found from many starts.

    Newton's method on Gauss collocation of order 4, with gradients by the costate equation. Up to about 100 states and
    arcs its steps are exact, by one Riccati sweep over time; beyond, they come from conjugate gradients within a trust
    region. Starts are no control, a growing weight of the loss, a growing horizon, neurons kept alive on cycles, the
    weights of causal laws, and random ones; the worse half is dropped again and again, and the mesh of the best is
    refined where the certificate asks for it. About 200 numbers are kept for each arc and node.

    Parameters
    ----------
    tolerance : float
        Of the certificate: over the intervals of the mesh, the largest root mean square in time of the residual of
        Hamilton's equations (12) relative to 1 + |right-hand side|, of the component where that is largest.
    nodes, max_nodes : int
        Intervals of the first mesh, evenly spaced, and of the last. By default the first follows the horizon, the
        velocities and the signals.
    max_iterations : int
        Newton steps in all.
    starts : int, optional
        How many are tried. By default 8, or those given alone.
    effort : float
        By which the Newton steps of each start before a drop are multiplied.
    start : xarray.Dataset, DataArray or a list of them, optional
        Warm starts: other trajectories of the problem, or controls v, (time, arc) or (time, control), linear between
        their times. What is found never costs more than any of them.
    """

    tolerance: float = 1e-4
    nodes: int | None = None
    max_nodes: int = 20_000
    max_iterations: int = 1000
    starts: int | None = None
    effort: float = 1.0
    start: ControlLike | Sequence[ControlLike] | None = None

    def __post_init__(self) -> None:
        for name in ("tolerance", "effort"):
            object.__setattr__(self, name, number(getattr(self, name), name, positive=True))
        for name in ("nodes", "max_nodes", "max_iterations", "starts"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, count(getattr(self, name), name, least=1))
        if self.max_nodes < (self.nodes or 1):
            raise ProblemError(
                f"max_nodes must be nodes or more, got {self.max_nodes} and {self.nodes}: raise it, or lower nodes."
            )
        if self.start is not None:
            many = isinstance(self.start, list | tuple)
            if many and not self.start:
                raise ProblemError("start must be a trajectory, a control, or some of them, got none: leave it out.")
            given = tuple(as_control(one, "start") for one in (self.start if many else (self.start,)))
            object.__setattr__(self, "start", given if many else given[0])

    def _tree(self) -> dict[str, Any]:
        names = [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]
        return {"name": "Collocation", **{name: getattr(self, name) for name in names}}


def as_control(value: Any, what: str) -> xr.DataArray:
    """Return the control v of a trajectory, or a control itself, as a DataArray on time and arc or control."""
    if isinstance(value, xr.Dataset):
        if "v" in value:
            value = value.v
        elif "w" in value and "time" in value.w.dims and value.sizes["time"] > 1:
            value = value.w.differentiate("time")
        else:
            raise ProblemError(f"{what} must hold w or v over time, got {dict(value.sizes)}: give a trajectory.")
    dim = {"arc", "control"}.intersection(getattr(value, "dims", ()))
    if not isinstance(value, xr.DataArray) or len(dim) != 1 or set(value.dims) != {"time", *dim}:
        raise ProblemError(f"{what} must be a trajectory or a control on time and arc, got {shown(value)}: convert it.")
    time = value["time"].values if "time" in value.coords else np.zeros(0)
    if len(time) < 1 or time.dtype.kind not in "iuf" or (np.diff(time) <= 0).any():
        raise ProblemError(f"times of {what} must be numbers that increase strictly, got others: sort by time first.")
    if value.dtype.kind not in "iuf" or not np.isfinite(value.values).all():
        raise ProblemError(f"{what} must be finite numbers, got others: cut the trajectory before it diverges.")
    kept = value.astype(np.float64).transpose("time", ...)
    return kept.drop_vars([name for name in kept.coords if name not in kept.dims]).rename(None)


MethodLike = Method | str | Mapping[str, Any]  # what `as_method` takes


def as_method(value: Any) -> Method:
    """Return a method from a method, a solver's name, or its plain form (a table with ``name``)."""
    if type(value) in (Euler, Adaptive, Collocation):
        return value
    table = (
        {"name": value} if isinstance(value, str) else mapping(value, "method") if isinstance(value, Mapping) else None
    )
    if table is None:
        raise ProblemError(f"method must be a method or a name, got {shown(value)}: write e.g. Euler(0.02) or 'BDF'.")
    name = table.get("name", "auto")
    kind = name.lower() if isinstance(name, str) else ""
    if kind == "euler":
        keys(table, "method 'Euler'", ("name", "step"))
        if "step" not in table:
            raise ProblemError("method 'Euler' needs a step, got none: write Euler(0.02).")
        return Euler(step=table["step"])  # type: ignore[arg-type]  # checked there
    if kind == "collocation":
        keys(table, "method 'Collocation'", ("name", *Collocation.__dataclass_fields__))
        del table["name"]
        return Collocation(**table)
    keys(table, "method", tuple(Adaptive.__dataclass_fields__))
    return Adaptive(**table)
