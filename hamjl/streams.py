"""Streams of samples as signals: each stays for a while, the answer is read, then the truth is told for a while."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

import numpy as np
import xarray as xr

from hamjl import signals, tables
from hamjl.checks import choice, count, number
from hamjl.errors import ProblemError, shown
from hamjl.lowered import Floats, Integers
from hamjl.signals import Signal
from hamjl.trajectory import over_time

Metric = str | Callable[[Any, Any], Any]  # see `score`
NEAR = 1e-6  # of a step, or of a sample's stay: how far a run's samples may be from the times of answers


class Stream:
    """Samples shown one after another, for a `Problem`, and what is needed to read and score the answers.

    Each sample stays for `dwell`; its `answer` is read at that time since it came; then its truth is told for `taught`,
    and in the rest, where the target is NaN, the error flows back. On L layers c times `answer` must be L at least, and
    as much must be left after the truth: by Euler with cτ = 1 states, and then costates, are exact after L steps each.

    ``stream[a:b]`` is the stretch of the a-th to the b-th sample at their own times, for streams too long to be
    integrated at once. The table is held once whatever the passes; `inputs` and `target` are made when asked for and
    take 40 bytes for each number shown: a sample's inputs once, its truth twice.

    Parameters
    ----------
    X : array, DataFrame, DataArray or iterable
        Inputs (sample, input) without gaps; or, without y, pairs of a sample's inputs and its truth, the inputs as a
        mapping from names (the same for all) or a list. All pairs are read here: cut an endless iterable.
    y : array, Series, DataFrame or DataArray
        The truths (sample,) or (sample, output). Text, bools, categories and what else is no number are classes, one
        output each: 1 for the true one, 0 for the others. NaN or None where the truth never comes.
    dwell, answer, taught : float
        In units of time; by default 1, the half of `dwell`, and a quarter of it. With a step the latter two are rounded
        to whole steps, a step at least.
    step : float, optional
        The step of Euler, of which all times must be whole multiples.
    order : {None, "shuffle"}
        As the table has them, or in an order drawn for each pass by NumPy's default generator from `seed`.
    seed : int
    passes : int
        How often the stream goes through the table.
    delay : float
        How much later than the answer the truth is told. If the next sample has come by then, the truth is told while
        that one is shown; what would be told after the end never comes.
    start : float
        When the first sample comes.
    inputs, outputs : sequence of str, optional
        Names for the columns: those of vertices, to go by name, or others, to go by order. By default those that the
        data bring, and the classes.
    classes : bool or sequence, optional
        True if numbers are classes, False if bools are numbers, or all classes in the order of the outputs.

    Raises
    ------
    ProblemError
        For anything that does not fit together.
    """

    dwell: float
    answer: float
    taught: float
    step: float | None
    delay: float
    classes: tuple[Any, ...] | None

    def __init__(
        self,
        X: Any,
        y: Any = None,
        *,
        dwell: float = 1.0,
        answer: float | None = None,
        taught: float | None = None,
        step: float | None = None,
        order: str | None = None,
        seed: int = 0,
        passes: int = 1,
        delay: float = 0.0,
        start: float = 0.0,
        inputs: Sequence[str] | None = None,
        outputs: Sequence[str] | None = None,
        classes: bool | Sequence[Any] | None = None,
    ) -> None:
        if y is None:
            X, y = tables.pairs(X)
        self._table, names = tables.inputs(X)
        self._truth, self.classes, told = tables.truth(y, classes)
        rows = len(self._table)
        if not rows or len(self._truth) != rows:
            raise ProblemError(
                f"X and y must have as many samples, one or more, got {rows} and {len(self._truth)}: match them."
            )
        self._rows = tables.row_labels(X, y, rows)
        self._inputs = tables.names(inputs, names, self._table.shape[1], "inputs")
        self._outputs = tables.names(outputs, told, len(self.classes or ()) or self._truth.shape[1], "outputs")
        passes = count(passes, "passes", least=1)
        if order is not None:
            choice(order, ("shuffle",), "order")
            rng = np.random.default_rng(count(seed, "seed"))
            self._order = np.concatenate([rng.permutation(rows) for _ in range(passes)])
        else:
            self._order = np.tile(np.arange(rows), passes)
        self._window, self._start = (0, len(self._order)), number(start, "start")
        self.step = None if step is None else number(step, "step", positive=True)
        self._set_times(number(dwell, "dwell", positive=True), answer, taught, number(delay, "delay", nonnegative=True))

    def _set_times(self, dwell: float, answer: float | None, taught: float | None, delay: float) -> None:
        """All times, as multiples of the step where there is one."""
        self._unit = unit = self.step or 1.0
        given = {"dwell": dwell, "answer": answer, "taught": taught, "delay": delay}
        counts = {name: self._multiple(value, name) for name, value in given.items() if value is not None}
        half, quarter = counts["dwell"] / 2, counts["dwell"] / 4
        if self.step is not None:
            half, quarter = half // 1, max(quarter // 1, 1.0)
        counts = {"answer": half, "taught": quarter} | counts
        if counts["taught"] <= 0 or counts["answer"] + counts["taught"] > counts["dwell"] * (1 + 1e-12):
            raise ProblemError(
                f"a sample must stay until it was answered and taught for a while, got dwell {dwell:g}, answer "
                f"{counts['answer'] * unit:g} and taught {counts['taught'] * unit:g}: let it stay longer."
            )
        self._dwell, self._answer, self._taught, self._delay = (
            counts[name] for name in ("dwell", "answer", "taught", "delay")
        )
        self.dwell, self.answer = self._dwell * unit, self._answer * unit
        self.taught, self.delay = self._taught * unit, self._delay * unit

    def _multiple(self, value: float, what: str) -> float:
        value = number(value, what, nonnegative=True)
        if self.step is None:
            return value
        whole = float(round(value / self.step))
        if abs(value / self.step - whole) > NEAR or (what in ("dwell", "taught") and whole < 1):
            near = max(whole, 1.0) if what in ("dwell", "taught") else whole
            raise ProblemError(
                f"{what} must be whole steps of {self.step:g}, got {value:g}: the nearest is {near * self.step:g}."
            )
        return whole

    def __len__(self) -> int:
        """Number of samples shown, those of all passes."""
        return self._window[1] - self._window[0]

    def __getitem__(self, part: slice) -> Stream:
        if not isinstance(part, slice) or part.step not in (None, 1):
            raise ProblemError(f"a part of a stream must be a stretch of it, got {shown(part)}: write stream[a:b].")
        first, last, _ = part.indices(len(self))
        if last <= first:
            raise ProblemError(
                f"a part of a stream must hold samples, got {first} to {last} of {len(self)}: change it."
            )
        found = copy(self)
        found._window = (self._window[0] + first, self._window[0] + last)
        return found

    def __repr__(self) -> str:
        low, high = self.span
        return f"<hamjl.Stream of {len(self)} samples from t = {low:g} to {high:g}>"

    @property
    def span(self) -> tuple[float, float]:
        """From when the first sample comes to when the last one goes."""
        start = self._start + self._window[0] * self._dwell * self._unit
        return start, start + len(self) * self._dwell * self._unit

    @property
    def sample_times(self) -> Floats:
        """When each sample comes, (sample,)."""
        return self._at(np.arange(len(self)) * self._dwell)

    @property
    def answer_times(self) -> Floats:
        """When each answer is read, (sample,), before its truth is told: for ``solve(times=…)``."""
        return self._at(np.arange(len(self)) * self._dwell + self._answer)

    @property
    def inputs(self) -> Signal:
        """The inputs, each sample's from when it comes until the next."""
        shown = self._table[self._positions[[*range(len(self)), -1]]]
        return self._series(shown, np.append(self.sample_times, self.span[1]), self._inputs)

    @property
    def target(self) -> Signal:
        """The truth while it is told, else NaN."""
        (first, last), end = self._window, len(self) * self._dwell
        late = int(np.ceil((self._delay + self._answer + self._taught) / self._dwell))
        samples, least = np.arange(max(first - late, 0), last), NEAR * self._dwell  # least: no gap, but rounding
        on = (samples - first) * self._dwell + self._answer + self._delay  # since the start of the stretch
        off = on + self._taught
        told = (off > least) & (on < end - least)
        values = self._expanded(self._order[samples[told]])
        when = np.stack((np.where(on > least, on, 0.0), off), axis=1)[told].ravel()
        steps = np.full((len(when), values.shape[1]), np.nan)
        steps[::2] = values
        kept = (when < end - least) & np.append(np.diff(when) > least, True)  # where the next is told at once, no gap
        edge = np.full((1, values.shape[1]), np.nan)
        time, steps = self._at(when[kept]), steps[kept]
        if not len(when) or when[0] > 0.0:
            time, steps = np.append(self.span[0], time), np.concatenate((edge, steps))
        return self._series(np.concatenate((steps, edge)), np.append(time, self.span[1]), self._outputs)

    @property
    def truth(self) -> Floats:
        """The truth of each sample, (sample, output), NaN if it never comes; of classes 1 for the true one, else 0."""
        return self._expanded(self._positions)

    @property
    def _positions(self) -> Integers:
        """The row of the table that each sample is."""
        return self._order[slice(*self._window)]

    def _at(self, counts: Floats) -> Floats:
        return self.span[0] + counts * self._unit

    def _expanded(self, rows: Integers) -> Floats:
        truth = self._truth[rows]
        if self.classes is None:
            return truth
        known = np.isfinite(truth)
        hot = np.eye(len(self.classes))[np.where(known, truth, 0).astype(np.int64)[:, 0]]
        return np.where(known, hot, np.nan)

    @staticmethod
    def _series(values: Floats, time: Floats, names: tuple[str, ...] | None) -> Signal:
        labels = {"time": time} if names is None else {"time": time, "channel": list(names)}
        return signals.series(xr.DataArray(values, labels, ("time", "channel")), "previous")


def answers(run: xr.Dataset, stream: Stream) -> xr.Dataset:
    """What the network of a run answered to each sample; see `TrajectoryAccessor.answers`."""
    if not isinstance(stream, Stream):
        raise ProblemError(f"answers are to a hamjl.Stream, got {shown(stream)}: give the one that was learnt.")
    y = _read(run, "y", stream)
    if np.isnan(y.values).any():
        raise ProblemError("answers must be numbers, got NaN: select the run, or the part of it, that went through.")
    truth = stream.truth
    if "z" in run:
        z, told = _read(run, "z", stream).transpose(..., "sample", "output").values, stream.target(stream.answer_times)
        if (abs(z - told) > NEAR * (1 + abs(told))).any():
            raise ProblemError("answers are to the stream that was learnt, got a run of other targets: give that one.")
    labels = {"sample": np.arange(*stream._window), "row": ("sample", stream._rows[stream._positions])}
    found = xr.Dataset({"y": y.assign_coords(labels)})
    found["truth"] = ("sample", "output"), truth, {"long_name": "truth (NaN: it never comes)", "units": "1"}
    if stream.classes is None:
        return found
    classes = tables.label_array(stream.classes)
    found = found.assign_coords({"class": ("output", classes)})
    chosen = found.y.argmax("output")
    found["predicted"] = chosen.copy(data=classes[chosen.values])
    found["predicted"].attrs = {"long_name": "class answered"}
    missing = np.isnan(truth[:, 0])
    actual = classes[np.nan_to_num(truth).argmax(axis=1)]
    found["actual"] = "sample", np.where(missing, np.nan, actual.astype(object)) if missing.any() else actual
    found["actual"].attrs = {"long_name": "true class"}
    return found


def score(run: xr.Dataset, stream: Stream, metric: Metric = "accuracy", rolling: int | None = None) -> xr.DataArray:
    """How good the answers are that were given before the truth; see `TrajectoryAccessor.score`."""
    if not callable(metric):
        choice(metric, METRICS, "metric")
    found = answers(run, stream)
    found = found.isel(sample=np.flatnonzero(found.truth.notnull().any("output").values))
    window = None if rolling is None else count(rolling, "rolling", least=1)
    if not (size := found.sizes["sample"]) or (window is not None and window > size):
        raise ProblemError(
            f"a score needs {window or 1} sample(s) with a truth, got {size}: lower rolling, or score a longer stream."
        )
    if callable(metric):
        return _by_call(found, metric, window)
    if metric in ("accuracy", "log_loss") and stream.classes is None:
        raise ProblemError(f"{metric} is of classes, got numbers: use 'rmse' or 'mae', or make the stream of classes.")
    each, finish, name = METRICS[metric]
    values = each(found)
    mean = values.mean("sample") if window is None else values.rolling(sample=window).mean()
    result: xr.DataArray = finish(mean).rename(metric)
    over = "" if window is None else f", last {window} samples"
    return result.assign_attrs(long_name=f"{name} before supervision{over}", units="1")


def _by_call(found: xr.Dataset, metric: Callable[[Any, Any], Any], window: int | None) -> xr.DataArray:
    names = ("actual", "predicted") if "actual" in found else ("truth", "y")
    if set(found[names[1]].dims) - {"sample", "output"}:
        raise ProblemError(f"a metric of one's own is of one run, got {dict(found.sizes)}: select one.")
    actual, given = (found[name].transpose("sample", ...).values for name in names)
    name, size = getattr(metric, "__name__", "score"), len(given)
    if window is None:
        return xr.DataArray(float(metric(actual, given)), name=name)
    values = np.full(size, np.nan)
    for last in range(window, size + 1):
        part = slice(last - window, last)
        values[last - 1] = float(metric(actual[part], given[part]))
    return xr.DataArray(values, found.sample.coords, ("sample",), name)


def _log_loss(found: xr.Dataset) -> xr.DataArray:
    top = found.y.max("output")
    return top + np.log(np.exp(found.y - top).sum("output")) - (found.y * found.truth).sum("output")


# Of each sample, of their mean, and the name.
METRICS: dict[str, tuple[Callable[[xr.Dataset], xr.DataArray], Callable[[xr.DataArray], xr.DataArray], str]] = {
    "accuracy": (lambda ds: (ds.predicted == ds.actual).astype(float), lambda mean: mean, "share of right answers"),
    "rmse": (lambda ds: ((ds.y - ds.truth) ** 2).mean("output"), np.sqrt, "RMS error"),
    "mae": (lambda ds: abs(ds.y - ds.truth).mean("output"), lambda mean: mean, "mean absolute error"),
    "log_loss": (_log_loss, lambda mean: mean, "logarithmic loss"),
}


def _read(run: xr.Dataset, name: str, stream: Stream) -> xr.DataArray:
    """A variable at the times of the answers, (…, sample, output), outputs in the stream's order."""
    found, wanted = over_time(run, name, "analysis", numbers=True), stream.answer_times
    times = found.time.values
    if (np.diff(times) <= 0).any():
        raise ProblemError("times of a trajectory must increase strictly, got others: sort by time first.")
    slack = NEAR * (stream.step or stream.dwell)
    at = np.minimum(np.searchsorted(times, wanted - slack), len(times) - 1)
    far = abs(times[at] - wanted) > slack
    if far.any():
        raise ProblemError(
            f"answers need samples of {name} when they are read, got none at t = {wanted[far][0]:g}: run with "
            "times=stream.answer_times, or give the part stream[a:b] that was run."
        )
    names = stream._outputs or ()
    if "output" not in found.dims or found.sizes["output"] != stream.truth.shape[1]:
        raise ProblemError(
            f"answers need an output of the run for each of the stream, got {found.sizes.get('output', 0)} and "
            f"{stream.truth.shape[1]}: keep them all."
        )
    if set(names) & set(found.output.values.tolist()):
        found = found.sel(output=list(names))
    found = found.isel(time=at).drop_vars("recipe", errors="ignore")
    return found.assign_coords(sample=("time", np.arange(*stream._window))).swap_dims(time="sample")
