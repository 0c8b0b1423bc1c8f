"""The one module that talks to Julia: the record in as Julia's arrays and text, the trajectory out uncopied."""

from __future__ import annotations

import ast
import gc
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from hamjl.dynamics.weights import weights_of
from hamjl.engines.julia.configuration import EXE, PROJECT, REMEDY, configured, missing, package_folder, remedy
from hamjl.errors import EngineError, HamjlError
from hamjl.expressions import Program
from hamjl.lowered import (
    STATUS,
    AdaptiveCode,
    EulerCode,
    Floats,
    Goal,
    LawCode,
    Lowered,
    MethodCode,
    NetworkField,
    Result,
    State,
    SymbolicField,
    Weights,
)
from hamjl.piecewise import Piecewise
from hamjl.schema import array, check


class JuliaRun:
    """A run on the Julia side; in between two slices Python is in charge, so Ctrl-C and progress work."""

    def __init__(self, lowered: Lowered, state: State | None = None) -> None:
        self._julia, self._lowered = module(), lowered
        with failures():
            self._run = begin(self._julia, lowered)
        self.aim(Goal(lowered.span[0]))
        if state is not None:
            self._restore(state)

    @property
    def status(self) -> str:
        """Whether and how the run has ended."""
        return str(self._run.status)

    @property
    def reached(self) -> float:
        """Present time."""
        return float(self._run.reached)

    def aim(self, goal: Goal) -> None:
        """Set the next goal."""
        rows = self._make_rows(goal)
        times, save = floats(goal.times), integers(goal.save)
        with failures():
            self._julia.aim_b(self._run, float(goal.until), times, save, *(part.ctypes.data for part in rows))
        self._times, self._rows = goal.times, rows

    def _make_rows(self, goal: Goal) -> tuple[Floats, Floats]:
        """States and signs for Julia to fill: NumPy's memory, so that whoever holds them holds nothing of Julia's.

        They may then be let go of in any thread; Julia's own objects must be on the thread that Julia runs on.
        """
        count = len(goal.times)  # Julia's columns are rows of NumPy's
        return np.empty((count, len(self._lowered.initial))), np.empty(count)

    def advance(self, seconds: float) -> bool:
        """Integrate for about so many seconds; return whether there is more to do. Other threads of Python go on."""
        with failures(), _alone() as alone:
            advance = self._julia.advance_b
            return bool((advance._jl_call_nogil if alone else advance)(self._run, float(seconds)))

    def result(self) -> Result:
        """The samples since the last `aim`."""
        count, status, reached, counts = self._julia.progress(self._run)
        statistics: dict[str, int | float | str] = {}
        if not isinstance(self._lowered.method, EulerCode):
            statistics["solver"] = self._lowered.method.name
        statistics |= {str(key): int(value) for key, value in counts.items()}
        states, signs = (part[: int(count)] for part in self._rows)
        message = STATUS.get(str(status), str(status))
        return Result(self._times[: int(count)], states, signs, str(status), message, float(reached), statistics)

    def present(self, t: float) -> Floats:
        """The full state at a time within the step taken last, or at its end."""
        with failures():
            return self._julia.present(self._run, float(t)).to_numpy(copy=True)

    def feed(self, lowered: Lowered) -> None:
        """Go on with other signals."""
        self._lowered = lowered
        with failures():
            tables = _tuple(_signals(self._julia, lowered.field))
            self._julia.feed_b(self._run, tables, float(lowered.span[1]))

    def export(self) -> State:
        """The complete state."""
        with failures():
            parts = self._julia.export_state(self._run)
        *arrays, solver = (part.to_numpy(copy=True) for part in parts)
        return {**dict(zip(_ARRAYS, arrays, strict=True)), "solver": solver}

    def _restore(self, state: State) -> None:
        rules: dict[str, Any] = {name: array(*part.shape) for name, part in self.export().items()}
        stepping = isinstance(self._lowered.method, EulerCode)
        rules["solver"] = array(0, kind="u") if stepping else _are_bytes  # of any number; Julia looks at them
        check(state, rules)
        with failures():
            lack = self._julia.take_up_b(self._run, *(floats(state[name]) for name in _ARRAYS), _bytes(state["solver"]))
        if lack:
            raise ValueError(lack)


_ARRAYS = ("numbers", "y", "before", "guess")


def _are_bytes(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 1


def advance_together(runs: Sequence[JuliaRun], seconds: float) -> bool:
    """Integrate several runs for about so many seconds on all threads of Julia; return whether there is more to do."""
    with failures():
        return bool(module().advance_together_b(_tuple(run._run for run in runs), float(seconds)))


# Two threads must never be in Julia at once: with the signals left to Python, its collector cannot stop the other one.
# Python's lock sees to that; it is let go of in `JuliaRun.advance`, as long as only one thread has ever come here.
_visitors: set[int] = set()  # who ever came: what one has of Julia's it may free at any time, in Julia, unannounced
_door = threading.Lock()  # held while one is inside without Python's lock: a new thread waits here before it is counted


def _enter() -> None:
    """Wait until no other thread is in Julia without Python's lock; from then on none will be.

    A thread that is counted need not wait: it is the one inside, or there are two, and then Python's lock is kept.
    """
    if threading.get_ident() not in _visitors:
        with _door:
            _visitors.add(threading.get_ident())


@contextmanager
def _alone() -> Iterator[bool]:
    """Whether only this thread uses Julia: then nobody comes in before the end, nor frees what is Julia's elsewhere."""
    with _door:  # and without Python's collector, which frees what lies in cycles on whatever thread it happens to run
        alone, collecting = len(_visitors) == 1, gc.isenabled()
        gc.disable()
        try:
            yield alone
        finally:
            if collecting:
                gc.enable()


@contextmanager
def failures() -> Iterator[None]:
    """Turn a Julia exception, which no user can do anything about, into one sentence."""
    _enter()
    try:
        yield
    except HamjlError:
        raise
    except Exception as error:
        raise EngineError(f"the Julia engine failed ({_reason(error)}): use engine='python' and report this.") from None


def module() -> Any:
    """The Julia module HamJL, started once per process."""
    _enter()
    return _module()


@lru_cache(maxsize=1)
def _module() -> Any:
    lack, found = missing(), configured()
    if lack is not None or found is None:
        raise EngineError(f"engine 'julia' must be set up once, but {lack}: {remedy()}, or use engine='python'.")
    if sys.stderr.isatty():
        print("hamjl: starting Julia (seconds, once per process)", file=sys.stderr)
    try:
        with _environment({EXE: str(found.julia), PROJECT: str(found.project)}):  # juliacall then resolves nothing
            import juliacall

        space = juliacall.newmodule("hamjl")
        folder = str(package_folder())
        space.seval("folder -> (folder in LOAD_PATH || push!(LOAD_PATH, folder); nothing)")(folder)
        space.seval("import HamJL")
        return space.HamJL
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # juliacall and juliapkg raise plain exceptions, or end the process
        raise EngineError(f"Julia could not be started ({_reason(error)}): {REMEDY}, or use engine='python'.") from None


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Set what juliacall reads while it is imported, and leave no trace: other processes decide for themselves."""
    defaults = {
        "PYTHON_JULIACALL_HANDLE_SIGNALS": "no",  # Ctrl-C belongs to Python
        "PYTHON_JULIACALL_AUTOLOAD_IPYTHON_EXTENSION": "no",
    }
    before = {name: os.environ.get(name) for name in (*defaults, *variables)}
    os.environ.update({name: before[name] or value for name, value in defaults.items()} | variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _reason(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


# -- the record, piece by piece ----------------------------------------------------------------------------------------
def begin(julia: Any, lowered: Lowered, **options: Any) -> Any:
    """A run on the Julia side with nothing to do yet."""
    field, law = lowered.field, lowered.law
    return julia.start(
        network(julia, field, law) if isinstance(field, NetworkField) else _symbolic(julia, field, law),
        initial=floats(lowered.initial),
        start=float(lowered.span[0]),
        stop=float(lowered.span[1]),
        **_method(lowered.method),
        **options,
    )


def _method(method: MethodCode) -> dict[str, Any]:
    match method:
        case EulerCode(step=step):
            numbers = {"step": float(step), "rtol": 0.0, "atol": 0.0, "max_steps": 0}
        case AdaptiveCode(rtol=rtol, atol=atol, max_steps=most):
            numbers = {"step": 0.0, "rtol": float(rtol), "atol": float(atol), "max_steps": int(most)}
        case _:
            raise AssertionError(method)
    return {"method": method.name, **numbers}


def _law(julia: Any, code: LawCode) -> Any:
    names = ("costate_sign", "flip", "frequency", "radius", "hysteresis", "limit", "semi_implicit")
    return julia.Law(**{name: getattr(code, name) for name in names})


def network(julia: Any, field: NetworkField, law: LawCode) -> Any:
    """A network on the Julia side."""
    first = ["f", "df", "d2f"] if field.leaky else ["f", "fa", "fx", "faa", "fxa", "fxx"]
    scale = field.regularizer_scale
    formulas = [
        _pair(int(columns[0]) + 1 + field.inputs + len(field.outputs), formula(julia, weight.only(["f"])))
        for weight, columns in field.loss_weights
        if isinstance(weight, Program)
    ]
    return julia.network(
        inputs=field.inputs,
        neurons=field.neurons,
        source=integers(field.source + 1),
        target=integers(field.target + 1),
        outputs=integers(field.outputs + 1),
        velocity=floats(field.velocity),
        leaky=field.leaky,
        activations=_tuple(formula(julia, program.only(first)) for program in field.activations),
        kind=integers(field.activation_of + 1),
        inertia=_each(field.inertia),
        loss_scale=float(field.loss_scale),
        regularizer_scale=_each(weights_of(field).select(scale)),
        losses=_tuple(_loss(julia, program, columns) for program, columns in field.losses),
        weighted=bool(field.loss_weights),
        formulas=_tuple(formulas),
        regularizer=formula(julia, field.regularizer.only(["df", "d2f"])),
        rate=_rate(julia, field.dissipation),
        signals=_tuple(_signals(julia, field)),
        law=_law(julia, law),
        **({} if field.weights is None else {"weights": _shared(julia, field.weights)}),
    )


def _each(values: float | Floats) -> Any:
    """A number for all weights, or one each."""
    return floats(values) if np.ndim(values) else float(values)


def _loss(julia: Any, program: Program | None, columns: Any) -> Any:
    if program is None:
        return julia.softmax(integers(columns + 1))
    return julia.separable(formula(julia, program.only(["df", "d2f"])), integers(columns + 1))


def _shared(julia: Any, weights: Weights) -> Any:
    """Which weights move, arc by arc."""
    place, still = np.zeros(len(weights.value), dtype=np.int64), weights.value.copy()
    place[weights.moving] = 1 + np.arange(len(weights.moving))
    still[weights.moving] = 0.0
    return julia.shared(
        place=integers(place[weights.weight]),
        factor=floats(weights.factor),
        still=floats(weights.factor * still[weights.weight]),
    )


def _symbolic(julia: Any, field: SymbolicField, law: LawCode) -> Any:
    n = field.states
    flow = [*(f"h_p_{k}" for k in range(n)), *(f"h_x_{k}" for k in range(n))]
    second = [f"j_{i}_{j}" for i in range(2 * n) for j in range(2 * n)]
    return julia.symbolic(
        states=n,
        flow=formula(julia, field.program.only(flow)),
        second=formula(julia, field.program.only(second)),
        rate=_rate(julia, field.dissipation),
        signals=_tuple(_signals(julia, field)),
        law=_law(julia, law),
    )


def _signals(julia: Any, field: NetworkField | SymbolicField) -> list[Any]:
    """The tables of all signals, with the columns of the drive that they fill; a sampled φ gives the last, its rate."""
    if isinstance(field, SymbolicField):
        signals = [_table(julia, table, np.array([k + 1])) for k, table in enumerate(field.signals)]
        width = len(field.signals)
    else:
        behind, after = field.inputs, field.inputs + len(field.outputs)
        width = after + (len(field.outputs) if field.loss_weights else 0)
        signals = [_table(julia, table, columns + 1) for table, columns in field.input_signals]
        signals += [_table(julia, table, columns + 1 + behind) for table, columns in field.target_signals]
        signals += [
            _table(julia, table, columns + 1 + after)
            for table, columns in field.loss_weights
            if isinstance(table, Piecewise)
        ]
    if isinstance(phi := field.dissipation, Piecewise):
        signals.append(_table(julia, replace(phi, poly=phi.poly[1:]), np.array([width + 1])))  # the slope of log φ
    return signals


def _table(julia: Any, table: Piecewise, columns: Any) -> Any:
    """A `Piecewise`: its C-order (degree, piece, channel) arrays are Julia's (channel, piece, degree)."""
    names = ("start", "poly", "amplitude", "omega", "phase", "stops")
    arrays = {name: floats(np.ascontiguousarray(getattr(table, name)).reshape(-1)) for name in names}
    return julia.table(**arrays, columns=integers(columns))


@lru_cache(maxsize=256)
def formula(julia: Any, program: Program) -> Any:
    """A `Program` as the one line that HamJL reads: ``"a b; r_0 = a tanh(); r_0, b"``."""
    assignments = [f"{name} = {postfix(text)}" for name, text in program.assignments]
    results = ", ".join(postfix(text) for _, text in program.results)
    return julia.formula("; ".join([" ".join(program.arguments), *assignments, results]))


def _rate(julia: Any, program: Program | Piecewise) -> Any:
    """φ'/φ, a number wherever it does not change: then nothing is compiled for another."""
    if isinstance(program, Piecewise):
        return julia.Sampled()
    program = program.only(["rate"])
    try:
        return julia.Constant(float(program.results[0][1]))
    except ValueError:
        return formula(julia, program)


_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "**"}


def postfix(text: str) -> str:
    """A formula with operators after their operands, as HamJL reads them: ``"-a**2"`` is ``"a 2 ** negative"``."""

    def tokens(node: ast.expr) -> Iterator[str]:
        match node:
            case ast.Constant(value):
                yield repr(value)
            case ast.Name(name):
                yield name
            case ast.UnaryOp(ast.USub(), ast.Constant(value)):
                yield repr(-value)  # type: ignore[operator]
            case ast.UnaryOp(ast.USub(), operand):
                yield from (*tokens(operand), "negative")
            case ast.BinOp(left, operator, right):
                yield from (*tokens(left), *tokens(right), _OPERATORS[type(operator)])
            case ast.Call(ast.Name(name), [argument]):
                yield from (*tokens(argument), f"{name}()")
            case _:
                raise ValueError(f"no formula: {ast.unparse(node)}")

    return " ".join(tokens(ast.parse(text, mode="eval").body))


def floats(values: Any) -> Any:
    return _copied(module().floats, np.ascontiguousarray(values, dtype=np.float64))


def integers(values: Any) -> Any:
    return _copied(module().integers, np.ascontiguousarray(values, dtype=np.int64))


def _bytes(values: Any) -> Any:
    return _copied(module().bytes, np.ascontiguousarray(values, dtype=np.uint8))


def _copied(copy: Any, values: Any) -> Any:
    """A Julia vector with the numbers of an array: Julia reads them at their address, with no conversion to look up."""
    return copy(values.ctypes.data, values.size)


def _pair(number: int, value: Any) -> Any:
    from juliacall import Base

    return Base.tuple(number, value)


def _tuple(values: Any) -> Any:
    """A Julia tuple of Julia values."""
    from juliacall import Base

    return Base.tuple(*values)
