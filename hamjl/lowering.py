"""From a problem, a law and a method to the plain record that engines read."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, cast

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from hamjl import functions
from hamjl.checks import count, increasing
from hamjl.errors import ProblemError
from hamjl.laws import BackpropLimit, BoundaryValue, Cauchy, CostateReversal, HamiltonianLearning, Law, SignFlip
from hamjl.lowered import Floats, Integers, LawCode, Lowered, MethodCode, NetworkField, SymbolicField
from hamjl.methods import Adaptive, Collocation, Euler, Method
from hamjl.problem import Problem
from hamjl.symbolic import SymbolicSystem

SAMPLES = 1001  # saved times when the user names none
MAX_SAMPLES, MAX_STEPS, MAX_FLIPS = 10**8, 10**15, 10**7


def lower(problem: Problem | SymbolicSystem, law: Law, method: Method, times: Any = None) -> Lowered:
    """Return the record of a run; see `hamjl.solve` for `times`."""
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
    guess = None
    if isinstance(method, Collocation):
        save, grid = np.zeros(0, dtype=np.int64), _times(problem.span, times)
        solver = MethodCode(
            "Collocation",
            rtol=method.tolerance,
            max_steps=method.max_iterations,
            nodes=method.nodes,
            max_nodes=method.max_nodes,
        )
        guess = None if method.start is None else control_values(problem, method.start, "start")
    elif isinstance(method, Euler):
        save, grid = _steps(problem.span, method.step, times, even=code.flip == "step")
        solver = MethodCode("Euler", step=method.step)
    else:
        assert isinstance(method, Adaptive)
        save, grid = np.zeros(0, dtype=np.int64), _times(problem.span, times)
        solver = MethodCode(method.name, rtol=method.rtol, atol=method.atol, max_steps=method.max_steps)
    if isinstance(law, BackpropLimit | HamiltonianLearning) and isinstance(problem, SymbolicSystem):
        raise ProblemError(f"{type(law).__name__} is for networks, got a SymbolicSystem: use CostateReversal.")
    return Lowered(lower_field(problem), code, solver, problem.initial_vector(), problem.span, grid, save, guess)


def control_values(problem: Problem | SymbolicSystem, given: xr.DataArray, what: str) -> tuple[Floats, Floats]:
    """Times (k,) and values (k, arc or control) of a control, in the problem's own order."""
    dim, names = ("control", problem.controls) if isinstance(problem, SymbolicSystem) else ("arc", problem.network.arcs)
    if dim not in given.dims or given.sizes[dim] != len(names):
        raise ProblemError(
            f"{what} must be a control of this problem's {len(names)} {dim}s, got {dict(given.sizes)}: give another."
        )
    if dim in given.indexes:
        if sorted(map(str, given.indexes[dim])) != sorted(names):
            raise ProblemError(f"{what} must have this problem's {dim}s by name, got others: rename them.")
        given = given.sel({dim: list(names)})
    return given["time"].values.astype(np.float64), given.values


def lower_field(problem: Problem | SymbolicSystem) -> NetworkField | SymbolicField:
    """The problem's equations and costs as arrays, numbers and formulas."""
    return _lower_system(problem) if isinstance(problem, SymbolicSystem) else _lower_network(problem)


def _lower_system(system: SymbolicSystem) -> SymbolicField:
    return SymbolicField(
        states=len(system.states),
        controls=len(system.controls),
        program=system.program,
        control=system.control_program,
        dissipation=functions.dissipation_program(system.dissipation),
        signals=tuple(signal.table for signal in system.signals.values()),
    )


def _lower_network(problem: Problem) -> NetworkField:
    network, objective = problem.network, problem.objective
    scale = float(network.velocity.mean()) if objective.scaled_by_velocity else 1.0
    kinds = list(dict.fromkeys(network.activation))
    position = {kind: k for k, kind in enumerate(kinds)}
    return NetworkField(
        inputs=len(network.inputs),
        neurons=len(network.neurons),
        source=network.source,
        target=network.target,
        outputs=network.output_index,
        velocity=network.velocity,
        activations=tuple(functions.activation_program(kind) for kind in kinds),
        activation_of=np.array([position[kind] for kind in network.activation], dtype=np.int64),
        inertia=objective.m * scale,
        loss_scale=objective.loss_weight * scale,
        regularizer_scale=objective.k * scale,
        softmax=objective.loss == functions.SOFTMAX,
        loss=functions.loss_program(objective.loss),
        regularizer=functions.regularizer_program(objective.regularizer),
        dissipation=functions.dissipation_program(objective.dissipation),
        input_signals=tuple((signal.table, columns) for signal, columns in problem.signal_table("inputs")),
        target_signals=tuple((signal.table, columns) for signal, columns in problem.signal_table("target")),
    )


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


def _times(span: tuple[float, float], times: Any) -> Floats:
    if not isinstance(times, Sized):
        samples = count(SAMPLES if times is None else times, "times", least=2)
        if samples > MAX_SAMPLES:
            raise ProblemError(f"times must count at most {MAX_SAMPLES:g} samples, got {samples:g}: save fewer.")
        return np.linspace(*span, samples)
    values = increasing(cast(ArrayLike, times), "times")
    if values[0] < span[0] or values[-1] > span[1]:
        raise ProblemError(
            f"times must lie in the span {span[0]:g} to {span[1]:g}, got {values[0]:g} to {values[-1]:g}: cut them."
        )
    return values


def _steps(span: tuple[float, float], step: float, times: Any, even: bool) -> tuple[Integers, Floats]:
    start, stop = span
    with np.errstate(over="ignore"):
        whole = np.floor(np.float64(stop - start) / step * (1 + 1e-12) + 1e-9)
    if not 1 <= whole <= MAX_STEPS:
        raise ProblemError(
            f"the span must hold between 1 and {MAX_STEPS:g} steps, got {whole:g} steps of {step:g}: change the step."
        )
    total = int(whole)
    if not isinstance(times, Sized):
        samples = count(SAMPLES if times is None else times, "times", least=2)
        stride = -(-total // (min(samples, MAX_SAMPLES) - 1))
        if even and stride > 1:
            stride += stride % 2  # sample one phase of the flip, else the alternation shows as noise
        last = total - total % 2 if even and stride > 1 else total
        save = np.unique(np.append(np.arange(0, last, stride, dtype=np.int64), last))
    else:
        exact = (_times(span, times) - start) / step
        save = np.rint(exact).astype(np.int64)
        off = np.abs(exact - save) > 1e-6 * np.maximum(1.0, np.abs(exact) * 1e-6)
        if off.any() or save[-1] > total or (np.diff(save) == 0).any():
            k = int(np.argmax(off)) if off.any() else len(save) - 1
            raise ProblemError(
                f"with Euler, times must be whole steps of {step:g} from {start:g}, got {start + exact[k] * step:g}: "
                f"the nearest is {start + min(int(save[k]), total) * step:g}."
            )
    return save, start + save * step
