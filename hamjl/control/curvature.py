"""The smallest curvature of G at a control, so that a saddle is not called a minimum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hamjl.control.transcription import Transcription

Array = NDArray[np.floating]

STEPS = 30  # of Lanczos's method
POWERS = 6  # of the inverse


def smallest(problem: Transcription, unknown: Array) -> tuple[float, Array]:
    """The smallest Rayleigh quotient of the Hessian that was found, and its direction, of norm 1.

    The metric is that of the unknown, in which the curvature of kinetic term and regulariser is 1: an exact problem's
    by inverse iteration, and then its sign is certain; else by Lanczos's method.
    """
    direction: Array = np.random.default_rng(0).normal(size=unknown.size)
    direction /= np.linalg.norm(direction)
    if not problem.exact:
        return _lanczos(problem, unknown, direction)
    shift = 0.0
    factored = problem.factored(unknown, shift)
    while factored is None and shift < 1e8:
        shift = max(2 * shift, 0.1)
        factored = problem.factored(unknown, shift)
    if factored is None:
        return np.nan, direction
    for _ in range(POWERS):
        direction = factored(direction)
        direction /= np.linalg.norm(direction)
    return float(direction @ problem.curvature(unknown, direction)), direction


def _lanczos(problem: Transcription, unknown: Array, direction: Array) -> tuple[float, Array]:
    basis, diagonal, beside = [direction], [], list[float]()
    for _ in range(min(STEPS, unknown.size)):
        product = problem.curvature(unknown, basis[-1])
        diagonal.append(float(product @ basis[-1]))
        for vector in basis:
            product = product - (product @ vector) * vector
        size = float(np.linalg.norm(product))
        if not size > 1e-10:
            break
        beside.append(size)
        basis.append(product / size)
    inner = beside[: len(diagonal) - 1]
    values, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(inner, 1) + np.diag(inner, -1))
    found = np.tensordot(vectors[:, 0], np.array(basis[: len(diagonal)]), 1)
    return float(values[0]), found / np.linalg.norm(found)
