"""`solve`: a problem under a law, by a method, on an engine, as a labelled trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import xarray as xr

from hamjl.checks import number
from hamjl.engines import select
from hamjl.errors import ProblemError, shown, warn
from hamjl.laws import LawLike
from hamjl.lowering import lower, whole
from hamjl.methods import MethodLike
from hamjl.problem import Problem
from hamjl.progress import bar as _bar
from hamjl.progress import open_log
from hamjl.recipe import Recipe
from hamjl.sampling import Times
from hamjl.statement import check_problem
from hamjl.symbolic import SymbolicSystem
from hamjl.trajectory import assemble, shortcoming


def solve(
    problem: Problem | SymbolicSystem,
    law: LawLike | None = None,
    method: MethodLike = "auto",
    *,
    times: Times | None = None,
    engine: str = "auto",
    frozen: Any = None,
    progress: bool = True,
) -> xr.Dataset:
    """Integrate a learning problem under a law.

    Parameters
    ----------
    problem : Problem or SymbolicSystem
    law : Law or str, optional
        `Cauchy`, `CostateReversal` (the default), `SignFlip`, `BackpropLimit` or `HamiltonianLearning`.
    method : Method or str
        `Euler(step)`, `Adaptive(name, rtol, atol)` or a solver's name.
    times : int, array of float or mapping, optional
        When to save: an array of times; at most how many, evenly spaced (1001); or ``{"every": interval}``. With
        Euler, whole steps.
    engine : {"auto", "python", "julia"}
    frozen : bool, str, int or sequence, optional
        Arcs whose weights stay as they are, in place of the problem's own `frozen`: True is test mode.
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
        If the run ended early: it diverged, was interrupted, or ran out of steps. And if loss or energies have no value
        at some samples, as log(y) for a negative y.
    """
    check_problem(problem)
    if frozen is not None:
        problem = problem.replace(frozen=frozen)
    return run(problem, law, method, times=times, engine=engine, progress=progress)


def run(
    recipe: Recipe | Problem | SymbolicSystem,
    law: LawLike | None = None,
    method: MethodLike | None = None,
    *,
    times: Times | None = None,
    engine: str | None = None,
    store: str | Path | None = None,
    save_every: float | None = None,
    chunk: int | None = None,
    thin: Mapping[str, int] | None = None,
    float32: bool | Sequence[str] = False,
    progress: bool = True,
    log: str | Path | None = None,
) -> xr.Dataset:
    """Solve a recipe, e.g. one read by `Recipe.load`, or a problem; what else is given replaces what the recipe says.

    Parameters
    ----------
    recipe : Recipe, Problem or SymbolicSystem
    law, method, times, engine, progress
        As in `solve`.
    store : path, optional
        Folder of a new Zarr store, to which the trajectory is written chunk by chunk as it comes, so that memory does
        not grow with the span. Whatever ends the run, `resume` goes on from the last chunk. Ctrl-C and SIGTERM keep
        the last one too.
    save_every : float, optional
        Time between samples: the same as ``times={"every": save_every}``.
    chunk : int, optional
        Samples per chunk (some megabytes), rounded up to what `thin` divides. What there is of one is committed every
        half minute.
    thin : mapping of str to int, optional
        Variables of which only every k-th sample is stored, e.g. ``{"w": 10, "p_w": 10}``.
    float32 : bool or sequence of str
        Whether to store variables, or which of them, in single precision.
    log : path, optional
        A file to which lines of JSON are appended: time, rate, remaining seconds, loss.

    Returns
    -------
    xarray.Dataset
        The trajectory; with a store, as `open` gives it.
    """
    if isinstance(recipe, Problem | SymbolicSystem):
        recipe = Recipe(recipe)
    if not isinstance(recipe, Recipe):
        raise ProblemError(
            f"recipe must be a hamjl.Recipe or a problem, got {shown(recipe)}: see Recipe.load and Recipe."
        )
    if save_every is not None and times is not None:
        raise ProblemError("samples are chosen by times or by save_every, got both: give one.")
    times = times if save_every is None else {"every": number(save_every, "save_every", positive=True)}
    given: dict[str, Any] = {"law": law, "method": method, "times": times, "engine": engine}
    recipe = replace(recipe, **{name: value for name, value in given.items() if value is not None})
    if store is not None:
        from hamjl.store import create, resume

        if log is not None:
            open_log(log).close()  # refused before there is a store
        create(recipe, store, chunk=chunk, thin=thin, float32=float32)
        return resume(store, recipe, progress=progress, log=log)
    if chunk is not None or thin is not None or float32 or log is not None:
        raise ProblemError("chunk, thin, float32 and log go with a store, got none: give store='run.zarr'.")
    trajectory = run_quietly(recipe, progress=progress)
    if words := shortcoming(trajectory.attrs):
        warn(words)
    return trajectory


def run_quietly(recipe: Recipe, *, progress: bool = False) -> xr.Dataset:
    """Solve a recipe; that the run ended early is said by the trajectory alone."""
    lowered = lower(recipe.problem, recipe.law, recipe.method)
    goal = whole(recipe.problem, recipe.law, recipe.method, recipe.times)
    chosen = select(recipe.engine, lowered.method.name)
    with _bar(lowered.span, progress) as monitor:
        result = chosen.run(lowered, goal, monitor)
    if result.status == "no_fixed_point" and not len(result.states):
        raise ProblemError(f"{result.message}, got none at the start: use CostateReversal with a finite velocity.")
    return assemble(recipe, lowered, result, chosen.name)
