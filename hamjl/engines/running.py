"""The loop over a run, alike for both engines: integrate for a moment, look around, go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hamjl.lowered import STATUS, Lowered, Monitor, Result, Run

SECONDS = 0.05  # of integration between two looks at Ctrl-C and the progress bar


def integrate(start: Callable[[], Run], lowered: Lowered, monitor: Monitor) -> Result:
    """Integrate over the whole span; KeyboardInterrupt ends the run with status ``"interrupted"``."""
    run = None
    try:
        run = start()
        while run.advance(SECONDS):
            monitor(run.reached)
    except KeyboardInterrupt:
        if run is not None:
            return interrupted(run.result())
        none = np.empty((0, len(lowered.initial)))
        return Result(none, np.empty(0), "interrupted", STATUS["interrupted"], lowered.span[0], {})
    return run.result()


def interrupted(result: Result) -> Result:
    """The result of a run that was stopped on its way."""
    return replace(result, status="interrupted", message=STATUS["interrupted"])
