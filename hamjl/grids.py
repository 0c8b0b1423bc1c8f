"""Inputs on a grid, and the neurons that look at them through shared kernels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from hamjl.checks import count
from hamjl.errors import ProblemError, shown
from hamjl.vertices import BIAS, check_size, is_whole

Arc = tuple[str, str]


def convolution(
    shape: int | Sequence[int], kernel: int | Sequence[int], channels: int, stride: int, bias: bool
) -> tuple[list[Arc], dict[str, list[Arc]], list[str], list[str]]:
    """Arcs, those of each shared weight, inputs and neurons of `Network.convolutional`."""
    grid, size = (_sizes(value, what) for value, what in ((shape, "shape"), (kernel, "kernel")))
    if len(grid) != len(size) or any(k > n for k, n in zip(size, grid, strict=False)):
        raise ProblemError(
            f"kernel must have the dimensions of the grid and fit into it, got {shown(kernel)} for {shown(shape)}: "
            "make it smaller, or match them."
        )
    step, many = count(stride, "stride", least=1), count(channels, "channels", least=1)
    places = [(n - k) // step + 1 for n, k in zip(grid, size, strict=True)]
    check_size(many * math.prod(places), math.prod(size))
    arcs, tied, neurons = list[Arc](), dict[str, list[Arc]](), list[str]()
    for c in range(many):
        prefix = f"{c}_" if many > 1 else ""
        for place in np.ndindex(*places):
            name = f"x{prefix}{_joined(place)}"
            neurons.append(name)
            pairs = [
                (f"k{prefix}{_joined(q)}", f"u{_joined(step * p + k for p, k in zip(place, q, strict=True))}")
                for q in np.ndindex(*size)
            ]
            for weight, source in [*pairs, *([(f"b{c}", BIAS)] * bias)]:
                arcs.append((source, name))
                tied.setdefault(weight, []).append((source, name))
    used = {source for source, _ in arcs}
    inputs = [name for place in np.ndindex(*grid) if (name := f"u{_joined(place)}") in used]
    return arcs, tied, inputs, neurons


def _sizes(value: Any, what: str) -> tuple[int, ...]:
    """One size, or one for each of two dimensions."""
    given = [value] if is_whole(value) or not isinstance(value, Sequence | np.ndarray) else list(value)
    if not 1 <= len(given) <= 2:
        raise ProblemError(f"{what} must have one dimension or two, got {shown(value)}: write e.g. 8 or (8, 8).")
    return tuple(count(size, what, least=1) for size in given)


def _joined(place: Iterable[int]) -> str:
    return "_".join(map(str, place))
