"""The Riccati equation of linear-quadratic problems, backward, forward and reversed in time (Example 2)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from hamjl.checks import choice, finite, increasing
from hamjl.errors import ProblemError
from hamjl.lowered import Floats

DIRECTIONS = ("time_reversed", "backward", "forward")


def riccati(
    a: ArrayLike, b: ArrayLike, q: ArrayLike, r: ArrayLike, times: ArrayLike, direction: str = "time_reversed"
) -> xr.DataArray:
    """Θ(t) of p = Θ x for x' = a x + b v and the running cost (xᵀ q x + vᵀ r v)/2.

    Parameters
    ----------
    a, b, q, r : array of float
        (state, state), (state, control), (state, state), (control, control), or numbers. Symmetric: q, without negative
        eigenvalues, and r, with positive ones.
    times : array of float, (time,)
        Increasing; Θ is 0 at the last for ``"backward"``, else at the first.
    direction : {"time_reversed", "backward", "forward"}
        ``"backward"`` is the optimal control's ``Θ' = Θ s Θ - aᵀ Θ - Θ a - q`` with s = b r⁻¹ bᵀ, which must be known
        from the end; ``"forward"`` the same from the start, which tends to the root whose closed loop a - s Θ is
        unstable; ``"time_reversed"`` the causal law with the sign flipped for good, which tends to the stable root.

    Returns
    -------
    xarray.DataArray
        (time, costate, state); exact to rounding at every time, whatever the spacing. The control is v = -r⁻¹ bᵀ Θ x;
        with ``"backward"`` the cost from time t to the end is then xᵀ Θ(t) x/2, the least there is.
    """
    a, b, q, r = (_matrix(values, name) for name, values in {"a": a, "b": b, "q": q, "r": r}.items())
    n, controls = b.shape
    for name, values, size in (("a", a, n), ("q", q, n), ("r", r, controls)):
        if values.shape != (size, size):
            raise ProblemError(
                f"{name} must have shape {(size, size)}, as b has {b.shape}, got {values.shape}: change it."
            )
    if not np.allclose(q, q.T) or np.linalg.eigvalsh(q).min() < -1e-12 * np.abs(q).max():
        raise ProblemError(f"q must be symmetric and have no negative eigenvalue, got {q.tolist()}: change it.")
    if not np.allclose(r, r.T) or np.linalg.eigvalsh(r).min() <= 0:
        raise ProblemError(f"r must be symmetric and have positive eigenvalues, got {r.tolist()}: change it.")
    when = increasing(times, "times")
    choice(direction, DIRECTIONS, "direction")
    s = b @ np.linalg.solve(r, b.T)
    if direction == "time_reversed":
        values = _carry(a, s, q, when)
    elif direction == "backward":
        values = _carry(a, s, q, -when[::-1])[::-1]
    else:  # -Θ obeys the reversed equation of -a
        values = 0.0 - _carry(-a, s, q, when)
    if not np.isfinite(values).all():
        raise ProblemError("Θ must stay finite, got infinity: no control reaches some unstable state.")
    attrs = {"long_name": f"Θ of p = Θ x, {direction.replace('_', ' ')} Riccati equation", "units": "cost"}
    coords = {"time": when, "costate": np.arange(n), "state": np.arange(n)}
    return xr.DataArray(values, coords, ("time", "costate", "state"), name="riccati", attrs=attrs)


def _carry(a: Floats, s: Floats, q: Floats, when: Floats) -> Floats:
    """Θ(t) of Θ' = q + aᵀ Θ + Θ a - Θ s Θ from 0, (time, n, n)."""
    result = np.zeros((len(when), *a.shape))
    rounding, taken = 4 * float(np.spacing(np.abs(when).max())), -1.0
    with np.errstate(all="ignore"):
        for k, step in enumerate(np.diff(when)):
            if abs(step - taken) > rounding:
                taken, (e, g, h) = step, _stride(a, s, q, step)
            theta = result[k]
            theta = h + e.T @ theta @ np.linalg.solve(np.eye(len(a)) + g @ theta, e)
            result[k + 1] = (theta + theta.T) / 2
    return result


def _stride(a: Floats, s: Floats, q: Floats, step: float) -> tuple[Floats, Floats, Floats]:
    """E, G, H of Θ(t + step) = H + Eᵀ Θ(t) (1 + G Θ(t))⁻¹ E, by doubling a short stride, in which nothing overflows."""
    from scipy.linalg import expm

    n, one = len(a), np.eye(len(a))
    flow = np.block([[-a, s], [q, a.T]])  # of (x, p) backward in time
    doublings = max(0, int(np.ceil(np.log2(max(np.abs(flow).sum(axis=1).max() * step, 1.0)))))
    short = expm(flow * (step / 2**doublings))
    e = np.linalg.inv(short[:n, :n])
    g, h = e @ short[:n, n:], short[n:, :n] @ e
    for _ in range(doublings):
        between = np.linalg.solve(one + g @ h, np.hstack((e, g)))
        e, g, h = e @ between[:, :n], g + e @ between[:, n:] @ e.T, h + e.T @ h @ between[:, :n]
    return e, g, h


def _matrix(values: ArrayLike, name: str) -> Floats:
    matrix = np.atleast_2d(finite(values, name))
    if matrix.ndim != 2:
        raise ProblemError(f"{name} must be a matrix or a number, got shape {matrix.shape}: reshape it.")
    return matrix
