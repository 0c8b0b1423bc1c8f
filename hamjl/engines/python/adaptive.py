"""Adaptive integration by SciPy's step-by-step solvers, restarted at breakpoints of the signals and at sign flips."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
from scipy.integrate import BDF, DOP853, LSODA, RK45, Radau
from scipy.optimize import brentq

from hamjl import schema
from hamjl.dynamics import Dynamics, NoFixedPointError, dynamics_of
from hamjl.engines.python import solvers
from hamjl.engines.python.euler import periodic_sign
from hamjl.engines.python.recorder import Recorder, Stop, check_finite, track_sign
from hamjl.errors import EngineError
from hamjl.lowered import (
    BLOW_UP,
    LOOKS,
    ROUNDING,
    STEEP,
    SUDDEN,
    AdaptiveCode,
    Floats,
    Goal,
    Lowered,
    Result,
    State,
)
from hamjl.schema import Schema, array, check, flag, one_of, real, whole

SCIPY = {"RK45": RK45, "DOP853": DOP853, "LSODA": LSODA, "BDF": BDF, "Radau": Radau}
SMALL = 200  # unknowns up to which LSODA's dense Jacobian is cheap
LARGE = 4000  # unknowns up to which the full Jacobian of the backprop limit is bearable
STIFF = 1000.0  # |Jacobian| times span above which an explicit solver would crawl
_PLAIN = ("reached", "entered", "stop", "s", "over", "flipped", "name")


class AdaptiveRun:
    """An adaptive integration under way: time, state and sign after the step taken last, and SciPy's solver."""

    def __init__(self, dynamics: Dynamics, lowered: Lowered, state: State | None) -> None:
        assert isinstance(lowered.method, AdaptiveCode)
        self.dynamics, self.lowered, self.method = dynamics, lowered, lowered.method
        self.y = self.before = dynamics.restrict(lowered.initial)  # after and before the step taken last
        self.reached = self.entered = self.stop = lowered.span[0]
        self.s = 1.0
        self.solver: Any = None
        self._within: Any = None  # its interpolant of the step taken last
        self.over = True  # the solver's stretch: at a stop or a flip it ends, and another begins
        self.flipped = False  # the sign changes with the next stretch
        self.status = "running"
        self.counts: Counter[str] = Counter(steps=0, rhs=0, jacobians=0, factorizations=0, restarts=0)
        self.name = self._choose()
        if lowered.law.limit and self.name not in ("RK45", "DOP853") and dynamics.dimension > LARGE:
            raise EngineError(
                f"implicit methods take at most {LARGE} unknowns of the backprop limit, whose Jacobian is full, got "
                f"{dynamics.dimension}: use DOP853."
            )
        if lowered.law.flip == "track":
            self.s = track_sign(1.0, float(self.y @ self.y), lowered.law.radius, lowered.law.hysteresis)
        if state is not None:
            self._restore(state)
        self.aim(Goal(lowered.span[0]))

    def _choose(self) -> str:
        if self.method.name != "auto":
            return self.method.name
        if self.dynamics.dimension <= SMALL:
            return "LSODA"
        if self.lowered.law.limit:  # the fast part is gone
            return "DOP853"
        start, end = self.lowered.span
        jacobian = self.dynamics.jacobian(self.y, self.dynamics.drive(start), 1.0)
        speed = float(abs(jacobian).sum(axis=1).max())
        return "BDF" if speed * (end - start) > STIFF else "DOP853"

    def aim(self, goal: Goal) -> None:
        """Set the next goal."""
        self.until, self.recorder = goal.until, Recorder(len(self.lowered.initial), goal)
        if self.status == "success":
            self.status = "running"

    def advance(self, seconds: float) -> bool:
        """Take steps for about so many seconds; return whether there is more to do."""
        deadline = perf_counter() + seconds
        with np.errstate(all="ignore"):
            try:
                while self.status == "running":
                    self._move()
                    if perf_counter() > deadline:
                        break
            except Stop as stop:
                self.status = stop.status
            except NoFixedPointError:
                self.status = "no_fixed_point"
            except (ValueError, RuntimeError, np.linalg.LinAlgError):  # a Newton matrix with NaN or singular
                self.status = "diverged"
        return self.status == "running"

    def result(self) -> Result:
        """The samples since the last `aim`."""
        counts = self.counts + self._solver_counts()
        statistics: dict[str, int | float | str] = {"solver": self.name, **{name: counts[name] for name in self.counts}}
        return self.recorder.result(self.status, self.reached, statistics)

    def present(self, t: float) -> Floats:
        """The full state at a time within the step taken last, or at its end."""
        y = self._at(t) if t < self.reached else self.y
        return self.dynamics.full(y, self.dynamics.drive(t, self._inside(t))).copy()

    def feed(self, lowered: Lowered) -> None:
        """Go on with other signals; a stretch that ended where they did may go on."""
        guess = self.dynamics.guess
        before, self.lowered = self.lowered.span[1], lowered
        self.dynamics = dynamics_of(lowered.field, lowered.law)
        self.dynamics.guess = guess
        if self.solver is not None and self.stop == before:
            jumps = self.over and (self.flipped or self._is_stop(self.reached))
            if not jumps:
                self.over = False
                self.stop = self._next_stop(self.reached)
                solvers.extend(self.solver, self.stop)

    def export(self) -> State:
        """Time, state and sign, and all that the solver remembers."""
        state: State = {name: getattr(self, name) for name in _PLAIN}
        state |= {
            "y": self.y.copy(),
            "before": self.before.copy(),
            "guess": self.dynamics.guess.copy(),
            "counts": dict(self.counts),
        }
        if self.solver is not None:
            state["solver"] = solvers.export(self.solver)
        return state

    def _restore(self, state: State) -> None:
        check(state, self._schema())
        for name in _PLAIN:
            setattr(self, name, state[name])
        self.y, self.before, self.counts = state["y"].copy(), state["before"].copy(), Counter(state["counts"])
        last = now = self.lowered.span[0]
        if "solver" in state:
            saved = state["solver"]
            solvers.check_state(self._new_solver(self.entered, self.y), saved)
            self.solver = self._new_solver(saved["t"], saved["y"])
            solvers.restore(self.solver, saved)
            last, now = self.solver.t if self.solver.t_old is None else self.solver.t_old, self.solver.t
        elif not self.over:
            raise ValueError("it has no solver")
        if not (last <= self.reached <= now <= self.stop and self.entered <= self.reached):
            raise ValueError("its times are in another order")
        self.dynamics.guess = state["guess"].copy()

    def _schema(self) -> Schema:
        """What a state holds."""
        rules: dict[str, Any] = dict.fromkeys(("reached", "entered", "stop"), real)
        names = SCIPY if self.method.name == "auto" else (self.name,)
        rules |= {"s": one_of(-1.0, 1.0), "over": flag, "flipped": flag, "name": one_of(*names)}
        rules |= dict.fromkeys(("y", "before"), array(*self.y.shape))
        rules |= {"guess": array(*self.dynamics.guess.shape), "solver?": schema.table()}
        return rules | {"counts": dict.fromkeys(self.counts, whole())}

    # -- one step after the other ------------------------------------------------------------------------------------
    def _move(self) -> None:
        """End at the goal, or take a step; between two moves nothing before the present time is due."""
        end, recorder = self.lowered.span[1], self.recorder
        self._save_due()
        if self.reached >= end:
            while recorder.count < len(recorder.times):
                t, law = float(recorder.times[recorder.count]), self.lowered.law
                s = float(periodic_sign(np.array(t), law.frequency)) if law.flip == "periodic" else self.s
                recorder.add(self.dynamics, self.y, self.dynamics.drive(t), s)
        if self.reached >= min(self.until, end) and recorder.count == len(recorder.times):
            self.status = "success"
        else:
            self._step()
            self._save_due()

    def _step(self) -> None:
        if self.over:
            self._enter()
        if self.counts["steps"] >= self.method.max_steps:
            raise Stop("max_steps")
        solver = self.solver
        try:
            solver.step()
            stuck = solver.status == "failed"
        except solvers.StuckError:
            stuck = True
        stalled = solver.status == "running" and solver.t - solver.t_old <= 4 * np.spacing(solver.t)
        if stuck or stalled:  # LSODA goes on for ever where t + h = t
            raise Stop("diverged" if self._blown_up() else "step_too_small")
        check_finite(solver.y)
        self.counts["steps"] += 1
        flip = self._flip_within(solver) if self.lowered.law.flip == "track" else None
        self.before, self._within = self.y, None
        self.y = solver.y.copy() if flip is None else solver.dense_output()(flip)
        self.reached = float(solver.t if flip is None else flip)
        self.flipped = flip is not None
        self.over = self.flipped or solver.status != "running"
        if self.flipped and self.reached <= self.entered:
            raise Stop("step_too_small")

    def _blown_up(self) -> bool:
        """Whether the solution runs off to infinity within no time, rather than that the problem is hard."""
        largest = float(np.abs(self.y).max())
        growth = largest / (1.0 + float(np.abs(self.lowered.initial).max()))
        drive = self.dynamics.drive(self.reached, self._inside(self.reached))
        speed = float(np.abs(self.dynamics.rhs(self.y, drive, self.s, np.empty_like(self.y))).max())
        sudden = largest < SUDDEN * (self.reached - self.lowered.span[0]) * speed
        return growth > BLOW_UP or (growth > STEEP and sudden)

    def _enter(self) -> None:
        """Begin the stretch up to the next stop: its pieces of the signals, its sign."""
        self.counts.update(self._solver_counts())
        self.counts["restarts"] += 1
        if self.flipped:
            self.s, self.flipped = -self.s, False
        self.entered = self.reached
        if self.reached >= self.stop:
            self.stop = self._next_stop(self.reached)
        law = self.lowered.law
        if law.flip == "periodic":
            self.s = float(periodic_sign(np.array((self.entered + self.stop) / 2), law.frequency))
        self.solver, self.over = self._new_solver(self.reached, self.y), False

    def _solver_counts(self) -> Counter[str]:
        solver = self.solver
        if solver is None:
            return Counter()
        return Counter(rhs=int(solver.nfev), jacobians=int(solver.njev), factorizations=int(solver.nlu))

    def _inside(self, t: float) -> float:
        """A time whose pieces are in force for the stretch: at a stop, and beyond it, the limit from the inside."""
        middle = (self.entered + self.stop) / 2
        last = max(middle, self.stop - 10 * ROUNDING * max(abs(self.entered), abs(self.stop)))
        return min(max(t, self.entered), last)

    def _new_solver(self, t: float, y: Floats) -> Any:
        def rhs(t: float, y: Floats) -> Floats:
            drive = self.dynamics.drive(t, self._inside(t))
            return self.dynamics.rhs(y, drive, self.s, np.empty_like(y))

        def jacobian(t: float, y: Floats) -> Any:
            return self.dynamics.jacobian(y, self.dynamics.drive(t, self._inside(t)), self.s)

        def dense_jacobian(t: float, y: Floats) -> Floats:
            matrix = jacobian(t, y)
            return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()

        options: dict[str, Any] = {"rtol": self.method.rtol, "atol": self.method.atol}
        if self.name in ("BDF", "Radau"):
            options["jac"] = jacobian
        elif self.name == "LSODA":
            options["jac"] = dense_jacobian
        return solvers.prepared(SCIPY[self.name](rhs, t, y, self.stop, **options))

    def _save_due(self) -> None:
        """Save the rows due before the present time; a row at a stop belongs to what follows it."""
        recorder = self.recorder
        while recorder.count < len(recorder.times) and recorder.times[recorder.count] < self.reached:
            when = float(recorder.times[recorder.count])
            recorder.add(self.dynamics, self._at(when), self.dynamics.drive(when, self._inside(when)), self.s)

    def _at(self, t: float) -> Floats:
        """The solver's state within the step taken last."""
        if self._within is None:
            self._within = self.solver.dense_output()
        return self._within(t) if t != self.solver.t_old else self.before

    def _flip_within(self, solver: Any) -> float | None:
        """First time in the step just taken at which |state|² leaves the band of the present sign, or None."""
        law = self.lowered.law
        level = law.radius if self.s > 0 else (1.0 - law.hysteresis) * law.radius
        interpolant = solver.dense_output()

        def excess(t: float) -> float:
            y = interpolant(t)
            return self.s * (float(y @ y) - level)

        times = np.linspace(solver.t_old, solver.t, LOOKS + 1)
        if excess(times[0]) >= 0:
            return float(solver.t) if self.s * (float(solver.y @ solver.y) - level) > 0 else None
        for low, high in pairwise(times):
            if excess(high) > 0:
                return float(brentq(excess, low, high, xtol=1e-14, rtol=1e-14))
        return None

    # -- times to be hit exactly -------------------------------------------------------------------------------------
    def _next_stop(self, t: float) -> float:
        """The first stop after `t`, or the end; of several that are equal but for rounding the last."""
        end = self.lowered.span[1]
        found = self._after(t)
        while found < end:
            further = min(self._after(found), end)
            if further - found > ROUNDING * max(abs(self.lowered.span[0]), abs(further)):
                return found
            found = further
        return end

    def _after(self, t: float) -> float:
        candidates = [np.inf]
        for signal in self.dynamics.signals():
            k = int(np.searchsorted(signal.stops, t, side="right"))
            candidates += signal.stops[k : k + 1].tolist()
        if self.lowered.law.flip == "periodic":
            half = 1.0 / (2.0 * self.lowered.law.frequency)
            k = int(np.floor(t / half - 0.5))
            candidates += [when for n in (k, k + 1, k + 2) if (when := (n + 0.5) * half) > t][:1]
        return min(candidates)

    def _is_stop(self, t: float) -> bool:
        return self._after(np.nextafter(t, -np.inf)) == t
