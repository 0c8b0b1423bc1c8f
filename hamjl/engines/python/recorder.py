"""Rows saved at the requested times, and the way a run ends."""

from __future__ import annotations

import numpy as np

from hamjl.dynamics import Dynamics
from hamjl.lowered import BOUND, STATUS, Floats, Goal, Result


class Stop(Exception):
    """Ends a run early with a status."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class Recorder:
    """Preallocated rows of full states (x, w, p_x, p_w); `count` of them are finished."""

    def __init__(self, width: int, goal: Goal) -> None:
        self.times, self.save = goal.times, goal.save
        self.states = np.empty((len(self.times), width))
        self.signs = np.empty(len(self.times))
        self.count = 0

    def add(self, dynamics: Dynamics, y: Floats, drive: Floats, s: float) -> None:
        """Store the next row."""
        check_finite(y)
        self.states[self.count] = dynamics.full(y, drive)
        self.signs[self.count] = s
        self.count += 1

    def result(self, status: str, reached: float, statistics: dict[str, int | float | str]) -> Result:
        """The finished rows."""
        times, states, signs = (part[: self.count] for part in (self.times, self.states, self.signs))
        return Result(times, states, signs, status, STATUS.get(status, status), reached, statistics)


def check_finite(y: Floats) -> None:
    """Stop the run if a value is NaN or beyond the bound."""
    if not np.abs(y).max(initial=0.0) <= BOUND:
        raise Stop("diverged")


def track_sign(s: float, size: float, radius: float, hysteresis: float) -> float:
    """The sign of Hamiltonian track (24) after `s`, where `size` is |x|² + |w|² + |p_x|² + |p_w|²."""
    if size > radius:
        return -1.0
    return 1.0 if size <= (1.0 - hysteresis) * radius else s
