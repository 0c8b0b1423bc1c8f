"""Algorithm 1: explicit Euler with a fixed step, everything updated simultaneously."""

from __future__ import annotations

from time import perf_counter

import numpy as np

from hamjl.dynamics import Dynamics, NoFixedPointError, dynamics_of
from hamjl.engines.python.recorder import Recorder, Stop, check_finite, track_sign
from hamjl.lowered import BLOCK, EulerCode, Floats, Goal, LawCode, Lowered, Result, State, whole_steps
from hamjl.schema import array, check, one_of, whole

MOST = 10**18  # steps


class EulerRun:
    """Algorithm 1 under way: after k steps, with the sign s that step k - 1 had.

    Drives are tabulated for blocks of steps, which begin at multiples of `BLOCK` wherever a run is taken up.
    """

    def __init__(self, dynamics: Dynamics, lowered: Lowered, state: State | None) -> None:
        assert isinstance(lowered.method, EulerCode)
        self.dynamics, self.lowered, self.step = dynamics, lowered, lowered.method.step
        self.y = dynamics.restrict(lowered.initial)
        self.k, self.s = 0, 1.0
        self.status = "running"
        if state is not None:
            arrays = {"y": array(*self.y.shape), "guess": array(*dynamics.guess.shape)}
            check(state, {**arrays, "steps": whole(most=MOST), "sign": one_of(-1.0, 1.0)})
            self.y, self.k, self.s = state["y"].copy(), state["steps"], state["sign"]
            dynamics.guess = state["guess"].copy()
        self._dy = np.empty_like(self.y)
        self._block = -1
        self.aim(Goal(lowered.span[0]))

    @property
    def reached(self) -> float:
        """Present time."""
        return self.lowered.span[0] + self.k * self.step

    def aim(self, goal: Goal) -> None:
        """Set the next goal, the last whole step up to its time."""
        self.recorder = Recorder(len(self.lowered.initial), goal)
        whole = whole_steps((self.lowered.span[0], goal.until), self.step)
        self.last = max(whole, *goal.save[-1:].tolist(), self.k)
        if self.status == "success":
            self.status = "running"

    def advance(self, seconds: float) -> bool:
        """Take steps for about so many seconds; return whether there are more to take."""
        if self.status == "running":
            try:
                with np.errstate(all="ignore"):  # overflow is found by looking at the values
                    self._steps(perf_counter() + seconds)
            except Stop as stop:
                self.status = stop.status
            except NoFixedPointError:
                self.status = "no_fixed_point"
        return self.status == "running"

    def result(self) -> Result:
        """The samples since the last `aim`."""
        return self.recorder.result(self.status, self.reached, {"steps": self.k})

    def present(self, t: float) -> Floats:
        """The full state after the step taken last."""
        return self.dynamics.full(self.y, self.dynamics.drive(t)).copy()

    def feed(self, lowered: Lowered) -> None:
        """Go on with other signals."""
        guess = self.dynamics.guess
        self.lowered, self.dynamics = lowered, dynamics_of(lowered.field, lowered.law)
        self.dynamics.guess = guess
        self._block = -1

    def export(self) -> State:
        """State, steps taken and the sign."""
        return {"y": self.y.copy(), "steps": self.k, "sign": self.s, "guess": self.dynamics.guess.copy()}

    def _steps(self, deadline: float) -> None:
        lowered, recorder, dynamics, y, dy = self.lowered, self.recorder, self.dynamics, self.y, self._dy
        law, step, save = lowered.law, self.step, recorder.save
        last = self.last
        while self.k < last or (recorder.count < len(save) and save[recorder.count] == last):
            first = self.k - self.k % BLOCK
            if first != self._block:
                self._tabulate(first)
            drives, signs = self._drives, self._signs
            for k in range(self.k, min(first + BLOCK, last + 1)):
                drive = drives[k - first]
                s = float(signs[k - first]) if law.flip != "track" else _track(self.s, y, law)
                if recorder.count < len(save) and k == save[recorder.count]:
                    recorder.add(dynamics, y, drive, s)
                if k < last:
                    dynamics.rhs(y, drive, s, dy)
                    if law.semi_implicit:
                        dynamics.lead(dy, s, step)
                    np.multiply(dy, step, out=dy)
                    y += dy
                    self.k, self.s = k + 1, s
                    if perf_counter() > deadline:
                        break
            if self.k == last or self.k % BLOCK == 0:
                check_finite(y)
            if perf_counter() > deadline:
                break
        if self.k >= last and recorder.count == len(save):
            self.status = "success"

    def _tabulate(self, first: int) -> None:
        t = self.lowered.span[0] + np.arange(first, first + BLOCK) * self.step
        self._drives, self._signs, self._block = self.dynamics.drive(t), _signs(self.lowered.law, t, first), first


def _signs(law: LawCode, t: Floats, first: int) -> Floats:
    if law.flip == "step":
        return 1.0 - 2.0 * (np.arange(first, first + len(t)) % 2)
    if law.flip == "periodic":
        return periodic_sign(t, law.frequency)
    return np.ones_like(t)


def periodic_sign(t: Floats, frequency: float) -> Floats:
    """sign(cos 2πft), +1 -> -1 -> … exactly at the odd quarter periods, where the new sign holds."""
    return 1.0 - 2.0 * (np.floor(2.0 * frequency * t + 0.5 + 1e-9) % 2)


def _track(s: float, y: Floats, law: LawCode) -> float:
    return track_sign(s, float(y @ y), law.radius, law.hysteresis)
