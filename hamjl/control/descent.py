"""Newton's method for the minimum of G on one mesh, from one start, by exact steps or by conjugate gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hamjl.control.transcription import Transcription

Array = NDArray[np.floating]

ROUNDING = 1e-12  # of the cost: a smaller predicted decrease is judged by the gradient
FIRST, LEAST, MOST = 0.3, 0.02, 1e8  # shifts: where curvature is negative, taken for none, and given up
LARGE = 10.0  # shift from which the curvature of x' = f is rather left out
PRODUCTS = 200  # with the Hessian, for one step


class Steps(Protocol):
    """Proposes steps at a point, more or less careful ones."""

    def propose(self, problem: Transcription, unknown: Array) -> tuple[Array, float] | None:
        """A step and the decrease of G that it promises; None where there is none."""

    def careful(self) -> None:
        """Shorter steps from now on."""

    def bold(self) -> None:
        """Longer steps from now on."""


class ShiftedSteps:
    """Newton steps, each by a Riccati sweep.

    Where the Hessian is not positive it is shifted until it is (Levenberg). Where x is so sensitive to the control that
    this asks for a large shift, the curvature of x' = f is left out (Gauss and Newton): steps with a huge shift are
    short, and get stuck.
    """

    def __init__(self) -> None:
        self.shift = 0.0

    def propose(self, problem: Transcription, unknown: Array) -> tuple[Array, float] | None:
        gradient = problem.gradient(unknown)
        while self.shift < MOST:
            inverse = problem.factored(unknown, self.shift)
            if inverse is None and self.shift >= LARGE:
                inverse = problem.factored(unknown, self.shift, gauss_newton=True)
            if inverse is not None:
                step = inverse(-gradient)
                decrease = -float(gradient @ step) / 2 + self.shift * float(step @ step) / 2
                return step, decrease
            self.careful()
        return None

    def careful(self) -> None:
        self.shift = max(4 * self.shift, FIRST)

    def bold(self) -> None:
        self.shift = self.shift / 4 if self.shift > 4 * LEAST else 0.0


class TrustedSteps:
    """Truncated conjugate gradients within a radius (Steihaug)."""

    def __init__(self, radius: float) -> None:
        self.radius, self.most = radius, 1e3 * radius

    def propose(self, problem: Transcription, unknown: Array) -> tuple[Array, float] | None:
        gradient = problem.gradient(unknown)
        size = float(np.linalg.norm(gradient))
        enough = min(0.5, np.sqrt(size)) * size
        step, change = np.zeros_like(gradient), np.zeros_like(gradient)  # and the Hessian times the step
        rest, direction = gradient.copy(), -gradient
        for _ in range(PRODUCTS):
            product = problem.curvature(unknown, direction)
            bend, square = float(direction @ product), float(rest @ rest)
            length = square / bend if bend > 0 else np.inf
            if not np.isfinite(bend):
                return None
            if bend <= 0 or np.linalg.norm(step + length * direction) >= self.radius:
                length = _to_sphere(step, direction, self.radius)
                step, change = step + length * direction, change + length * product
                break
            step, change = step + length * direction, change + length * product
            rest = rest + length * product
            if np.linalg.norm(rest) <= enough:
                break
            direction = -rest + float(rest @ rest) / square * direction
        return step, -float(gradient @ step) - float(step @ change) / 2

    def careful(self) -> None:
        self.radius /= 4

    def bold(self) -> None:
        self.radius = min(2 * self.radius, self.most)


def _to_sphere(step: Array, direction: Array, radius: float) -> float:
    a, b, c = float(direction @ direction), float(step @ direction), float(step @ step) - radius**2
    return float((-b + np.sqrt(max(b * b - a * c, 0.0))) / a)


class Descent:
    """A search on one mesh, which can be stopped and gone on with.

    Parameters
    ----------
    problem : Transcription
    unknown : where it starts.
    look : called before each evaluation; what it raises ends the search.
    """

    def __init__(self, problem: Transcription, unknown: Array, look: Callable[[], None] = lambda: None) -> None:
        self.problem, self.unknown, self.look = problem, unknown, look
        self.cost = problem.cost(unknown)
        self.iterations = 0
        self.steps: Steps = ShiftedSteps() if problem.exact else TrustedSteps(3.0 * np.sqrt(abs(self.cost)) + 1e-3)
        self.stuck = not np.isfinite(self.cost)

    def advance(self, goal: float, iterations: int) -> bool:
        """Descend until the gradient's norm is below `goal`, or so many steps are taken. False where it ended."""
        size = np.inf if self.stuck else self.size()
        while size > goal and iterations > 0 and not self.stuck:
            self.look()
            proposed = self.steps.propose(self.problem, self.unknown)
            if proposed is None or not np.isfinite(proposed[0]).all():
                self.stuck = True
                break
            step, promised = proposed
            new = self.unknown + step
            cost = self.problem.cost(new)
            if promised <= ROUNDING * abs(self.cost):
                taken = np.isfinite(cost) and float(np.linalg.norm(self.problem.gradient(new))) < size
                self.stuck = not taken
            else:
                ratio = (self.cost - cost) / promised if np.isfinite(cost) else -np.inf
                taken = ratio > 1e-4
                if ratio < 0.25:
                    self.steps.careful()
                elif ratio > 0.75:
                    self.steps.bold()
                self.stuck = not taken and float(np.abs(step).max()) <= 1e-14 * (1 + float(np.abs(new).max()))
            if taken:
                self.unknown, self.cost = new, cost
                self.iterations += 1
                size = self.size()
            iterations -= 1
        return size > goal and not self.stuck

    def size(self) -> float:
        """Norm of the gradient."""
        return float(np.linalg.norm(self.problem.gradient(self.unknown)))
