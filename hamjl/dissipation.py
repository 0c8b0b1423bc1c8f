"""The weight φ(t) of time in G: e^{θt}, a formula, or samples."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from hamjl import signals
from hamjl.checks import number
from hamjl.codegen import compile_program
from hamjl.errors import ProblemError, shown
from hamjl.expressions import Formula, Program, check, emit, is_sympy, read
from hamjl.foreign import Folder
from hamjl.operations import Graph
from hamjl.piecewise import Piecewise
from hamjl.signals import Signal

DissipationLike = Formula | xr.DataArray | Signal  # a number is θ, all else φ(t)
Dissipation = float | str | Signal


def as_dissipation(value: Any) -> Dissipation:
    """Return the number θ of φ = e^{θt}, the checked formula of φ(t), or its samples."""
    if isinstance(value, xr.DataArray) and value.ndim > 0:
        value = signals.series(value)
    if isinstance(value, Signal):
        values = value.spec["data"].values if value.spec["kind"] == "series" else np.zeros(0)
        if values.ndim != 1 or not len(values) or not (values > 0).all():
            raise ProblemError(
                f"a sampled dissipation φ must be positive, on 'time' alone, got {shown(value.spec)}: give an array, "
                "or a formula."
            )
        return value
    if isinstance(value, str) or is_sympy(value):
        return check(value, ("t",), "dissipation φ")
    return number(value, "dissipation θ (φ = exp(θ t))")


def lower_dissipation(given: Dissipation) -> Program | Piecewise:
    """φ and ρ = φ'/φ as ``f``, ``rate``; or of samples the table of log φ, which is linear between them."""
    if not isinstance(given, Signal):
        return _program(given)
    data = given.spec["data"]
    time, log_phi = data.time.values, np.log(data.values)
    slope = np.diff(log_phi) / np.diff(time) if len(time) > 1 else np.zeros(1)
    start = time[: len(slope)]
    none = np.zeros((0, len(start), 1))
    return Piecewise(start, np.stack((log_phi[: len(slope)], slope))[..., None], none, none, none, start[1:])


@lru_cache(maxsize=64)
def _program(value: str | float) -> Program:
    graph = Graph(f"dissipation {shown(value)}")
    t = graph.symbol("t")
    phi = graph.call("exp", graph.scale(value, t)) if isinstance(value, float) else read(graph, value)
    if phi == graph.zero:
        raise ProblemError(f"dissipation φ must be positive, got {shown(value)}: use e.g. 'exp(t)' or a number θ.")
    return emit(graph, ("t",), {"f": phi, "rate": graph.rate(phi, t)})


def check_dissipation(phi: Dissipation, span: tuple[float, float]) -> None:
    """Check that φ is positive and finite on the span."""
    if isinstance(phi, float):
        return
    if isinstance(phi, Signal):
        (start, stop), (low, high) = span, phi.domain
        if low > start or high < stop:
            raise ProblemError(
                f"dissipation φ must cover the span {start:g} to {stop:g}, got samples from {low:g} to {high:g}: "
                "shorten the span or extend them."
            )
        return
    with np.errstate(all="ignore"):
        t = np.linspace(*span, 1001)
        values = compile_program(_program(phi), ["f", "rate"])(t)
        value, rate = (v * np.ones_like(t) for v in values)
    bad = ~(value > 0) | ~np.isfinite(value) | ~np.isfinite(rate)
    if bad.any():
        k = int(np.argmax(bad))
        raise ProblemError(
            f"dissipation φ(t) must be positive and finite on the span, got {value[k]:g} at t = {t[k]:g} for "
            f"{shown(phi)}: change it or the span (a number θ gives exp(θ t), safe at any length)."
        )


def to_plain(given: Dissipation) -> Any:
    """What `from_plain` reads."""
    return given.spec if isinstance(given, Signal) else given


def from_plain(spec: Any, folder: Path | Folder | None = None) -> Any:
    """What is taken for a dissipation; data files named in it are in `folder` or below."""
    return signals.from_dict(spec, folder) if isinstance(spec, Mapping) else spec
