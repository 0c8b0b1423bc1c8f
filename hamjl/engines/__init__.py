"""The engines below the waist: each takes a `Lowered` record and returns a `Result`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hamjl.checks import choice
from hamjl.errors import EngineError, ProblemError

SOLVERS = {  # the adaptive ones; Euler and collocation are on both
    "python": ("auto", "RK45", "DOP853", "LSODA", "BDF", "Radau"),  # SciPy's names
    "julia": ("auto", "Tsit5", "Vern7", "Vern9", "Rodas5P", "FBDF", "KenCarp4"),  # DifferentialEquations.jl's
}
COUNTERPARTS = {  # what the other engine has in its place
    **{"RK45": "Tsit5", "DOP853": "Vern9", "LSODA": "auto", "BDF": "FBDF", "Radau": "Rodas5P"},
    **{"Tsit5": "RK45", "Vern7": "DOP853", "Vern9": "DOP853", "Rodas5P": "Radau", "FBDF": "BDF", "KenCarp4": "Radau"},
}


def select(name: str, solver: str = "auto") -> Any:
    """Return the engine of that name for a solver (see `hamjl.lowered.Engine`).

    ``"auto"`` is Julia where that is ready, else Python; a solver that only one of them has decides. Nothing is
    started.

    Raises
    ------
    ProblemError
        If there is no such engine, or it has no such solver.
    EngineError
        If the Julia engine is asked for and is not ready.
    """
    choice(name, ("auto", *SOLVERS), "engine")
    julia = import_module("hamjl.engines.julia")
    owners = [engine for engine, solvers in SOLVERS.items() if solver in solvers] or list(SOLVERS)
    if name == "auto":
        name = "julia" if owners == ["julia"] or ("julia" in owners and julia.ready()) else "python"
    if name not in owners:
        raise ProblemError(
            f"engine {name!r} must have the method, got {solver!r}: use {COUNTERPARTS[solver]!r}, or the other engine."
        )
    if name == "julia" and not julia.ready():
        other = f"method={COUNTERPARTS[solver]!r}" if solver in COUNTERPARTS else "engine='python'"
        raise EngineError(f"engine 'julia' must be ready, but {julia.missing()}: {julia.remedy()}, or use {other}.")
    return julia if name == "julia" else import_module("hamjl.engines.python")
