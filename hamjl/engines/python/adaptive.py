"""Adaptive integration by SciPy's step-by-step solvers, restarted at breakpoints of the signals and at sign flips."""

from __future__ import annotations

import warnings
from collections import Counter
from itertools import pairwise
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.integrate import BDF, DOP853, LSODA, RK45, Radau
from scipy.optimize import brentq

from hamjl.dynamics import Dynamics, NoFixedPointError
from hamjl.engines.python.euler import periodic_sign
from hamjl.engines.python.recorder import Recorder, Stop, check_finite, track_sign
from hamjl.errors import EngineError
from hamjl.lowered import Floats, LawCode, Lowered, Monitor, Result

SOLVERS = {"RK45": RK45, "DOP853": DOP853, "LSODA": LSODA, "BDF": BDF, "Radau": Radau}
SMALL = 200  # unknowns up to which LSODA's dense Jacobian is cheap
LARGE = 4000  # unknowns up to which the full Jacobian of the backprop limit is bearable
STIFF = 1000.0  # |Jacobian| times span above which an explicit solver would crawl
LOOKS = 8  # per step for the track policy: a long step may leave the band and come back
BLOW_UP = 1e6  # growth beyond which a step size of zero means a singularity, not a hard problem


def run_adaptive(dynamics: Dynamics, lowered: Lowered, monitor: Monitor) -> Result:
    """Integrate over the span, saving at ``lowered.times`` by dense output."""
    run = _Run(dynamics, lowered, monitor)
    if lowered.law.limit and run.name not in ("RK45", "DOP853") and dynamics.dimension > LARGE:
        raise EngineError(
            f"implicit methods take at most {LARGE} unknowns of the backprop limit, whose Jacobian is full, got "
            f"{dynamics.dimension}: use DOP853."
        )
    status = "success"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # LSODA's own; the status says it
        try:
            run.integrate()
        except KeyboardInterrupt:
            status = "interrupted"
        except Stop as stop:
            status = stop.status
        except NoFixedPointError:
            status = "no_fixed_point"
        except (ValueError, RuntimeError, np.linalg.LinAlgError):  # a Newton matrix with NaN or singular
            status = "diverged"
    return run.recorder.result(status, run.t, {"solver": run.name, **run.counts})


class _Run:
    """State of one integration: present time, state and sign."""

    def __init__(self, dynamics: Dynamics, lowered: Lowered, monitor: Monitor) -> None:
        self.dynamics, self.lowered, self.monitor = dynamics, lowered, monitor
        self.recorder = Recorder(dynamics, lowered)
        self.t, self.end = lowered.span
        self.y = dynamics.restrict(lowered.initial)
        self.s = 1.0
        self.counts: Counter[str] = Counter(steps=0, rhs=0, jacobians=0, factorizations=0, restarts=0)
        self.name = self._choose()

    def _choose(self) -> str:
        method = self.lowered.method
        if method.name != "auto":
            return method.name
        if self.dynamics.dimension <= SMALL:
            return "LSODA"
        if self.lowered.law.limit:  # the fast part is gone
            return "DOP853"
        start = self.lowered.span[0]
        jacobian = self.dynamics.jacobian(self.y, self.dynamics.drive(start), 1.0)
        speed = float(abs(jacobian).sum(axis=1).max())
        return "BDF" if speed * (self.end - start) > STIFF else "DOP853"

    def integrate(self) -> None:
        law = self.lowered.law
        if law.flip == "track":
            self.s = track_sign(1.0, float(self.y @ self.y), law.radius, law.hysteresis)
        for stop in _stops(self.dynamics, law, self.lowered.span):
            if law.flip == "periodic":
                middle = np.array([(self.t + stop) / 2])
                self.s = float(periodic_sign(middle, law.frequency)[0])
            while self.t < stop:
                self._until(stop)
        self._save_before(np.nextafter(self.end, np.inf), lambda t: self.y, self.end)

    def _until(self, stop: float) -> None:
        """Integrate to `stop`, or to the next flip of the track policy."""
        lowered, start = self.lowered, self.t
        law, method = lowered.law, lowered.method
        inside = (self.t + stop) / 2
        solver = self._solver(stop, inside)
        self.counts["restarts"] += 1
        try:
            while solver.status == "running":
                if self.counts["steps"] >= method.max_steps:
                    raise Stop("max_steps")
                solver.step()
                stalled = solver.status == "running" and solver.t - solver.t_old <= 4 * np.spacing(solver.t)
                if solver.status == "failed" or stalled:  # LSODA goes on for ever where t + h = t
                    blown_up = np.abs(solver.y).max() > BLOW_UP * (1.0 + np.abs(lowered.initial).max())
                    raise Stop("diverged" if blown_up else "step_too_small")
                check_finite(solver.y)
                self.counts["steps"] += 1
                flip = self._flip_within(solver) if law.flip == "track" else None
                until = solver.t if flip is None else flip
                if self._due(until):
                    self._save_before(until, self._along(solver), inside)
                self.y = solver.y.copy() if flip is None else solver.dense_output()(flip)
                self.t = until
                self.monitor(self.t)
                if flip is not None:
                    self.s = -self.s
                    if flip <= start:
                        raise Stop("step_too_small")
                    break
        finally:
            self.counts.update(rhs=int(solver.nfev), jacobians=int(solver.njev), factorizations=int(solver.nlu))

    def _along(self, solver: Any) -> Callable[[float], Floats]:
        """The state within the step just taken; its start is exactly the state before."""
        start, y, interpolant = self.t, self.y, solver.dense_output()
        return lambda t: y if t == start else interpolant(t)

    def _solver(self, stop: float, inside: float) -> Any:
        dynamics, s = self.dynamics, self.s
        constant = self.lowered.method

        def rhs(t: float, y: Floats) -> Floats:
            return dynamics.rhs(y, dynamics.drive(t, inside), s, np.empty_like(y))

        def jacobian(t: float, y: Floats) -> Any:
            return dynamics.jacobian(y, dynamics.drive(t, inside), s)

        def dense_jacobian(t: float, y: Floats) -> Floats:
            matrix = jacobian(t, y)
            return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()

        options: dict[str, Any] = {"rtol": constant.rtol, "atol": constant.atol}
        if self.name in ("BDF", "Radau"):
            options["jac"] = jacobian
        elif self.name == "LSODA":
            options["jac"] = dense_jacobian
        return SOLVERS[self.name](rhs, self.t, self.y, stop, **options)

    def _due(self, t: float) -> bool:
        k = self.recorder.count
        return k < len(self.recorder.times) and bool(self.recorder.times[k] < t)

    def _save_before(self, t: float, state_at: Any, inside: float) -> None:
        """Save the rows due before `t`; a row at a stop belongs to what follows it."""
        while self._due(t):
            when = float(self.recorder.times[self.recorder.count])
            self.recorder.save(state_at(when), self.dynamics.drive(when, inside), self.s)

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


def _stops(dynamics: Dynamics, law: LawCode, span: tuple[float, float]) -> Floats:
    """Times to be hit exactly, the end included."""
    start, end = span
    stops = [table.stops for table in dynamics.signals()] + [np.array([end])]
    if law.flip == "periodic":
        half = 1.0 / (2.0 * law.frequency)
        k = np.arange(np.floor(start / half - 0.5), np.ceil(end / half))
        stops.append((k + 0.5) * half)
    times = np.unique(np.concatenate(stops))
    times = times[(times > start) & (times < end)]
    apart = np.diff(np.append(times, end)) > 1e-13 * max(abs(start), abs(end))  # equal but for rounding: one stop
    return np.append(times[apart], end)
