"""Algorithm 1: explicit Euler with a fixed step, everything updated simultaneously."""

from __future__ import annotations

import numpy as np

from hamjl.dynamics import Dynamics, NoFixedPointError
from hamjl.engines.python.recorder import Recorder, Stop, check_finite, track_sign
from hamjl.lowered import Floats, LawCode, Lowered, Monitor, Result

BLOCK = 1024  # steps whose drives are tabulated at once


def run_euler(dynamics: Dynamics, lowered: Lowered, monitor: Monitor) -> Result:
    """Take ``save[-1]`` steps, keeping the states before the steps counted in ``save``."""
    recorder = Recorder(dynamics, lowered)
    step, start, law = lowered.method.step, lowered.span[0], lowered.law
    last = int(lowered.save[-1])
    y = dynamics.restrict(lowered.initial)
    dy = np.empty_like(y)
    k, s, status = 0, 1.0, "success"
    try:
        upcoming = int(lowered.save[0])
        for first in range(0, last + 1, BLOCK):
            count = min(BLOCK, last + 1 - first)
            t = start + np.arange(first, first + count) * step
            drives, signs = dynamics.drive(t), _signs(law, t, first)
            monitor(float(t[0]))
            for k in range(first, first + count):
                drive = drives[k - first]
                s = float(signs[k - first]) if law.flip != "track" else _track(s, y, law)
                if k == upcoming:
                    recorder.save(y, drive, s)
                    upcoming = int(lowered.save[recorder.count]) if recorder.count < len(lowered.save) else -1
                if k < last:
                    dynamics.rhs(y, drive, s, dy)
                    if law.semi_implicit:
                        dynamics.lead(dy, s, step)
                    dy *= step
                    y += dy
            check_finite(y)
    except KeyboardInterrupt:
        status = "interrupted"
    except Stop as stop:
        status = stop.status
    except NoFixedPointError:
        status = "no_fixed_point"
    return recorder.result(status, start + k * step, {"steps": k})


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
