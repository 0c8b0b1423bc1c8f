"""The loop over a run, alike for all engines and whoever drives it: integrate for a moment, look around, go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hamjl.lowered import STATUS, Goal, Lowered, Monitor, Result, Run

SECONDS = 0.05  # of integration between two looks at Ctrl-C and the progress bar


def unasked() -> bool:
    """Nobody asks a run to stop, unless by KeyboardInterrupt."""
    return False


def move(
    run: Run,
    goal: Goal,
    monitor: Monitor = lambda t: None,
    asked: Callable[[], bool] = unasked,
    patience: float = float("inf"),
) -> Result:
    """Move a run to its next goal; what it has of it where it is asked to stop, or after some seconds of patience."""
    run.aim(goal)
    more, due = run.status == "running", time.monotonic() + patience
    while more and not asked():
        more = run.advance(SECONDS)
        monitor(run.reached)
        if time.monotonic() > due:
            break
    return interrupted(run.result()) if more and asked() else run.result()


def integrate(start: Callable[[Lowered], Run], lowered: Lowered, goal: Goal, monitor: Monitor) -> Result:
    """Start a run and move it to its goal; KeyboardInterrupt ends it with status ``"interrupted"``."""
    run = None
    try:
        run = start(lowered)
        return move(run, goal, monitor)
    except KeyboardInterrupt:
        none = np.zeros(0)
        nothing = Result(none, np.empty((0, len(lowered.initial))), none, "running", "", lowered.span[0], {})
        return interrupted(nothing if run is None else run.result())


def interrupted(result: Result) -> Result:
    """The result of a run that was stopped on its way."""
    return replace(result, status="interrupted", message=STATUS["interrupted"])
