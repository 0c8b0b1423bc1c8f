"""The Julia engine: HamJL on the solvers of DifferentialEquations.jl. Importing this starts nothing."""

from __future__ import annotations

from hamjl.engines.julia.configuration import missing, ready, remedy, setup, status
from hamjl.lowered import Lowered, Monitor, Result

__all__ = ["missing", "name", "ready", "remedy", "run", "setup", "status"]

name = "julia"


def run(lowered: Lowered, monitor: Monitor) -> Result:
    """Integrate the record; see `hamjl.lowered.Engine`. The first call in a process starts Julia."""
    if lowered.method.name == "Collocation":
        from hamjl.engines.julia.boundary import minimize

        return minimize(lowered, monitor)
    from hamjl.engines.julia.bridge import integrate

    return integrate(lowered, monitor)
