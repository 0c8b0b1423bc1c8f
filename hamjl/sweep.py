"""Sweeps: the same learning problem for many values of its parameters, as one Dataset with a dimension for each."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from functools import partial, reduce
from inspect import signature
from multiprocessing import get_context, parent_process
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hamjl import schema
from hamjl.checks import count, mapping, to_path
from hamjl.engines import select
from hamjl.errors import EngineError, HamjlError, ProblemError, shown
from hamjl.files import read_record, write_netcdf, write_record, write_whole
from hamjl.foreign import read_netcdf
from hamjl.laws import LawLike
from hamjl.lowered import Goal, Lowered, Result
from hamjl.lowering import lower, whole
from hamjl.methods import Collocation, MethodLike
from hamjl.plain import digest, pack
from hamjl.problem import Problem
from hamjl.recipe import Recipe
from hamjl.sampling import Times
from hamjl.solving import run_quietly
from hamjl.symbolic import SymbolicSystem
from hamjl.trajectory import assemble, describe

SYMBOLS = {  # of the theory, and where they are in the plain form of a recipe
    "q": "problem.objective.loss_weight",
    "k": "problem.objective.k",
    "m": "problem.objective.m",
    "theta": "problem.objective.dissipation",
    "c": "problem.network.velocity",
}
SWEEP = {"format": schema.one_of(1), "sweep": schema.text, "over": schema.table(schema.whole(1))}  # its record
BATCH = 4  # members for each thread at a time; they are finished together


def sweep(
    problem: Problem | SymbolicSystem | Recipe | Callable[..., Problem | SymbolicSystem | Recipe],
    over: Mapping[str, Sequence[Any]],
    law: LawLike | None = None,
    method: MethodLike | None = None,
    *,
    times: Times | None = None,
    engine: str | None = None,
    client: Any = None,
    workers: int | None = None,
    store: str | Path | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Solve a problem for all combinations of some parameters.

    Parameters
    ----------
    problem : Problem, SymbolicSystem, Recipe or function
        A function is called with one value of each parameter by name, and returns a problem or a recipe. Else a
        parameter is named by where it is in the recipe's plain form (`Recipe.to_dict`), e.g.
        ``"problem.objective.loss_weight"``, ``"law.frequency"``, ``"method.step"``; by its last word where only one
        place has it, e.g. ``"seed"``; or by its symbol: q, k, m, theta (dissipation), c (velocity).
    over : mapping of str to sequence
        The values of each parameter, e.g. ``{"q": [10, 100], "seed": range(20)}``.
    law, method, times, engine
        As in `hamjl.run`. All members are saved at the same times.
    client : dask.distributed.Client, optional
        A cluster to compute on.
    workers : int, optional
        Without a client: processes of the embedded engine (one for each processor), or threads of Julia (all); 1 keeps
        to this process. Scripts that use processes need ``if __name__ == "__main__":``.
    store : path, optional
        A folder that keeps members as soon as they are done; a sweep that was stopped takes up the rest.
    progress : bool

    Returns
    -------
    xarray.Dataset
        The trajectories along the dimensions of `over`, and for each member ``status`` and ``message``: one that fails
        or stops early is NaN from there on, and the others go on.

    Raises
    ------
    ProblemError
        If a name is wrong, no member can be built, or the members are not of one network.
    KeyboardInterrupt
        On Ctrl-C; a store keeps the members that were finished.
    """
    values = {name: _listed(name, given) for name, given in mapping(over, "over").items()}
    if not values or not all(values.values()):
        raise ProblemError(f"a sweep needs at least one parameter with values, got {shown(over)}: give e.g. q=[1, 10].")
    given = {"law": law, "method": method, "times": times, "engine": engine}
    make = _maker(problem, tuple(values), {name: value for name, value in given.items() if value is not None})
    made = [_attempt(make, dict(zip(values, chosen, strict=True))) for chosen in itertools.product(*values.values())]
    recipes = {k: recipe for k, recipe in enumerate(made) if isinstance(recipe, Recipe)}
    errors = {k: error for k, error in enumerate(made) if isinstance(error, HamjlError)}
    if not recipes:
        raise errors[0]
    _check_alike(recipes.values(), values)
    members = {k: _failed(error) for k, error in errors.items()}
    folder = None if store is None else _folder(to_path(store, "the store"), made, values)
    if folder is not None:
        members |= {k: member for k in recipes if (member := _kept(_file(folder, k))) is not None}
    waiting = {k: recipe.packed for k, recipe in recipes.items() if k not in members}
    with _bar(len(made), progress) as tick:
        tick(len(members))
        for k, member in _computed(waiting, recipes, client, workers):
            members[k] = member
            if folder is not None:
                write_whole(_file(folder, k), partial(write_netcdf, member))
            tick(1)
    return _assembled(values, [members[k] for k in range(len(made))])


# -- members -----------------------------------------------------------------------------------------------------------
def _listed(name: str, given: Any) -> list[Any]:
    if not isinstance(given, str | Mapping):
        with suppress(TypeError):
            return list(given.values if isinstance(given, xr.DataArray) else given)
    raise ProblemError(f"the values of a parameter must be a list, got {name}={shown(given)}: write e.g. [1, 10].")


def _maker(problem: Any, names: tuple[str, ...], given: dict[str, Any]) -> Callable[[dict[str, Any]], Recipe]:
    """What makes a member's recipe of the values of its parameters; wrong names are refused."""
    if isinstance(problem, Problem | SymbolicSystem | Recipe):
        recipe = problem if isinstance(problem, Recipe) else Recipe(problem)
        tree = replace(recipe, **given).to_dict()
        paths = {name: _path(tree, name) for name in names}
        _check_apart(paths)

        def put(chosen: dict[str, Any]) -> Recipe:
            table = deepcopy(tree)
            for name, value in chosen.items():
                place = reduce(getitem, paths[name][:-1], table)
                place[paths[name][-1]] = value.item() if isinstance(value, np.generic) else value
            return Recipe.from_dict(table)

        return put
    if not callable(problem):
        raise ProblemError(f"a sweep is over a problem, a recipe or a function, got {shown(problem)}: give one.")
    try:
        signature(problem).bind(**dict.fromkeys(names))
    except (TypeError, ValueError) as error:
        raise ProblemError(
            f"the function of a sweep must take its parameters by name, got {', '.join(names)} ({error}): rename them."
        ) from None

    def call(chosen: dict[str, Any]) -> Recipe:
        made = problem(**chosen)
        return replace(made if isinstance(made, Recipe) else Recipe(made), **given)

    return call


def _attempt(make: Callable[[dict[str, Any]], Recipe], chosen: dict[str, Any]) -> Recipe | HamjlError:
    try:
        return make(chosen)
    except HamjlError as error:
        return error


def _path(tree: dict[str, Any], name: str) -> tuple[str, ...]:
    """Where a parameter is in the plain form."""
    path = tuple(SYMBOLS.get(name, name).split("."))
    if len(path) == 1:
        places = list(_places(tree, name))
        if len(places) != 1:
            found = ", ".join(".".join(p) for p in places) or "none"
            raise ProblemError(
                f"a parameter must name one place of the recipe, got {name!r} ({found}): write its path."
            )
        return places[0]
    for key in path[:-1]:
        if not isinstance(tree.get(key), dict):
            raise ProblemError(f"a parameter must name a place of the recipe, got {name!r}: there is no {key!r}.")
        tree = tree[key]
    return path


def _places(tree: dict[str, Any], name: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items():
        if key == name:
            yield (*above, key)
        if isinstance(value, dict):
            yield from _places(value, name, (*above, key))


def _check_apart(paths: dict[str, tuple[str, ...]]) -> None:
    for (one, above), (other, below) in itertools.permutations(paths.items(), 2):
        if below[: len(above)] == above:
            raise ProblemError(
                f"the parameters of a sweep must be of different places, got {one!r} and {other!r}: leave one out."
            )


def _check_alike(recipes: Iterable[Recipe], names: Iterable[str]) -> None:
    """Refuse members whose trajectories would not go into one Dataset, before any is computed."""
    problems = [recipe.problem for recipe in recipes]
    labels = problems[0].labels
    if any(problem.labels != labels for problem in problems):
        raise ProblemError(
            "the members of a sweep must be of one network, got others: make a sweep of each, and compare those."
        )
    for name in names:
        if name in {"time", "recipe", "status", "message", *labels, *describe(problems[0])}:
            raise ProblemError(
                f"a parameter must not have the name of a trajectory's variable, got {name!r}: rename it, or write its "
                "path."
            )


def compute(text: str) -> xr.Dataset:
    """One member, in whatever process; a failure is a status, and Ctrl-C breaks off."""
    try:
        member = run_quietly(Recipe.unpack(text))
    except HamjlError as error:
        return _failed(error)
    if member.attrs["status"] == "interrupted":
        raise KeyboardInterrupt
    return member


def _failed(why: HamjlError | Result) -> xr.Dataset:
    message = why.message if isinstance(why, Result) else str(why)
    return xr.Dataset(attrs={"status": "failed", "message": message})


def compute_together(name: str, packed: list[str]) -> list[xr.Dataset]:
    """Members on the threads of one engine."""
    chosen = select(name)
    assert chosen.run_together is not None
    recipes = [Recipe.unpack(text) for text in packed]
    records = [_lowered(recipe) for recipe in recipes]
    results = iter(chosen.run_together([record for record in records if not isinstance(record, HamjlError)]))
    done: list[xr.Dataset] = []
    for recipe, record in zip(recipes, records, strict=True):
        if isinstance(record, HamjlError):
            done.append(_failed(record))
        else:
            result = next(results)
            done.append(assemble(recipe, record[0], result, name) if len(result.states) else _failed(result))
    return done


def _lowered(recipe: Recipe) -> tuple[Lowered, Goal] | HamjlError:
    given = recipe.problem, recipe.law, recipe.method
    try:
        return lower(*given), whole(*given, recipe.times)
    except HamjlError as error:
        return error


# -- where they are computed -------------------------------------------------------------------------------------------
def _computed(
    waiting: dict[int, str], recipes: dict[int, Recipe], client: Any, workers: int | None
) -> Iterator[tuple[int, xr.Dataset]]:
    """Members as they are done."""
    if not waiting:
        return
    if client is not None:
        arriving = _arriving(client)
        futures = {client.submit(compute, packed, pure=False): k for k, packed in waiting.items()}
        try:
            for future, result in arriving(futures, with_results=True):
                yield futures[future], result
        finally:
            client.cancel(list(futures))
        return
    together: dict[str, dict[int, str]] = {}  # by engine
    for k, packed in waiting.items():
        if (name := _on_threads(recipes[k])) is not None:
            together.setdefault(name, {})[k] = packed
    alone = {k: packed for k, packed in waiting.items() if not any(k in shared for shared in together.values())}
    number = (os.cpu_count() or 1) if workers is None else count(workers, "workers", least=1)
    if number == 1 or len(waiting) == 1:
        for k, packed in waiting.items():
            yield k, compute(packed)
        return
    try:
        for name, shared in together.items():
            with _pool(1, select(name).environment(workers)) as pool:
                yield from _batches(pool, name, shared, BATCH * number)
        if alone:
            with _pool(min(number, len(alone)), {}) as pool:
                processes = {pool.submit(compute, packed): k for k, packed in alone.items()}
                for done in as_completed(processes):
                    yield processes[done], done.result()
    except BrokenProcessPool:
        raise EngineError(
            "the processes of a sweep must be able to start, but one ended: put the script's own work under "
            "if __name__ == '__main__':, or give workers=1."
        ) from None


def _on_threads(recipe: Recipe) -> str | None:
    """The engine whose threads can share a member with others, if any."""
    name = recipe.method.to_dict()["name"]
    chosen = select(recipe.engine, name)
    return None if chosen.run_together is None or isinstance(recipe.method, Collocation) else chosen.name


def _arriving(client: Any) -> Any:
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise EngineError(
            "a client needs dask.distributed: install it with 'pip install \"hamjl[cluster]\"'."
        ) from None
    if not isinstance(client, Client):
        raise ProblemError(f"client must be a dask.distributed.Client, got {shown(client)}: give one, or workers.")
    return as_completed


@contextmanager
def _pool(number: int, variables: dict[str, str]) -> Iterator[Executor]:
    """Processes with these environment variables; where the sweep stops early, e.g. by Ctrl-C, they end at once."""
    with ProcessPoolExecutor(number, get_context("spawn"), initializer=_begin, initargs=(variables,)) as pool:
        try:
            yield pool
        except BaseException:
            processes = list((pool._processes or {}).values())
            pool.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()
            raise


def _begin(variables: dict[str, str]) -> None:
    """Make ready a worker, which leaves Ctrl-C to the process that started it, and ends with it, however that ends."""
    os.environ.update(variables)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if (parent := parent_process()) is not None:
        threading.Thread(target=_end_after, args=(parent,), daemon=True).start()


def _end_after(parent: Any) -> None:
    parent.join()
    os._exit(1)  # whatever it is in the middle of: nobody waits for it


def _batches(pool: Executor, name: str, waiting: dict[int, str], size: int) -> Iterator[tuple[int, xr.Dataset]]:
    """Batches follow one another without a pause: what is done with the members of one goes on beside the next."""
    items = list(waiting.items())
    parts = [items[first : first + size] for first in range(0, len(items), size)]
    futures = [pool.submit(compute_together, name, [packed for _, packed in part]) for part in parts]
    for part, future in zip(parts, futures, strict=True):
        yield from zip((k for k, _ in part), future.result(), strict=True)


# -- the result --------------------------------------------------------------------------------------------------------
def _assembled(values: dict[str, list[Any]], members: list[xr.Dataset]) -> xr.Dataset:
    shape, dims = tuple(map(len, values.values())), tuple(values)
    coords: dict[str, Any] = {name: (name, given) for name, given in values.items() if _are_labels(given)}
    texts = {
        name: (dims, np.array([member.attrs[name] for member in members], dtype=np.str_).reshape(shape))
        for name in ("status", "message")
    }
    whole = [member for member in members if member.attrs["status"] != "failed"]
    if not whole:
        return xr.Dataset(texts, coords)
    longest = max(whole, key=lambda member: member.sizes["time"])
    if not all(np.allclose(member.time, longest.time[: member.sizes["time"]], rtol=1e-9) for member in whole):
        raise ProblemError(
            "the members of a sweep must have the same samples, got other times: give times, e.g. times={'every': 0.1}."
        )
    fields = {}
    for name, pattern in longest.data_vars.items():
        data = np.full((len(members), *pattern.shape), np.nan)
        for k, member in enumerate(members):
            if name in member:
                data[k, : member.sizes["time"]] = member[name]
        fields[name] = ((*dims, *pattern.dims), data.reshape(*shape, *pattern.shape), pattern.attrs)
    recipes = np.array([_text(member) for member in members], dtype=object).reshape(shape)
    coords["recipe"] = (dims, recipes, longest.recipe.attrs)
    kept = {k: longest.attrs[k] for k in ("law", "engine", "versions", "scaling") if k in longest.attrs}
    attrs = {"title": "hamjl sweep", **kept}
    return xr.Dataset({**fields, **texts}, {**longest.coords, **coords}, attrs)


def _text(member: xr.Dataset) -> str:
    """The packed recipe of a member; none where it failed."""
    return str(member.recipe.item()) if "recipe" in member.coords else ""


def _are_labels(given: list[Any]) -> bool:
    return all(isinstance(v, int | float | str | np.generic) for v in given)


def _folder(path: Path, made: list[Recipe | HamjlError], values: dict[str, list[Any]]) -> Path:
    """The folder of a new sweep, or of this one begun before."""
    told = [pack(recipe.to_dict()) if isinstance(recipe, Recipe) else str(recipe) for recipe in made]
    found = digest("".join([json.dumps([str(list(v)) for v in values.values()]), *told]))
    record = {"format": 1, "sweep": found, "over": {name: len(given) for name, given in values.items()}}
    try:
        path.mkdir(exist_ok=True)
        if (path / "sweep.json").exists():
            if read_record(path / "sweep.json", SWEEP) != record:
                raise ProblemError(f"a store goes on with the sweep that began it, got another in {shown(str(path))}.")
        elif any(path.iterdir()):
            raise ProblemError(f"the store of a sweep must be its own folder, got {shown(str(path))}: name a new one.")
        else:
            write_record(path / "sweep.json", record)
    except (OSError, ValueError) as error:
        if isinstance(error, HamjlError):
            raise
        raise ProblemError(f"the store must be a writable folder, got {shown(str(path))} ({error}).") from None
    return path


def _file(folder: Path, k: int) -> Path:
    return folder / f"member-{k:06d}.nc"


def _kept(path: Path) -> xr.Dataset | None:
    """A member as it was kept, or None where none was finished."""
    try:
        member = read_netcdf(path, own=True)
    except ProblemError:
        return None
    finished = {"status", "message"} <= set(member.attrs) and member.attrs["status"] != "interrupted"
    return member if finished else None


@contextmanager
def _bar(total: int, progress: bool) -> Iterator[Callable[[int], Any]]:
    if not progress or not sys.stderr.isatty():
        yield lambda n: None
        return
    from tqdm import tqdm

    with tqdm(total=total, delay=1, unit=" members", leave=False) as bar:
        yield bar.update
