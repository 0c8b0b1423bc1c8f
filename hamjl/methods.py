"""How a run is integrated: Euler with a fixed step (Algorithm 1), or an adaptive solver by its usual name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from hamjl.checks import choice, count, keys, mapping, number
from hamjl.errors import ProblemError, shown

PYTHON_SOLVERS = ("auto", "RK45", "DOP853", "LSODA", "BDF", "Radau")  # SciPy's names
JULIA_SOLVERS = ("auto", "Tsit5", "Vern7", "Vern9", "Rodas5P", "FBDF", "KenCarp4")  # DifferentialEquations.jl's
SOLVERS = tuple(dict.fromkeys((*PYTHON_SOLVERS, *JULIA_SOLVERS)))
COUNTERPARTS = {  # what the other engine has in its place
    **{"RK45": "Tsit5", "DOP853": "Vern9", "LSODA": "auto", "BDF": "FBDF", "Radau": "Rodas5P"},
    **{"Tsit5": "RK45", "Vern7": "DOP853", "Vern9": "DOP853", "Rodas5P": "Radau", "FBDF": "BDF", "KenCarp4": "Radau"},
}


class Method:
    """Base class of the methods; see the subclasses."""

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form read by `method`."""
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
        ``"Rodas5P"`` and ``"KenCarp4"`` (implicit, arcs eliminated from the Newton matrix).
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
        choice(self.name, SOLVERS, "method")
        for name in ("rtol", "atol"):
            object.__setattr__(self, name, number(getattr(self, name), name, positive=True))
        if not 1e-13 <= self.rtol < 1:
            raise ProblemError(f"rtol must be between 1e-13 and 1, got {self.rtol:g}: double precision allows no less.")
        object.__setattr__(self, "max_steps", count(self.max_steps, "max_steps", least=1))


def method(value: Any) -> Method:
    """Return a method from a method, a solver's name, or its plain form (a table with ``name``)."""
    if type(value) in (Euler, Adaptive):
        return value
    table = (
        {"name": value} if isinstance(value, str) else mapping(value, "method") if isinstance(value, Mapping) else None
    )
    if table is None:
        raise ProblemError(f"method must be a method or a name, got {shown(value)}: write e.g. Euler(0.02) or 'BDF'.")
    if str(table.get("name", "auto")).lower() == "euler":
        keys(table, "method 'Euler'", ("name", "step"))
        if "step" not in table:
            raise ProblemError("method 'Euler' needs a step, got none: write Euler(0.02).")
        return Euler(step=table["step"])  # type: ignore[arg-type]  # checked there
    keys(table, "method", tuple(Adaptive.__dataclass_fields__))
    return Adaptive(**table)
