"""The embedded engine, NumPy and SciPy: always there."""

from __future__ import annotations

from hamjl.dynamics import dynamics_of
from hamjl.engines.boundary import run_boundary
from hamjl.engines.python.adaptive import AdaptiveRun
from hamjl.engines.python.euler import EulerRun
from hamjl.engines.running import integrate
from hamjl.lowered import CollocationCode, EulerCode, Goal, Lowered, Monitor, Result, Run, State

name = "python"
run_together = None


def missing() -> str | None:
    """Nothing ever is; see `hamjl.lowered.Engine`."""
    return None


def ready() -> bool:
    """Always."""
    return True


def remedy() -> str:
    """None is needed."""
    return ""


def status() -> str:
    """One line for ``hamjl doctor``."""
    return "engine python: ready"


def environment(threads: int | None) -> dict[str, str]:
    """None: nothing is run together."""
    return {}


def start(lowered: Lowered, state: State | None = None) -> Run:
    """A run under way; see `hamjl.lowered.Engine`."""
    dynamics = dynamics_of(lowered.field, lowered.law)
    return (EulerRun if isinstance(lowered.method, EulerCode) else AdaptiveRun)(dynamics, lowered, state)


def run(lowered: Lowered, goal: Goal, monitor: Monitor) -> Result:
    """Integrate the record; see `hamjl.lowered.Engine`."""
    if isinstance(lowered.method, CollocationCode):
        return run_boundary(lowered, goal.times, monitor)
    return integrate(start, lowered, goal, monitor)
