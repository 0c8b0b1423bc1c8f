"""What the samples of a trajectory say of it, on plain arrays: energies, powers, residuals of the law's equations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hamjl import second_order
from hamjl.dynamics import FullDynamics
from hamjl.dynamics.network import NetworkDynamics
from hamjl.lowered import Floats
from hamjl.methods import Euler, Method


class Instants(NamedTuple):
    """States y (time, state), signs s (time,) and drives at times t, with the signals in force at times `inside`."""

    t: Floats
    y: Floats
    s: Floats
    inside: Floats
    drive: Floats


Quantity = Callable[[Instants], Floats]


@dataclass(frozen=True, eq=False)
class Record:
    """A trajectory: full states y (time, state) and signs s (time,) at two or more times t."""

    dynamics: FullDynamics
    method: Method
    t: Floats
    y: Floats
    s: Floats


def intervals(record: Record) -> tuple[Instants, Instants, Instants, np.ndarray]:
    """The left and right ends and the middle of each sampling interval, and whether nothing jumps in it.

    The middle is that of the cubic through both ends; at the right end it is the limit from the left.
    """
    dynamics, t, y, s = record.dynamics, record.t, record.y, record.s
    middle, h = (t[1:] + t[:-1]) / 2, np.diff(t)[:, None]
    before = np.maximum(middle, t[1:] - 1e-12 * np.abs(t[[0, -1]]).max())

    def instants(t: Floats, y: Floats, inside: Floats) -> Instants:
        return Instants(t, y, s[:-1], inside, dynamics.drive(t, inside))

    left, right = instants(t[:-1], y[:-1], t[:-1]), instants(t[1:], y[1:], before)
    between = (left.y + right.y) / 2 + h / 8 * (_rhs(dynamics, left) - _rhs(dynamics, right))
    return left, right, instants(middle, between, middle), _whole(record)


def _whole(record: Record) -> np.ndarray:
    """Whether neither a signal nor the sign jumps within an interval, (time - 1,)."""
    t, s, law = record.t, record.s, record.dynamics.law
    whole = np.ones(len(t) - 1, dtype=bool)
    for table in record.dynamics.signals():
        whole &= np.searchsorted(table.stops, t[:-1], side="right") == np.searchsorted(table.stops, t[1:])
    if law.flip == "periodic":
        phase = 2 * law.frequency * t + 0.5
        whole &= np.floor(phase[:-1] + 1e-9) == np.ceil(phase[1:] - 1e-9) - 1
    elif law.flip == "step":
        whole[:] = False  # it flips within every interval, whatever the signs at its ends
    elif law.flip != "none":
        whole &= s[1:] == s[:-1]
    return whole


def action(record: Record) -> Floats:
    """The integral of the Lagrangian up to each sample, (time,): Simpson's rule, or the trapezoidal one of steps."""
    dynamics = record.dynamics
    left, right, middle, _ = intervals(record)
    ends = [dynamics.lagrangian(at.y, at.drive) * dynamics.phi(at.t) for at in (left, middle, right)]
    weights = (0.5, 0.0, 0.5) if isinstance(record.method, Euler) else (1 / 6, 4 / 6, 1 / 6)
    steps = np.diff(record.t) * sum(w * e for w, e in zip(weights, ends, strict=True))
    return np.concatenate(([0.0], np.cumsum(steps)))


def powers(record: Record) -> dict[str, Floats]:
    """The terms of d(H/φ)/dt at the samples, each (time,)."""
    return record.dynamics.powers(record.t, record.y, record.s)


def hamiltonian(record: Record) -> Floats:
    """H/φ at the samples, (time,)."""
    return record.dynamics.hamiltonian(record.y, record.dynamics.drive(record.t))


def balance(record: Record) -> dict[str, Floats]:
    """``change`` of H/φ over the interval that ends at each sample, that ``predicted``, and ``imbalance``, (time,).

    NaN at the first sample and where an interval is not whole.
    """
    dynamics = record.dynamics
    left, right, middle, whole = intervals(record)
    ends = [sum(dynamics.powers(*at[:4]).values(), np.zeros(len(at.t))) for at in (left, middle, right)]
    predicted = np.diff(record.t) * (ends[0] + 4 * ends[1] + ends[2]) / 6
    change = dynamics.hamiltonian(right.y, right.drive) - dynamics.hamiltonian(left.y, left.drive)
    found = {"change": change, "predicted": predicted, "imbalance": change - predicted}
    return {name: np.concatenate(([np.nan], np.where(whole, values, np.nan))) for name, values in found.items()}


def residual(record: Record) -> Floats:
    """Observed rates of change minus the law's, (time, state); of x and p_x at rest, the residual of that."""
    dynamics = record.dynamics

    def flow(at: Instants) -> Floats:
        """The increments of the law's own steps by their length, or its right-hand side where it has no steps."""
        rates = _rhs(dynamics, at)
        if dynamics.law.semi_implicit and isinstance(record.method, Euler):
            return dynamics.lead(rates, at.s[:, None], record.method.step)
        return rates

    result = _mismatch(record, lambda at: at.y, flow)
    if not dynamics.law.limit:
        return result
    at_rest = dynamics.equilibrium_residual(record.y, dynamics.drive(record.t), result)
    return np.where(np.isnan(result), np.nan, at_rest)


def second_order_residual(record: Record) -> Floats:
    """The residuals of w'' and of λ' by (16), or (19), (time, arc + neuron)."""
    dynamics = record.dynamics
    assert isinstance(dynamics, NetworkDynamics)

    def quantities(at: Instants) -> Floats:
        return second_order.quantities(dynamics, at.y, at.drive, at.s[:, None])

    def rates(at: Instants) -> Floats:
        slopes = dynamics.slopes(at.t, at.inside)
        return second_order.rates(dynamics, at.y, at.drive, slopes, at.s[:, None])

    return _mismatch(record, quantities, rates)


def _mismatch(record: Record, quantity: Quantity, rate: Quantity) -> Floats:
    """Observed minus given rate of change of a quantity, (time, …), at the left ends of the intervals.

    The given one is that at the left end where samples are one step apart, else Simpson's mean. NaN at the last sample
    and where an interval is not whole.
    """
    h = np.diff(record.t)[:, None]
    left, right, middle, whole = intervals(record)
    observed = (quantity(right) - quantity(left)) / h
    if isinstance(record.method, Euler):
        whole = np.abs(h[:, 0] / record.method.step - 1) < 1e-6
        result = observed - rate(left)
    else:
        result = observed - (rate(left) + 4 * rate(middle) + rate(right)) / 6
    result = np.where(whole[:, None], result, np.nan)
    return np.concatenate((result, np.full((1, result.shape[1]), np.nan)))


def _rhs(dynamics: FullDynamics, at: Instants) -> Floats:
    return dynamics.rhs(at.y, at.drive, at.s[:, None], np.empty_like(at.y))
