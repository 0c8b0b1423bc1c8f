"""The cost G of any control and its gradient, by the costate equation: backpropagation through continuous time."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from hamjl.checks import count
from hamjl.control.collocation import Mesh
from hamjl.control.transcription import Transcription
from hamjl.dynamics import full_dynamics_of
from hamjl.dynamics.network import NetworkDynamics
from hamjl.dynamics.weights import weights_of
from hamjl.errors import ProblemError
from hamjl.lowered import Floats, LawCode, NetworkField, SymbolicField
from hamjl.lowering import control_values, lower_field
from hamjl.methods import ControlLike, as_control
from hamjl.problem import Problem
from hamjl.symbolic import SymbolicSystem

ROWS = 1001  # of the result, at most
SEGMENT = 4_000_000  # numbers of one segment's weights that are kept at a time


@np.errstate(all="ignore")  # what is not finite is found by looking at the cost
def adjoint(problem: Problem, control: ControlLike | None = None, *, nodes: int = 1000) -> xr.Dataset:
    """Integrate x and w forward under a control and p backward from p(T) = 0.

    Then dG/dx(0) = φ(0) p_x(0), dG/dw(0) = φ(0) p_w(0) and δG/δv = φ (m c v + p_w) (p divided by φ, as everywhere):
    they are exact for the discretised G, whose error is of order 4 in the step.

    Parameters
    ----------
    problem : Problem
        Its x(0) and w(0) are used, not its costates.
    control : xarray.Dataset or DataArray, optional
        A trajectory, whose w is followed, or v = w' on (time, arc), linear between its times and constant outside; 0 by
        default, so that the gradient by w(0) is that of training frozen weights through time.
    nodes : int
        Steps of time, evenly spread between breakpoints of the signals and times of the control.

    Returns
    -------
    xarray.Dataset
        On ``time`` (at most 1001 of the nodes): ``x``, ``w``, ``v``, ``p_x``, ``p_w``, ``y``, ``z``, ``cost`` (G up
        to each time) and ``gradient``, δG/δv (time, arc); ``gradient_x`` (neuron) and ``gradient_w`` (arc), by x(0) and
        w(0), of frozen weights too. ``attrs["cost"]`` is G. With tied arcs ``p_w`` and the gradients are by ``weight``.

    Raises
    ------
    ProblemError
        If the control does not fit the problem, or x leaves the range of numbers under it.

    Notes
    -----
    Memory does not grow with the number of nodes: the state is kept at the ends of segments of about 4·10⁶/arcs steps,
    and each segment is integrated again on the way back (about 30 numbers for each arc and node of one segment).
    """
    if not isinstance(problem, Problem):
        raise ProblemError(f"problem must be a hamjl.Problem, got {type(problem).__name__}: build one.")
    field = lower_field(problem, thawed=True)
    assert isinstance(field, NetworkField)
    given = None if control is None else control_values(problem, field, as_control(control, "control"), "control")
    stops = [*_stops(field), np.zeros(0) if given is None else given[0]]
    mesh = Mesh.over(problem.span, count(nodes, "nodes", least=1), np.concatenate(stops))
    n, moving = field.neurons, field.moving
    segments, costs = _forward(
        field, mesh, given, np.concatenate((problem.initial_vector()[:n], problem.weight_values()))
    )
    if len(costs) <= len(mesh):
        raise ProblemError(
            f"x must stay finite under the control, got none after t = {mesh.nodes[len(costs) - 1]:g}: change the "
            "control."
        )
    chosen = np.unique(np.linspace(0, len(mesh), min(len(mesh) + 1, ROWS)).round().astype(np.int64))
    values = np.empty((len(chosen), 2 * (n + moving)))
    end: Floats | None = None
    for first, last, start in reversed(segments):
        part, unknown = _segment(field, mesh, given, first, last, start)
        part.end = end
        rows = part.at(unknown).nodes()
        mine = (chosen >= first) & (chosen <= last)
        values[mine] = rows[chosen[mine] - first]
        end = rows[0, n + moving :] * part.phi(part.mesh.nodes[:1])
    assert end is not None
    return _labelled(problem, field, mesh.nodes[chosen], values, given, costs[chosen], end)


@np.errstate(all="ignore")
def replayed_cost(problem: Problem | SymbolicSystem, run: xr.Dataset) -> Floats:
    """G of a run's control up to each of its samples, (time,), from its first state: x' = f under its w, or its v.

    NaN from where the samples or x are no numbers.
    """
    names = problem.replayed
    numbers = np.logical_and.reduce([np.isfinite(run[name].values).all(axis=1) for name in names])
    alive = len(numbers) if numbers.all() else int(np.argmin(numbers))
    times, result = run.time.values, np.full(len(numbers), np.nan)
    if alive < 2:
        return result
    field, part = lower_field(problem, thawed=True), run[list(names)].isel(time=slice(alive))
    given = control_values(problem, field, as_control(part, "control"), "control")
    span = (float(times[0]), float(times[alive - 1]))
    mesh = Mesh.over(span, ROWS - 1, np.concatenate([times[:alive], *_stops(field)]))
    first = [part[name].values[0] for name in names if name != "v"]
    if isinstance(field, NetworkField):
        first[1] = weights_of(field).known(first[1])
    _, costs = _forward(field, mesh, given, np.concatenate(first))
    reached = mesh.nodes[: len(costs)]
    result[:alive] = np.interp(times[:alive], reached, costs, right=np.nan)
    return result


def _stops(field: NetworkField | SymbolicField) -> list[Floats]:
    """Breakpoints of the signals."""
    return [table.stops for table in full_dynamics_of(field, LawCode()).signals()]


def _segment(
    field: NetworkField | SymbolicField, mesh: Mesh, given: tuple[Floats, Floats] | None, first: int, last: int,
    state: Floats,
) -> tuple[Transcription, Floats]:  # fmt: skip
    part = Transcription(field, Mesh(mesh.nodes[first : last + 1]), state)
    return part, part.control.unknown(_along(given, part.mesh.stages, part.control.shape[-1]))


def _forward(
    field: NetworkField | SymbolicField, mesh: Mesh, given: tuple[Floats, Floats] | None, initial: Floats
) -> tuple[list[tuple[int, int, Floats]], Floats]:
    """Segments (first node, last node, state there), and G up to each node, as far as x is found."""
    controls = field.controls if isinstance(field, SymbolicField) else field.moving
    edges = [*range(0, len(mesh), max(16, SEGMENT // max(controls, 1))), len(mesh)]
    segments, costs, state = [], [np.zeros(1)], initial
    for first, last in pairwise(edges):
        part, unknown = _segment(field, mesh, given, first, last, state)
        if not np.isfinite(part.cost(unknown)):
            found = getattr(part.at(unknown), "costs", np.zeros(1))[1:]  # none where x was not found
            costs.append(costs[-1][-1] + found[np.logical_and.accumulate(np.isfinite(found))])
            break
        segments.append((first, last, state))
        costs.append(costs[-1][-1] + part.at(unknown).costs[1:])
        state = part.at(unknown).end_state()
    return segments, np.concatenate(costs)


def _along(given: tuple[Floats, Floats] | None, t: Floats, arcs: int) -> Floats:
    """v (…, arc) of a control at times (…)."""
    if given is None:
        return np.zeros((*t.shape, arcs))
    times, values = given
    if len(times) == 1:
        return np.broadcast_to(values[0], (*t.shape, arcs)).copy()
    t = np.clip(t, times[0], times[-1])
    k = np.clip(np.searchsorted(times, t, side="right") - 1, 0, len(times) - 2)
    s = ((t - times[k]) / (times[k + 1] - times[k]))[..., None]
    return (1 - s) * values[k] + s * values[k + 1]


def _labelled(
    problem: Problem,
    field: NetworkField,
    time: Floats,
    values: Floats,
    given: tuple[Floats, Floats] | None,
    cost: Floats,
    start: Floats,
) -> xr.Dataset:
    dynamics = NetworkDynamics(field, LawCode())
    n, moving, weights = field.neurons, field.moving, dynamics.weights
    x, w, p_x, p_w = np.split(values, [n, n + moving, 2 * n + moving], axis=1)
    v = _along(given, time, moving)
    gradient = dynamics.phi(time)[:, None] * (field.inertia * v + p_w)
    neuron, arc, weight = ("time", "neuron"), ("time", "arc"), ("time", "weight" if problem.network.is_tied else "arc")
    variables = {
        "x": (neuron, x, "neuron state x", "1"),
        "w": (arc, weights.spread(w), "weight w", "1"),
        "v": (arc, weights.tangent(v), "control v = w'", "1/time"),
        "p_x": (neuron, p_x, "costate of x, divided by φ", "cost"),
        "p_w": (weight, p_w, "costate of w, divided by φ", "cost"),
        "y": (("time", "output"), x[:, field.outputs], "output (state of the output neurons)", "1"),
        "z": (
            ("time", "output"),
            dynamics.drive(time)[:, field.inputs : field.inputs + len(field.outputs)],
            "target z",
            "1",
        ),
        "cost": (("time",), cost, "cost G up to each time", "cost"),
        "gradient": (weight, gradient, "δG/δv", "cost"),
        "gradient_x": (neuron[1:], start[:n], "dG/dx(0)", "cost"),
        "gradient_w": (weight[1:], start[n:], "dG/dw(0)", "cost"),
    }
    coords: dict[str, Any] = {
        "time": ("time", time, {"long_name": "time", "units": "time unit"}),
        "neuron": list(problem.network.neurons),
        "arc": list(problem.network.arcs),
        "output": list(problem.network.outputs),
    }
    if problem.network.is_tied:
        coords |= {"weight": list(problem.network.weights), "arc_weight": problem.labels["arc_weight"]}
    fields = {
        name: (dims, data, {"long_name": text, "units": unit}) for name, (dims, data, text, unit) in variables.items()
    }
    return xr.Dataset(fields, coords, {"title": "cost and gradient of a control", "cost": cost[-1]})
