"""The boundary-value law: the minimum of G over controls, sampled. Engines differ in how G is computed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from threadpoolctl import threadpool_limits

from hamjl.control.minimum import Search
from hamjl.control.transcription import Transcription
from hamjl.lowered import STATUS, CollocationCode, Floats, Lowered, Monitor, NetworkField, Result

STARTS = 8  # that are tried, if neither a number nor a start is given

Transcribe = Callable[..., Transcription]  # of a field, a mesh and initial values


def run_boundary(
    lowered: Lowered, times: Floats, monitor: Monitor, transcribe: Callable[..., Transcription] = Transcription
) -> Result:
    """Search for the minimum and sample states and costates at `times`."""
    method, (start, end) = lowered.method, lowered.span
    assert isinstance(method, CollocationCode)
    search = Search(
        lowered.field,
        lowered.initial,
        lowered.span,
        tolerance=method.tolerance,
        nodes=method.nodes,
        starts=method.starts or len(lowered.starts) or STARTS,
        effort=method.effort,
        max_nodes=method.max_nodes,
        max_iterations=method.max_iterations,
        given=lowered.starts,
        look=lambda: monitor(start),
        transcribe=transcribe,
    )
    one = 1 if search.exact else None  # thread: small blocks are slower on several
    with np.errstate(all="ignore"), threadpool_limits(one):  # what is not finite is found by looking at the cost
        found = search.run()
    if found is None:
        none, nothing = np.empty(0), np.empty((0, len(lowered.initial)))
        return Result(none, nothing, none, "diverged", STATUS["diverged"], start, {"solver": method.name})
    curve = found.curve
    last = curve.states[-1, -curve.states.shape[1] // 2 :]
    statistics: dict[str, int | float | str] = {
        "solver": method.name,
        "cost": found.cost,
        "gradient_norm": found.gradient,
        "certificate": found.certificate,
        "terminal_costate": float(np.abs(last).max()),
        "curvature": found.curvature,
        "starts": len(found.ends),
        "ends": ", ".join(f"{name} {cost:.6g}" for name, cost in sorted(found.ends.items(), key=lambda end: end[1])),
        "iterations": found.iterations,
        "nodes": len(curve.nodes) - 1,
    }
    states = curve.at(times)
    if found.status != "success" and isinstance(lowered.field, NetworkField):
        n = lowered.field.neurons
        states[:, n : n + lowered.field.moving] = found.path(times)
    return Result(times, states, np.ones(len(times)), found.status, STATUS[found.status], end, statistics)
