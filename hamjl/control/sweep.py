"""Newton's step by one Riccati sweep over the intervals of a mesh: exact, at a cost linear in their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hamjl.control.collocation import MATRIX, ROOT3

if TYPE_CHECKING:
    from hamjl.control.transcription import Point

Array = NDArray[np.floating]


CHUNK = 64  # intervals whose forms are made at once


class Sweep:
    """The Hessian of G by the unknown, or Gauss and Newton's, plus `shift` times the identity, factored.

    The second variation of G is a linear-quadratic problem: on each interval a quadratic form in the state
    s = (δx, memory of the driver) at its beginning and the part y of the unknown in it. Riccati's recursion from the
    last interval to the first factors it, block by block: that succeeds if and only if it is positive definite.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is not.
    """

    def __init__(self, point: Point, shift: float, *, gauss_newton: bool = False) -> None:
        from scipy.linalg.lapack import dpotrf, dtrtrs  # here, so that `import hamjl` loads no SciPy

        s, steps = point.x.shape[-1] + point.of.control.memory, len(point.of.mesh)
        # by interval, from the last on: the next s by (s, y); L Lᵀ is the form of y, and L⁻¹ its part (y, s)
        self.move, self.root, self.feed = [], [], []
        value, weight = np.zeros((s, s)), 0.0 if gauss_newton else 1.0
        for stop in range(steps, 0, -CHUNK):
            outer, core, values, places = intervals(point, slice(max(0, stop - CHUNK), stop), shift, weight)
            for rows, middle, own in zip(outer[::-1], core[::-1], values[::-1], strict=True):
                middle[:s, :s] = value
                form = rows.T @ (middle @ rows)
                form.ravel()[places] += own
                root, failed = dpotrf(form[s:, s:], lower=1, clean=0)
                if failed:
                    raise np.linalg.LinAlgError("the Hessian is not positive definite")
                feed, _ = dtrtrs(root, form[s:, :s], lower=1)
                value = form[:s, :s] - feed.T @ feed
                self.move.append(rows[:s].copy())
                self.root.append(root)
                self.feed.append(feed)
        if not np.isfinite(value).all():
            raise np.linalg.LinAlgError("the Hessian is not finite")

    def solve(self, right: Array) -> Array:
        """The inverse of the shifted Hessian times a vector like the unknown."""
        from scipy.linalg.lapack import dtrtrs

        s, parts = self.feed[0].shape[1], right.reshape(len(self.move), -1)
        pull, own = np.zeros(s), []
        for part, move, root, feed in zip(parts[::-1], self.move, self.root, self.feed, strict=True):
            pulled = pull @ move
            half, _ = dtrtrs(root, part + pulled[s:], lower=1)
            pull = pulled[:s] - half @ feed
            own.append(half)
        both, result = np.zeros(len(self.move[0][0])), np.empty_like(parts)  # (s, y)
        backwards = (part[::-1] for part in (own, self.move, self.root, self.feed))
        for y, half, move, root, feed in zip(result, *backwards, strict=True):
            both[s:], _ = dtrtrs(root, half - feed @ both[:s], lower=1, trans=1)
            y[:] = both[s:]
            both[:s] = move @ both
        return result.ravel()


def intervals(point: Point, part: slice, shift: float, weight: float) -> tuple[Array, Array, Array, NDArray[np.intp]]:
    """The second variation of G on some intervals, and what comes after it, as a form in z = (δx, memory, y_1, y_2).

    `weight` is that of the costates.

    Returns
    -------
    outer : (k, s + r, z), core : (k, s + r, s + r)
        Their product outerᵀ core outer is the form but for the diagonals of its blocks. The first s rows are the move
        from z to s at the next node; the form in that is left free in `core`.
    values : (k, …), places : (…)
        Those diagonals, and where in the flat form they are.
    """
    control, mesh, flow = point.of.control, point.of.mesh, point.flow
    stages, effort, across = control.map(part)  # (k, 2, a), (k, 2, a), (k, a) over the parts a = memory?, y_1, y_2
    n, m, (count, parts) = point.x.shape[-1], control.shape[-1], across.shape
    rows, middle, bend, by_driver = point.second_variation(part, weight)
    s, z, r = n + control.memory, n + parts * m, rows.shape[2]
    weight = mesh.h[part, None, None, None, None] * MATRIX[:, :, None, None]
    push = (weight * by_driver[:, None]).transpose(0, 1, 3, 2, 4).reshape(count, 2 * n, 2 * m)
    driven = flow.inverse[part] @ push
    x = np.empty((count, 2 * n, z))  # at the stages, by z
    x[:, :, :n] = flow.from_node[part]
    columns = [slice(n + a * m, n + (a + 1) * m) for a in range(parts)]
    for a, at in enumerate(columns):
        first, second = stages[:, :, a].T[..., None, None]
        x[:, :, at] = first * driven[:, :, :m] + second * driven[:, :, m:]

    outer, core = np.zeros((count, s + 2 * r, z)), np.zeros((count, s + 2 * r, s + 2 * r))
    outer[:, :n] = ROOT3 * (x[:, n:] - x[:, :n])
    outer[:, :n, :n] += np.eye(n)
    for i in range(2):
        mine = slice(s + i * r, s + (i + 1) * r)
        core[:, mine, mine] = middle[:, i]
        np.matmul(rows[:, i, :, :n], x[:, i * n : (i + 1) * n], out=outer[:, mine])
        for a, at in enumerate(columns):
            outer[:, mine, at] += stages[:, i, a, None, None] * rows[:, i, :, n:]
    if control.memory:
        for a, at in enumerate(columns):
            np.einsum("kii->ki", outer[:, n:s, at])[:] = across[:, a, None]

    values = np.einsum("kia,kib,kim->kabm", stages, stages, bend)
    values += (np.swapaxes(effort, 1, 2) @ effort)[..., None]
    values[:, range(parts - 2, parts), range(parts - 2, parts)] += shift
    at = n + np.arange(parts * m).reshape(parts, m)
    return outer, core, values.reshape(count, -1), (at[:, None] * z + at).ravel()
