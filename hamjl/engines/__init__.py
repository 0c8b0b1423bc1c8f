"""The engines below the waist: each takes a `Lowered` record and returns a `Result`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hamjl.checks import choice
from hamjl.errors import EngineError, ProblemError
from hamjl.methods import COUNTERPARTS, JULIA_SOLVERS, PYTHON_SOLVERS

ENGINES = ("auto", "python", "julia")
SOLVERS = {"python": (*PYTHON_SOLVERS, "Euler", "Collocation"), "julia": (*JULIA_SOLVERS, "Euler", "Collocation")}


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
    choice(name, ENGINES, "engine")
    julia = import_module("hamjl.engines.julia")
    if name == "auto":
        if solver in SOLVERS["python"] and not (solver in SOLVERS["julia"] and julia.ready()):
            name = "python"
        else:
            name = "julia"
    if solver not in SOLVERS[name]:
        instead = (
            f"use {COUNTERPARTS[solver]!r}, or the other engine" if solver in COUNTERPARTS else "use the other engine"
        )
        raise ProblemError(f"engine {name!r} must have the method, got {solver!r}: {instead}.")
    if name == "julia" and not julia.ready():
        other = f"method={COUNTERPARTS[solver]!r}" if solver in COUNTERPARTS else "engine='python'"
        raise EngineError(f"engine 'julia' must be ready, but {julia.missing()}: {julia.remedy()}, or use {other}.")
    return julia if name == "julia" else import_module("hamjl.engines.python")
