"""The laws as second-order equations in w and first-order ones in λ, (16) and (19)."""

from __future__ import annotations

from typing import Any

import numpy as np

from hamjl.dynamics.network import NetworkDynamics
from hamjl.lowered import Floats


def quantities(dynamics: NetworkDynamics, y: Floats, drive: Floats, s: Any) -> Floats:
    """w' and λ (15) of full states, side by side, (…, arc + neuron)."""
    speed = -s / dynamics.field.inertia * dynamics.split(y)[3]
    return np.concatenate((speed, dynamics.normalized_costate(y, drive)), axis=-1)


def rates(dynamics: NetworkDynamics, y: Floats, drive: Floats, slopes: Floats, s: Any) -> Floats:
    """w'' and λ' by (16), or (19) where the law reverses costates, side by side, (…, arc + neuron).

    `slopes` are the time derivatives of inputs and targets, (…, d + o); `s` is the sign of the flow.
    """
    f, arcs, kappa = dynamics.field, dynamics.arcs, dynamics.law.costate_sign
    x, w, p, _ = dynamics.split(y)
    rate = drive[..., -1:]
    v = np.concatenate((drive[..., : f.inputs], x), axis=-1)
    a = arcs.forward(w, v)
    sigma, slope, curvature = dynamics.activation.with_curvature(a)
    now = quantities(dynamics, y, drive, s)
    speed, costate = now[..., : len(f.source)], now[..., len(f.source) :]

    drift = np.empty_like(w)
    arcs.outer(f.velocity * costate, v, drift)
    drift += f.regularizer_scale * dynamics.regularizer_slope(w)
    acceleration = -rate * speed + kappa / f.inertia * drift

    moving = np.concatenate((slopes[..., : f.inputs], s * f.velocity * (sigma - x)), axis=-1)
    bend = curvature * p * (arcs.forward(speed, v) + arcs.forward(w, moving))  # λ d/dt log σ'(a)
    source = arcs.backward(w, f.velocity * costate)
    source += dynamics.loss.signal(x, drive)
    turning = -rate * costate + bend + s * kappa * (f.velocity * costate - slope * source)
    return np.concatenate((acceleration, turning), axis=-1)
