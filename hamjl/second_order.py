"""The laws as second-order equations in w and first-order ones in λ, (16) and (19)."""

from __future__ import annotations

from typing import Any

import numpy as np

from hamjl.dynamics.network import NetworkDynamics
from hamjl.lowered import Floats


def quantities(dynamics: NetworkDynamics, y: Floats, drive: Floats, s: Any) -> Floats:
    """w' and λ (15) of full states, side by side, (…, weight + neuron)."""
    speed = -s / dynamics.field.inertia * dynamics.split(y)[3]
    return np.concatenate((speed, dynamics.normalized_costate(y, drive)), axis=-1)


def rates(dynamics: NetworkDynamics, y: Floats, drive: Floats, slopes: Floats, s: Any) -> Floats:
    """w'' and λ' by (16), or (19) where the law reverses costates, side by side, (…, weight + neuron).

    `slopes` are the time derivatives of inputs and targets, (…, d + o); `s` is the sign of the flow.
    """
    f, kappa, rate = dynamics.field, dynamics.law.costate_sign, drive[..., -1:]
    x, w, p, pw = dynamics.split(y)
    at, speed = dynamics.at(x, w, drive), -s / f.inertia * pw
    acceleration = -rate * speed + kappa / f.inertia * at.by_driver(p)
    _, da = at.moved(s * at.speed(), speed, slopes[..., : f.inputs])
    turning = -rate * at.slope * p + at.slope_change(s * at.speed(), da) * p - s * kappa * at.slope * at.by_state(p)
    return np.concatenate((acceleration, turning), axis=-1)
