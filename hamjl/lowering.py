"""From a problem, a law and a method to the plain record that engines read."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from hamjl import functions
from hamjl.dissipation import lower_dissipation
from hamjl.dynamics.weights import weights_of
from hamjl.errors import ProblemError, shown
from hamjl.expressions import Program
from hamjl.laws import BackpropLimit, BoundaryValue, Cauchy, CostateReversal, HamiltonianLearning, Law, SignFlip
from hamjl.lowered import (
    AdaptiveCode,
    CollocationCode,
    EulerCode,
    Floats,
    Goal,
    Integers,
    LawCode,
    Lowered,
    MethodCode,
    NetworkField,
    SymbolicField,
    Weights,
)
from hamjl.methods import Adaptive, Collocation, Euler, Method
from hamjl.network import Network
from hamjl.piecewise import Piecewise
from hamjl.problem import Problem
from hamjl.sampling import Samples, sampling
from hamjl.signals import Signal, constant
from hamjl.symbolic import SymbolicSystem

MAX_FLIPS = 10**7
SLACK = 1e-6  # of a control that is followed by tied weights


def whole(problem: Problem | SymbolicSystem, law: Law, method: Method, times: Any = None) -> Goal:
    """The goal of a run over all of the problem's span; see `hamjl.solve` for `times`."""
    given = samples(problem, law, method, times)
    return goal(problem, method, given.all(len(problem.initial_vector())))


def goal(problem: Problem | SymbolicSystem, method: Method, part: tuple[Floats, Integers]) -> Goal:
    """The goal of a run that ends with these samples: Euler stops at the last, an adaptive run at the end."""
    times, save = part
    return Goal(float(times[-1]) if isinstance(method, Euler) and len(times) else problem.span[1], times, save)


def samples(problem: Problem | SymbolicSystem, law: Law, method: Method, times: Any = None) -> Samples:
    """When a run over the problem's span is saved."""
    return sampling(problem.span, method, times, even=lower_law(law).flip == "step")


def lower(problem: Problem | SymbolicSystem, law: Law, method: Method) -> Lowered:
    """Return the record of a run."""
    code = lower_law(law)
    if isinstance(method, Adaptive) and code.flip == "step":
        raise ProblemError(
            "SignFlip(every_step=True) needs a fixed step, got an adaptive method: use Euler, or SignFlip(frequency=…)."
        )
    if isinstance(method, Adaptive) and isinstance(law, HamiltonianLearning):
        raise ProblemError(
            "HamiltonianLearning goes by steps, got an adaptive method: use Euler (or the law CostateReversal)."
        )
    if isinstance(method, Adaptive) and code.flip == "track" and code.hysteresis == 0:
        raise ProblemError(
            "SignFlip(radius=…) needs hysteresis > 0 with an adaptive method, got 0: s would chatter for ever on the "
            "ball's surface."
        )
    if code.boundary != isinstance(method, Collocation):
        given = f"{type(law).__name__} and {type(method).__name__}"
        raise ProblemError(f"BoundaryValue and Collocation need each other, got {given}: leave the method out.")
    length = problem.span[1] - problem.span[0]
    if isinstance(method, Adaptive) and code.flip == "periodic" and 2 * code.frequency * length > MAX_FLIPS:
        raise ProblemError(
            f"an adaptive method restarts at each flip, at most {MAX_FLIPS:g} times, got frequency {code.frequency:g} "
            f"over {length:g}: lower it or use Euler."
        )
    field = lower_field(problem)
    starts: tuple[tuple[Floats, Floats], ...] = ()
    if isinstance(method, Collocation):
        controls = method.start if isinstance(method.start, tuple) else (method.start,)
        starts = tuple(
            control_values(problem, field, one, "start") for one in controls if isinstance(one, xr.DataArray)
        )
    if code.limit and isinstance(problem, Problem):
        check_settles(problem.network, type(law).__name__)
    if isinstance(law, BackpropLimit | HamiltonianLearning) and isinstance(problem, SymbolicSystem):
        raise ProblemError(f"{type(law).__name__} is for networks, got a SymbolicSystem: use CostateReversal.")
    return Lowered(field, code, lower_method(method), problem.initial_vector(), problem.span, starts)


def control_values(
    problem: Problem | SymbolicSystem, field: NetworkField | SymbolicField, given: xr.DataArray, what: str
) -> tuple[Floats, Floats]:
    """Times (k,) and values (k, moving weight or control) of a control, in the field's own order."""
    dim = problem.control_dim
    _, names = problem.labels.get(dim, (dim, []))
    if dim not in given.dims or given.sizes[dim] != len(names):
        raise ProblemError(
            f"{what} must be a control of this problem's {len(names)} {dim}s, got {dict(given.sizes)}: give another."
        )
    if dim in given.indexes:
        if sorted(map(str, given.indexes[dim])) != sorted(names):
            raise ProblemError(f"{what} must have this problem's {dim}s by name, got others: rename them.")
        given = given.sel({dim: list(names)})
    values = given.values
    if isinstance(field, NetworkField):
        weights = weights_of(field)
        moved = weights.known(values)
        lost = np.abs(weights.tangent(moved) - values).max(initial=0.0)
        if lost > SLACK * np.abs(values).max(initial=0.0):
            raise ProblemError(
                f"{what} must move tied arcs together and frozen ones not at all, got another control: give one of "
                "this problem."
            )
        values = moved
    return given["time"].values.astype(np.float64), values


def lower_field(problem: Problem | SymbolicSystem, thawed: bool = False) -> NetworkField | SymbolicField:
    """The problem's equations and costs as arrays, numbers and formulas; `thawed` lets all weights move."""
    return _lower_system(problem) if isinstance(problem, SymbolicSystem) else _lower_network(problem, thawed)


def _lower_system(system: SymbolicSystem) -> SymbolicField:
    return SymbolicField(
        states=len(system.states),
        controls=len(system.controls),
        program=system.program,
        control=system.control_program,
        dissipation=lower_dissipation(system.dissipation),
        signals=tuple(signal.table for signal in system.signals.values()),
    )


def _lower_network(problem: Problem, thawed: bool) -> NetworkField:
    network, objective = problem.network, problem.objective
    scale = float(network.velocity.mean()) if objective.scaled_by_velocity else 1.0
    models = list(zip(network.neuron, network.activation, strict=True))
    kinds = list(dict.fromkeys(models))
    position = {kind: k for k, kind in enumerate(kinds)}
    leaky = all(model == "leaky" for model, _ in kinds)
    inputs, target = (tuple((signal.table, k) for signal, k in one.pairs()) for one in problem.channels)
    q = objective.loss_weight
    weights, inertia = _weights(problem, thawed)
    return NetworkField(
        inputs=len(network.inputs),
        neurons=len(network.neurons),
        source=network.source,
        target=network.target,
        outputs=network.output_index,
        velocity=network.velocity,
        activations=tuple(
            functions.activation_program(sigma) if leaky else functions.neuron_program(model, sigma)
            for model, sigma in kinds
        ),
        activation_of=np.array([position[kind] for kind in models], dtype=np.int64),
        inertia=inertia * scale,
        loss_scale=q * scale if isinstance(q, float) else scale,
        regularizer_scale=problem.regularizer_scale * scale,
        losses=tuple(
            (None if loss == functions.SOFTMAX else functions.loss_program(loss), columns)
            for loss, columns in problem.losses.items()
        ),
        regularizer=functions.regularizer_program(objective.regularizer),
        dissipation=lower_dissipation(problem.dissipation),
        input_signals=inputs,
        target_signals=target,
        loss_weights=tuple((_loss_weight(one), np.array([k])) for one, k in problem.loss_weights),
        weights=weights,
    )


def _loss_weight(given: float | str | Signal) -> Program | Piecewise:
    if isinstance(given, str):
        return functions.weight_program(given)
    return (constant(given) if isinstance(given, float) else given).table


def _weights(problem: Problem, thawed: bool) -> tuple[Weights | None, float | Floats]:
    """Which weights move, and the mass of each, or of all; `thawed` lets those move that are frozen."""
    network, m = problem.network, problem.inertia
    moves = np.full_like(problem.moves, True) if thawed else problem.moves
    if thawed and np.ndim(m):
        m = np.where(np.isfinite(m), m, 1.0)
    elif thawed and not np.isfinite(m):
        m = 1.0
    if moves.all() and not network.is_tied:
        return None, m
    mass = m[moves] if np.ndim(m) else m  # type: ignore[index]
    if not np.ndim(mass) and not np.isfinite(mass):
        mass = 1.0  # of none
    weights = Weights(network.weight, network.factor, np.flatnonzero(moves), problem.weight_values())
    return weights, mass


def check_settles(network: Network, what: str) -> None:
    """Refuse neurons without a state of rest."""
    for name, model in zip(network.neurons, network.neuron, strict=True):
        if model != "leaky" and not functions.settles(model):
            raise ProblemError(
                f"{what} needs neurons that come to rest, f(x, a) = 0, got {name!r} with f = {shown(model)}, which "
                "does not depend on x: use another law, or add a leak."
            )


def lower_method(method: Method) -> MethodCode:
    """The numbers of a method."""
    match method:
        case Euler(step=step):
            return EulerCode(step)
        case Adaptive(name=name, rtol=rtol, atol=atol, max_steps=max_steps):
            return AdaptiveCode(name, rtol, atol, max_steps)
        case Collocation(tolerance=tolerance, max_iterations=most, max_nodes=max_nodes, effort=effort):
            return CollocationCode(tolerance, most, method.nodes or 0, max_nodes, method.starts or 0, effort)
    raise AssertionError(method)


def lower_law(law: Law) -> LawCode:
    """The signs of a law as plain codes."""
    match law:
        case SignFlip(every_step=True):
            return LawCode(flip="step")
        case SignFlip(frequency=float() as frequency):
            return LawCode(flip="periodic", frequency=frequency)
        case SignFlip(radius=float() as radius, hysteresis=hysteresis):
            return LawCode(flip="track", radius=radius, hysteresis=hysteresis)
        case CostateReversal():
            return LawCode(costate_sign=-1)
        case BackpropLimit():
            return LawCode(costate_sign=-1, limit=True)
        case BoundaryValue():
            return LawCode(boundary=True)
        case HamiltonianLearning(local=local, instantaneous=instantaneous):
            return LawCode(costate_sign=-1, limit=instantaneous, semi_implicit=not local)
        case Cauchy():
            return LawCode()
    raise AssertionError(law)
