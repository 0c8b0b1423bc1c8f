"""`Session`: a run without an end, moved on bit by bit while its data come in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import xarray as xr

from hamjl import schema, trajectory
from hamjl.checks import number, to_path
from hamjl.dissipation import check_dissipation
from hamjl.engines import select
from hamjl.engines.running import move
from hamjl.errors import HamjlError, ProblemError, shown, warn
from hamjl.files import check_writable, read_record, write_record
from hamjl.foreign import reason
from hamjl.laws import BoundaryValue, CostateReversal, LawLike, as_law
from hamjl.lowered import STATUS, Engine, Floats, Goal, Integers, Result, Run
from hamjl.lowering import lower, lower_field, lower_law
from hamjl.methods import Euler, MethodLike, as_method
from hamjl.problem import Problem
from hamjl.progress import bar, stoppable
from hamjl.recipe import Recipe
from hamjl.sampling import Times, sampling
from hamjl.statement import LONGEST
from hamjl.symbolic import SymbolicSystem

More = xr.DataArray | Mapping[str, xr.DataArray]  # data that go on
ALIVE = ("running", "success")
FORMAT = 1  # of a checkpoint; the first ones do not say so
CHECKPOINT = {
    **{"format?": schema.one_of(FORMAT), "recipe": schema.text, "engine": schema.text, "state": schema.table()},
    **{"start": schema.real, "time": schema.real, "sampled": lambda value: value == -np.inf or schema.real(value)},
    "status": schema.one_of("running", *STATUS),
}


class Session:
    """A learning problem under a law, on-line: it goes on for as long as there are data.

    One integrator lives as long as the session: between two calls nothing restarts. Signals fed in chunks give the
    trajectory that one call with all the data gives: bitwise with Euler, and with an adaptive method where the chunks
    meet at a sample that changes.

    Parameters
    ----------
    problem : Problem or SymbolicSystem
        With the first chunk of its data, if it has any. The session starts at the start of its span; the span's end
        means nothing.
    law, method, engine
        As in `hamjl.solve`.

    Examples
    --------
    >>> def chunk(*times: float) -> xr.DataArray:
    ...     return xr.DataArray(np.sin(times), dims="time", coords={"time": list(times)})
    >>> network = hj.Network.fully_connected(2)
    >>> problem = hj.Problem(network, hj.Objective(), target=chunk(0.0, 0.5), span=(0, 0.5))
    >>> session = hj.Session(problem, hj.CostateReversal(), hj.Euler(0.1))
    >>> for more in (chunk(1.0, 1.5), chunk(2.0)):
    ...     session.feed(target=more)
    ...     part = session.advance(float(more.time[-1]))
    >>> session.time
    2.0
    """

    def __init__(
        self,
        problem: Problem | SymbolicSystem,
        law: LawLike | None = None,
        method: MethodLike = "auto",
        engine: str = "auto",
    ) -> None:
        chosen = as_law(CostateReversal() if law is None else law)
        recipe = Recipe(problem, chosen, as_method(method), engine=engine)
        self._begin(recipe, recipe.problem.span[0], None)

    def _begin(self, recipe: Recipe, start: float, saved: Mapping[str, Any] | None) -> None:
        if isinstance(recipe.law, BoundaryValue):
            raise ProblemError("a session goes forward in time, got BoundaryValue, which needs it all: use hj.solve.")
        self._recipe, self._start = recipe, start
        lowered = lower(recipe.problem, recipe.law, recipe.method)
        self._lowered = replace(lowered, span=(start, self._limit))
        name = recipe.engine if saved is None else saved["engine"]
        self._engine: Engine = select(name, lowered.method.name)
        self._run: Run = self._engine.start(self._lowered, None if saved is None else saved["state"])
        self._time = start if saved is None else saved["time"]
        self._sampled = -np.inf if saved is None else saved["sampled"]
        self._status = self._run.status if saved is None else saved["status"]

    @property
    def time(self) -> float:
        """The present."""
        return self._time

    @property
    def problem(self) -> Problem | SymbolicSystem:
        """The problem with the data that the session holds now: what is over is forgotten."""
        return self._recipe.problem

    @property
    def _limit(self) -> float:
        return min(self.problem.known_until, LONGEST)

    def advance(self, until: float, times: Times | None = None, *, progress: bool = True) -> xr.Dataset:
        """Integrate up to the time `until` and return the samples after the present, at the start the first one too.

        Parameters
        ----------
        until : float
            Not before the present, and not beyond the data. With Euler, the last whole step up to it is taken.
        times : optional
            When to save within this stretch, as in `hamjl.solve`; ``{"every": dt}`` counts from the session's start, so
            that `until` itself may not be saved.
        progress : bool

        Returns
        -------
        xarray.Dataset
            A trajectory. Its status is ``"interrupted"`` after Ctrl-C; the session can go on from there.
        """
        until = number(until, "until")
        if until > self._limit:
            raise ProblemError(
                f"a session must stay within its data, got until = {until:g} where they end at {self._limit:g}: feed "
                "more first."
            )
        if until < self._time:
            raise ProblemError(f"a session goes forward only, got until = {until:g} at {self._time:g}: choose later.")
        self._check_alive()
        if until > self._time:
            check_dissipation(self.problem.dissipation, (self._time, until))
        goal = Goal(until, *self._samples(until, times))
        with bar((self._time, until), progress) as monitor, stoppable() as asked:
            result = move(self._run, goal, monitor, asked)
        self._status = self._run.status
        return self._stretch(until, result)

    def _check_alive(self) -> None:
        if self._status not in ALIVE:
            raise ProblemError(
                f"a session must not have ended, got one that has ({self._status}): start another, or restore an "
                "earlier checkpoint."
            )

    def _samples(self, until: float, times: Times | None) -> tuple[Floats, Integers]:
        """The samples after the present, and at the start the first."""
        recipe, even = self._recipe, lower_law(self._recipe.law).flip == "step"
        span = (self._start, until)
        grid, save = sampling(span, recipe.method, times, even=even, since=self._time).all()
        fresh = grid > self._sampled + 1e-12 * abs(self._time)  # not those that are the present but for rounding
        return grid[fresh], save[fresh[: len(save)]]

    def _stretch(self, until: float, result: Result) -> xr.Dataset:
        stepping = isinstance(self._recipe.method, Euler)
        self._time = self._sampled = self._run.reached if stepping else min(self._run.reached, until)
        part = self._label(result)
        if words := trajectory.shortcoming(part.attrs):
            warn(words)
        return part

    def _label(self, result: Result) -> xr.Dataset:
        return trajectory.assemble(self._recipe, self._lowered, result, self._engine.name)

    def feed(self, inputs: More | None = None, target: More | None = None, *, targets: More | None = None) -> None:
        """Take more data: sampled signals go on with later samples.

        Parameters
        ----------
        inputs, target : xarray.DataArray, or mapping from names to DataArrays
            As the problem had them, on later times of the coordinate ``time``. Only signals built from data take more,
            with ``"previous"`` or ``"linear"`` interpolation: a cubic spline would change the past.
        targets : deprecated
            The former name of `target`.

        Notes
        -----
        What is over is forgotten: from here on `problem`, and the recipe of each part, begin at the present, with the
        state that the session has now; where some signals end there, as soon as these are fed too.
        """
        if targets is not None:
            warn("feed(targets=…) is now feed(target=…), as in Problem: rename it.", DeprecationWarning)
            if target is not None:
                raise ProblemError("more data of the target are given once, got target and targets: leave one out.")
            target = targets
        problem = self.problem.extended(inputs, target, since=self._time)
        if self._start < self._time < problem.span[1] and self._status in ALIVE:
            problem = problem.restarted(self._time, self._run.present(self._time))
        self._recipe = replace(self._recipe, problem=problem)
        self._lowered = replace(self._lowered, field=lower_field(problem), span=(self._start, self._limit))
        self._run.feed(self._lowered)

    def present(self) -> xr.Dataset:
        """The trajectory at the present: x, w, p_x, p_w and all the rest at one time, by an integrator of its own."""
        self._check_alive()
        copy, now = self._engine.start(self._lowered, self._run.export()), np.array([self._time])
        method = self._recipe.method
        steps = np.rint((now - self._start) / method.step) if isinstance(method, Euler) else np.zeros(0)
        result = move(copy, Goal(self._time, now, steps.astype(np.int64)))
        if not len(result.states):
            raise ProblemError(
                f"a session must have a present, got none ({result.status}): restore another checkpoint."
            )
        return self._label(result).isel(time=0)

    @property
    def state(self) -> xr.Dataset:
        """Deprecated: the former spelling of `present`."""
        warn("Session.state is now Session.present(), since it starts an integrator: call that.", DeprecationWarning)
        return self.present()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies, and what is unpickled, are sessions of their own that go on from here."""
        return type(self).restore, (self.checkpoint(),)

    # -- checkpoints -------------------------------------------------------------------------------------------------
    def checkpoint(self, path: str | Path | None = None) -> dict[str, Any]:
        """Return all that `restore` needs, as a dictionary of numbers, texts, arrays and tables; write it to `path`."""
        record = {
            "format": FORMAT,
            "recipe": self._recipe.packed,
            "engine": self._engine.name,
            "start": self._start,
            "time": self._time,
            "sampled": self._sampled,
            "status": self._status,
            "state": self._run.export(),
        }
        if path is not None:
            try:
                write_record(check_writable(path), record)
            except OSError as error:
                raise ProblemError(
                    f"the checkpoint must be writable, got {shown(str(path))} ({reason(error)})."
                ) from None
        return record

    @classmethod
    def restore(cls, checkpoint: Mapping[str, Any] | str | Path) -> Self:
        """The session as it was at a checkpoint, given as `checkpoint` returned it or as its file."""
        table = isinstance(checkpoint, Mapping)
        try:
            record: Any = checkpoint if table else read_record(to_path(checkpoint, "the checkpoint"), CHECKPOINT)
            if table:
                schema.check(record, CHECKPOINT)
            recipe = Recipe.unpack(record["recipe"])
            session = cls.__new__(cls)
            session._begin(recipe, record["start"], record)
            if not session._start <= session._time <= session._run.reached:
                raise ValueError("its times are in another order")
            if isinstance(recipe.method, Euler) and session._time != session._run.reached:
                raise ValueError("its time is not that of its steps")
        except HamjlError:
            raise
        except Exception as error:  # whatever a table of another shape leads to
            given = "another table" if table else shown(str(checkpoint))
            raise ProblemError(
                f"a checkpoint must be what Session.checkpoint returned or wrote, got {given} ({reason(error)})."
            ) from None
        return session
