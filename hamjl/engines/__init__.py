"""The engines below the waist, and their solvers: each takes a `Lowered` record and returns a `Result`."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from hamjl.checks import choice
from hamjl.errors import EngineError, ProblemError
from hamjl.lowered import Engine

ENGINES = {  # their modules; "auto" is the first one that is ready, and the last one always is
    "julia": "hamjl.engines.julia",
    "python": "hamjl.engines.python",
}


class Solver(NamedTuple):
    """An adaptive solver: whose it is, of which kind (explicit, implicit, multistep or auto), and of which order."""

    engine: str
    kind: str
    order: int


SOLVERS = {  # what is not here, as "auto", Euler and collocation, is on all engines
    "RK45": Solver("python", "explicit", 5),  # SciPy's names
    "DOP853": Solver("python", "explicit", 8),
    "LSODA": Solver("python", "auto", 12),
    "BDF": Solver("python", "multistep", 5),
    "Radau": Solver("python", "implicit", 5),
    "Tsit5": Solver("julia", "explicit", 5),  # DifferentialEquations.jl's
    "Vern7": Solver("julia", "explicit", 7),
    "Vern9": Solver("julia", "explicit", 9),
    "Rodas5P": Solver("julia", "implicit", 5),
    "FBDF": Solver("julia", "multistep", 5),
    "KenCarp4": Solver("julia", "implicit", 4),
}


def engine(name: str) -> Engine:
    """The engine of that name, whether it is ready or not."""
    found: Engine = import_module(ENGINES[name])
    return found


def counterpart(solver: str, engine: str) -> str:
    """What an engine has in a solver's place: one of its kind, of the order nearest to its own, of two the higher."""
    _, kind, order = SOLVERS[solver]
    alike = {name: one for name, one in SOLVERS.items() if one.engine == engine and one.kind == kind}
    return min(alike, key=lambda name: (abs(alike[name].order - order), -alike[name].order), default="auto")


def select(name: str, solver: str = "auto") -> Engine:
    """Return the engine of that name for a solver.

    ``"auto"`` is the first that is ready, Julia where it is, else Python; a solver that only one of them has decides.
    Nothing is started.

    Raises
    ------
    ProblemError
        If there is no such engine, or it has no such solver.
    EngineError
        If the engine is not ready.
    """
    choice(name, ("auto", *ENGINES), "engine")
    owners = [SOLVERS[solver].engine] if solver in SOLVERS else list(ENGINES)
    if name == "auto":
        name = next((owner for owner in owners if engine(owner).ready()), owners[-1])
    if name not in owners:
        raise ProblemError(
            f"engine {name!r} must have the method, got {solver!r}: use {counterpart(solver, name)!r}, or the other "
            "engine."
        )
    chosen = engine(name)
    if not chosen.ready():
        always = list(ENGINES)[-1]
        other = f"method={counterpart(solver, always)!r}" if solver in SOLVERS else f"engine={always!r}"
        raise EngineError(f"engine {name!r} must be ready, but {chosen.missing()}: {chosen.remedy()}, or use {other}.")
    return chosen
