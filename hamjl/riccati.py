"""The Riccati equation of linear-quadratic problems, backward, forward and reversed in time (Example 2)."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from hamjl.checks import choice, finite, increasing
from hamjl.errors import ProblemError
from hamjl.lowered import Floats

LONGEST = 5.0  # |flow| times a step, so that both its growing and its shrinking part are kept
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
    flow = np.block([[a, -b @ np.linalg.solve(r, b.T)], [-q, -a.T]])  # of (x, p)
    steps, rounding = np.diff(when), 4 * float(np.spacing(np.abs(when).max()))
    if direction == "backward":
        values = _carry(-flow, steps[::-1], rounding)[::-1]
    else:
        values = _carry(flow if direction == "forward" else -flow, steps, rounding)
    attrs = {"long_name": f"Θ of p = Θ x, {direction.replace('_', ' ')} Riccati equation", "units": "cost"}
    coords = {"time": when, "costate": np.arange(n), "state": np.arange(n)}
    return xr.DataArray(values, coords, ("time", "costate", "state"), name="riccati", attrs=attrs)


def _carry(flow: Floats, steps: Floats, rounding: float) -> Floats:
    """Θ = p x⁻¹ from 0 along the linear flow of (x, p), (step + 1, n, n); steps are known up to `rounding`."""
    from scipy.linalg import expm

    n, speed = len(flow) // 2, np.abs(flow).sum(axis=1).max()
    result = np.zeros((len(steps) + 1, n, n))
    taken = -1.0
    for k, step in enumerate(steps):
        theta = result[k]
        if abs(step - taken) > rounding:
            taken, parts = step, 1 + int(speed * step / LONGEST)
            moved = expm(flow * (step / parts))
        for _ in range(parts):
            x = moved[:n, :n] + moved[:n, n:] @ theta
            p = moved[n:, :n] + moved[n:, n:] @ theta
            theta = np.linalg.solve(x.T, p.T).T
            theta = (theta + theta.T) / 2
        result[k + 1] = theta
    return result


def _matrix(values: ArrayLike, name: str) -> Floats:
    matrix = np.atleast_2d(finite(values, name))
    if matrix.ndim != 2:
        raise ProblemError(f"{name} must be a matrix or a number, got shape {matrix.shape}: reshape it.")
    return matrix
