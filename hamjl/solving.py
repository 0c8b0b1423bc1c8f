"""`solve`: a problem under a law, by a method, on an engine, as a labelled trajectory."""

from __future__ import annotations

import warnings
from typing import Any

import xarray as xr

from hamjl.engines import select
from hamjl.errors import ProblemError, RunWarning, shown
from hamjl.laws import CostateReversal
from hamjl.laws import law as to_law
from hamjl.lowering import lower
from hamjl.methods import method as to_method
from hamjl.problem import Problem
from hamjl.progress import bar as _bar
from hamjl.recipe import Recipe
from hamjl.symbolic import SymbolicSystem
from hamjl.trajectory import assemble


def solve(
    problem: Problem | SymbolicSystem,
    law: Any = None,
    method: Any = "auto",
    *,
    times: Any = None,
    engine: str = "auto",
    progress: bool = True,
) -> xr.Dataset:
    """Integrate a learning problem under a law.

    Parameters
    ----------
    problem : Problem or SymbolicSystem
    law : Law or str, optional
        `Cauchy`, `CostateReversal` (the default), `SignFlip` or `BackpropLimit`.
    method : Method or str
        `Euler(step)`, `Adaptive(name, rtol, atol)` or a solver's name.
    times : int or array of float, optional
        When to save: an array of times, or at most how many, evenly spaced (1001). With Euler, whole steps.
    engine : {"auto", "python", "julia"}
    progress : bool
        Whether runs longer than a second show a bar (never when the error stream is not a terminal).

    Returns
    -------
    xarray.Dataset
        The trajectory, (time, …); ``attrs["status"]`` is ``"success"`` or why it ended early. Costates and energies are
        divided by φ. The ``.hamjl`` accessor analyses and plots it.

    Raises
    ------
    ProblemError
        If law, method or times do not fit the problem.

    Warns
    -----
    RunWarning
        If the run ended early: it diverged, was interrupted, or ran out of steps.
    """
    if not isinstance(problem, Problem | SymbolicSystem):
        raise ProblemError(
            f"problem must be a hamjl.Problem or SymbolicSystem, got {type(problem).__name__}: build one."
        )
    recipe = Recipe(problem, to_law(CostateReversal() if law is None else law), to_method(method), times, engine)
    return run(recipe, progress=progress)


def run(recipe: Recipe, *, progress: bool = True) -> xr.Dataset:
    """Solve a recipe, e.g. one read by `Recipe.load`; see `solve`."""
    if not isinstance(recipe, Recipe):
        raise ProblemError(f"recipe must be a hamjl.Recipe, got {shown(recipe)}: see Recipe.load and Recipe.")
    lowered = lower(recipe.problem, recipe.law, recipe.method, recipe.times)
    chosen = select(recipe.engine, lowered.method.name)
    with _bar(lowered.span, progress) as monitor:
        result = chosen.run(lowered, monitor)
    if result.status == "no_fixed_point" and not len(result.states):
        raise ProblemError(f"{result.message}, got none at the start: use CostateReversal with a finite velocity.")
    trajectory = assemble(recipe, lowered, result, chosen.name)
    if result.status != "success":
        warnings.warn(f"stopped at t = {result.reached:g}: {result.message}", RunWarning, stacklevel=3)
    return trajectory
