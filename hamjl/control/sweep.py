"""Newton's step by one Riccati sweep over the intervals of a mesh: exact, at a cost linear in their number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hamjl.control.collocation import MATRIX, ROOT3

if TYPE_CHECKING:
    from hamjl.control.transcription import Point

Array = NDArray[np.floating]


class Sweep:
    """The Hessian of G by the unknown, plus `shift` times the identity, factored.

    The second variation of G is a linear-quadratic problem: on each interval a quadratic form in the state
    s = (δx, memory of the driver) at its beginning and the part y of the unknown in it. Riccati's recursion from the last
    interval to the first factors it, block by block: that succeeds if and only if it is positive definite.

    Raises
    ------
    numpy.linalg.LinAlgError
        If it is not.
    """

    def __init__(self, point: Point, shift: float) -> None:
        from scipy.linalg.lapack import dpotrf, dtrtrs  # here, so that `import hamjl` loads no SciPy

        left, right, values, places, self.move = intervals(point, shift)
        s = self.move.shape[1]
        self.root, self.feed = [], []  # by interval, from the last on: L Lᵀ is the form of y, and L⁻¹ its part (y, s)
        value = np.zeros((s, s))
        for outer, inner, own, move in zip(left[::-1], right[::-1], values[::-1], self.move[::-1], strict=True):
            outer[:s], inner[:s] = move, value @ move
            form = outer.T @ inner
            form.ravel()[places] += own
            root, failed = dpotrf(form[s:, s:], lower=1, clean=0)
            if failed:
                raise np.linalg.LinAlgError("the Hessian is not positive definite")
            feed, _ = dtrtrs(root, form[s:, :s], lower=1)
            value = form[:s, :s] - feed.T @ feed
            self.root.append(root)
            self.feed.append(feed)
        if not np.isfinite(value).all():
            raise np.linalg.LinAlgError("the Hessian is not finite")

    def solve(self, right: Array) -> Array:
        """The inverse of the shifted Hessian times a vector like the unknown."""
        from scipy.linalg.lapack import dtrtrs

        s, parts = self.move.shape[1], right.reshape(len(self.move), -1)
        pull, own = np.zeros(s), []
        for part, move, root, feed in zip(parts[::-1], self.move[::-1], self.root, self.feed, strict=True):
            pulled = pull @ move
            half, _ = dtrtrs(root, part + pulled[s:], lower=1)
            pull = pulled[:s] - half @ feed
            own.append(half)
        both, result = np.zeros(self.move.shape[2]), np.empty_like(parts)  # (s, y)
        for y, half, move, root, feed in zip(
            result, own[::-1], self.move, self.root[::-1], self.feed[::-1], strict=True
        ):
            both[s:], _ = dtrtrs(root, half - feed @ both[:s], lower=1, trans=1)
            y[:] = both[s:]
            both[:s] = move @ both
        return result.ravel()


def intervals(point: Point, shift: float) -> tuple[Array, Array, Array, NDArray[np.intp], Array]:
    """The second variation of G on each interval, as a form in z = (δx, memory, y_1, y_2).

    Returns
    -------
    left, right : (k, s + r, z)
        Their product leftᵀ right is the form but for the diagonals of its blocks; the first s rows are left free, for
        what comes later in time.
    values : (k, …), places : (…)
        Those diagonals, and where in the flat form they are.
    move : (k, s, z)
        From z to s at the next node.
    """
    control, mesh, flow = point.of.control, point.of.mesh, point.flow
    stages, effort, across = control.map()  # (k, 2, a), (k, 2, a), (k, a) over the parts a = memory?, y_1, y_2
    n, m, count, parts = point.x.shape[-1], control.shape[-1], len(mesh), across.shape[1]
    s, z = n + control.memory, n + parts * m
    outer, inner, bend, by_driver = point.second_variation()
    weight = mesh.h[:, None, None, None, None] * MATRIX[:, :, None, None]
    push = (weight * by_driver[:, None]).transpose(0, 1, 3, 2, 4).reshape(count, 2 * n, 2, m)
    driven = (flow.inverse @ push.reshape(count, 2 * n, -1)).reshape(count, 2 * n, 2, m)
    x = np.empty((count, 2 * n, z))  # at the stages, by z
    x[:, :, :n] = flow.from_node
    for a in range(parts):
        x[:, :, n + a * m : n + (a + 1) * m] = np.einsum("kj,krjm->krm", stages[:, :, a], driven)
    move = np.zeros((count, s, z))
    move[:, :n] = ROOT3 * (x[:, n:] - x[:, :n])
    move[:, :n, :n] += np.eye(n)
    if control.memory:
        for a in range(parts):
            np.einsum("kii->ki", move[:, n:, n + a * m : n + (a + 1) * m])[:] = across[:, a, None]

    def of_z(form: Array) -> Array:
        """Rows (k, 2, r, x + driver) at the stages as rows (k, s + 2 r, z)."""
        r = form.shape[2]
        result = np.empty((count, s + 2 * r, z))
        by_stage = result[:, s:].reshape(count, 2, r, z)
        np.matmul(form[..., :n], x.reshape(count, 2, n, z), out=by_stage)
        for a in range(parts):
            by_stage[..., n + a * m : n + (a + 1) * m] += stages[:, :, a, None, None] * form[..., n:]
        return result

    blocks = np.swapaxes(effort, 1, 2) @ effort
    values = np.einsum("kia,kib,kim->kabm", stages, stages, bend) + blocks[..., None]
    values[:, range(parts - 2, parts), range(parts - 2, parts)] += shift
    at = n + np.arange(parts * m).reshape(parts, m)
    places = (at[:, None] * z + at).ravel()
    return of_z(outer), of_z(inner), values.reshape(count, -1), places, move
