"""The Julia engine: HamJL on the solvers of DifferentialEquations.jl. Importing this starts nothing."""

from __future__ import annotations

from hamjl.engines.julia.configuration import missing, ready, remedy, setup, status
from hamjl.engines.running import integrate
from hamjl.lowered import Lowered, Monitor, Result, Run, State

__all__ = ["missing", "name", "ready", "remedy", "run", "setup", "start", "status"]

name = "julia"


def start(lowered: Lowered, state: State | None = None) -> Run:
    """A run under way; see `hamjl.lowered.Engine`. The first call in a process starts Julia."""
    from hamjl.engines.julia import bridge

    return bridge.start(lowered, state)


def run(lowered: Lowered, monitor: Monitor) -> Result:
    """Integrate the record; see `hamjl.lowered.Engine`."""
    if lowered.method.name == "Collocation":
        from hamjl.engines.julia.boundary import minimize

        return minimize(lowered, monitor)
    return integrate(lambda: start(lowered), lowered, monitor)
