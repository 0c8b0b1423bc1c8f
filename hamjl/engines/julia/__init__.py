"""The Julia engine: HamJL on the solvers of DifferentialEquations.jl. Importing this starts nothing."""

from __future__ import annotations

from collections.abc import Sequence

from hamjl.engines.julia.configuration import missing, ready, remedy, setup, status
from hamjl.engines.running import SECONDS, integrate
from hamjl.lowered import CollocationCode, Goal, Lowered, Monitor, Result, Run, State

__all__ = ["environment", "missing", "name", "ready", "remedy", "run", "run_together", "setup", "start", "status"]

name = "julia"


def start(lowered: Lowered, state: State | None = None) -> Run:
    """A run under way; see `hamjl.lowered.Engine`. The first call in a process starts Julia."""
    from hamjl.engines.julia import bridge

    return bridge.JuliaRun(lowered, state)


def run(lowered: Lowered, goal: Goal, monitor: Monitor) -> Result:
    """Integrate the record; see `hamjl.lowered.Engine`."""
    if isinstance(lowered.method, CollocationCode):
        from hamjl.engines.julia.boundary import minimize

        return minimize(lowered, goal.times, monitor)
    return integrate(start, lowered, goal, monitor)


def run_together(records: Sequence[tuple[Lowered, Goal]]) -> list[Result]:
    """Integrate several records on all threads of Julia; see `hamjl.lowered.Engine`."""
    from hamjl.engines.julia import bridge

    runs = [bridge.JuliaRun(lowered) for lowered, _ in records]
    for run, (_, goal) in zip(runs, records, strict=True):
        run.aim(goal)
    while runs and bridge.advance_together(runs, SECONDS):
        pass
    return [run.result() for run in runs]


def environment(threads: int | None) -> dict[str, str]:
    """Variables of a process for `run_together`; these two go together."""
    number = "auto" if threads is None else str(threads)
    return {"PYTHON_JULIACALL_THREADS": number, "PYTHON_JULIACALL_HANDLE_SIGNALS": "yes"}
