"""hamjl: learning over time as Hamiltonian dynamics."""

import sys as _sys
from importlib.metadata import version as _version
from pathlib import Path as _Path

try:
    from hamjl import signals
    from hamjl.accessor import TrajectoryAccessor
    from hamjl.adjoint import adjoint
    from hamjl.comparison import compare
    from hamjl.errors import EngineError, ExpressionError, HamjlError, ProblemError, RunWarning
    from hamjl.laws import BackpropLimit, BoundaryValue, Cauchy, CostateReversal, HamiltonianLearning, Law, SignFlip
    from hamjl.methods import Adaptive, Collocation, Euler, Method
    from hamjl.network import Network
    from hamjl.objective import Objective
    from hamjl.problem import Problem
    from hamjl.recipe import Recipe
    from hamjl.riccati import riccati
    from hamjl.session import Session
    from hamjl.signals import Signal
    from hamjl.solving import run, solve
    from hamjl.store import open_store as open
    from hamjl.store import resume
    from hamjl.streams import Stream
    from hamjl.sweep import sweep
    from hamjl.symbolic import SymbolicSystem
    from hamjl.trajectory import join
except KeyboardInterrupt:
    if _Path(_sys.argv[0]).stem in ("-m", "hamjl"):  # the command line: Ctrl-C ends it without a traceback, as ever
        raise SystemExit(130) from None
    raise

__version__ = _version("hamjl")
__all__ = [
    "Adaptive",
    "BackpropLimit",
    "BoundaryValue",
    "Cauchy",
    "Collocation",
    "CostateReversal",
    "EngineError",
    "Euler",
    "ExpressionError",
    "HamiltonianLearning",
    "HamjlError",
    "Law",
    "Method",
    "Network",
    "Objective",
    "Problem",
    "ProblemError",
    "Recipe",
    "RunWarning",
    "Session",
    "SignFlip",
    "Signal",
    "Stream",
    "SymbolicSystem",
    "TrajectoryAccessor",
    "adjoint",
    "compare",
    "join",
    "open",
    "resume",
    "riccati",
    "run",
    "signals",
    "solve",
    "sweep",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
