"""When a run is saved: sample times by number, a part at a time, so that a long run needs no list of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from hamjl.checks import affordable, count, increasing, keys, mapping, number
from hamjl.errors import ProblemError
from hamjl.lowered import Floats, Integers, whole_steps
from hamjl.methods import Euler, Method

Times = int | Sequence[float] | NDArray[Any] | xr.DataArray | Mapping[str, float]  # see `hamjl.solve`
SAMPLES = 1001  # saved times when the user names none
MAX_STEPS = 10**15
COPIES = 4  # of the states: what engines save, and the labelled arrays made of it


@dataclass(frozen=True)
class Samples:
    """The samples of a run, numbered from 0: `size` of them, ``at(k)`` gives the times and the steps of Euler."""

    size: int
    at: Callable[[Integers], tuple[Floats, Integers]]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> tuple[Floats, Integers]:
        """Times (sample,), and with Euler steps (sample,), else none."""
        return self.at(np.arange(*part.indices(self.size), dtype=np.int64))

    def all(self, width: int = 1) -> tuple[Floats, Integers]:
        """Times and steps of all samples, refused where rows of `width` numbers would fill the memory."""
        affordable(
            8.0 * self.size * (2 + COPIES * width),
            f"{self.size} samples of {width} numbers",
            "save fewer (times=…), or use a store",
        )
        return self[:]


def sampling(
    span: tuple[float, float],
    method: Method,
    times: Times | None = None,
    *,
    even: bool = False,
    since: float | None = None,
) -> Samples:
    """The samples of a run over `span`, or of what is left of it from `since` on; see `hamjl.solve` for `times`.

    With `even`, Euler's are an even stride apart.
    """
    if isinstance(method, Euler):
        return _steps(span, method.step, times, even, since)
    none = np.zeros(0, dtype=np.int64)
    start, stop = span
    since = start if since is None else since
    if isinstance(times, Mapping):
        every = _every(times)
        first = int(np.ceil((since - start) / every * (1 - 1e-12)))
        size = _whole((start, stop), every) + 1 - first
        _check_apart((start, stop), every)
        return Samples(max(size, 0), lambda k: (np.minimum(start + (first + k) * every, stop), none))
    if isinstance(times, Sized):
        values = _listed((since, stop), times)
        return Samples(len(values), lambda k: (values[k], none))
    size = count(SAMPLES if times is None else times, "times", least=2) if stop > since else 1
    pace = (stop - since) / max(size - 1, 1)
    if size > 1:
        _check_apart((since, stop), pace)
    return Samples(size, lambda k: (np.where(k == size - 1, stop, k * pace + since), none))


def _whole(span: tuple[float, float], step: float, least: int = 0) -> int:
    whole = whole_steps(span, step)
    if not least <= whole <= MAX_STEPS:
        raise ProblemError(
            f"the span must hold between {least} and {MAX_STEPS:g} steps, got {whole:g} steps of {step:g}: change the "
            "step."
        )
    return whole


def _check_apart(span: tuple[float, float], pace: float) -> None:
    """Refuse times so close that they would repeat, where numbers are so far apart."""
    apart = 2 * np.spacing(max(abs(span[0]), abs(span[1])))
    if pace < apart:
        raise ProblemError(
            f"steps and samples between {span[0]:g} and {span[1]:g} must be at least {apart:.2g} apart, as numbers are "
            f"there, got {pace:.2g}: count time from another origin, or save fewer."
        )


def _steps(span: tuple[float, float], step: float, times: Times | None, even: bool, since: float | None) -> Samples:
    start, total = span[0], _whole(span, step, least=1 if since is None else 0)
    _check_apart(span, step)
    done = 0 if since is None else round((since - start) / step)
    if isinstance(times, Sized) and not isinstance(times, Mapping):
        exact = (_listed((start + done * step, span[1]), times) - start) / step
        save = np.rint(exact).astype(np.int64)
        off = np.abs(exact - save) > 1e-6 * np.maximum(1.0, np.abs(exact) * 1e-6)
        if off.any() or save[-1] > total or (np.diff(save) == 0).any():
            k = int(np.argmax(off)) if off.any() else len(save) - 1
            raise ProblemError(
                f"with Euler, times must be whole steps of {step:g} from {start:g}, got {start + exact[k] * step:g}: "
                f"the nearest is {start + min(int(save[k]), total) * step:g}."
            )
        return Samples(len(save), lambda k: (start + save[k] * step, save[k]))
    if isinstance(times, Mapping):
        every = _every(times)
        stride = round(every / step)
        if stride < 1 or abs(every / step - stride) > 1e-6 * stride:
            raise ProblemError(f"with Euler, samples must be whole steps of {step:g} apart, got {every:g}: change it.")
        stride = min(stride, total + 1)  # beyond the span there are none, and whole numbers have an end
        first, last = -(-done // stride) * stride, total - total % stride
    else:
        samples = count(SAMPLES if times is None else times, "times", least=2)
        stride = max(-(-(total - done) // (samples - 1)), 1)
        first, last = done, total
        if even and stride > 1:
            stride += stride % 2  # sample one phase of the flip, else the alternation shows as noise
            first, last = done + done % 2, total - total % 2

    def at(k: Integers) -> tuple[Floats, Integers]:
        save = np.minimum(first + k * stride, last)
        return start + save * step, save

    return Samples(max(-(-(last - first) // stride) + 1, 0), at)


def _every(times: Mapping[str, Any]) -> float:
    table = mapping(times, "times")
    keys(table, "times", ("every",))
    return number(table.get("every"), "times every", positive=True)


def _listed(span: tuple[float, float], times: Sized) -> Floats:
    values = increasing(cast(ArrayLike, times), "times")
    if values[0] < span[0] or values[-1] > span[1]:
        raise ProblemError(
            f"times must lie in the span {span[0]:g} to {span[1]:g}, got {values[0]:g} to {values[-1]:g}: cut them."
        )
    return values
