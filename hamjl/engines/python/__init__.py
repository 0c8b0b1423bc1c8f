"""The embedded engine, NumPy and SciPy: always there."""

from __future__ import annotations

import numpy as np

from hamjl.dynamics import dynamics_of
from hamjl.engines.boundary import run_boundary
from hamjl.engines.python.adaptive import run_adaptive
from hamjl.engines.python.euler import run_euler
from hamjl.lowered import Lowered, Monitor, Result

name = "python"


def run(lowered: Lowered, monitor: Monitor) -> Result:
    """Integrate the record; see `hamjl.lowered.Engine`."""
    if lowered.method.name == "Collocation":
        return run_boundary(lowered, monitor)
    dynamics = dynamics_of(lowered.field, lowered.law)
    with np.errstate(all="ignore"):  # overflow is found by looking at the values, and reported in the status
        return (run_euler if lowered.method.name == "Euler" else run_adaptive)(dynamics, lowered, monitor)
