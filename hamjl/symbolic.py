"""Small control problems given by formulas: the laws of learning for any x' = f(x, v, t)."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl import functions, signals
from hamjl.checks import choice, keys, mapping, number
from hamjl.errors import ProblemError, shown
from hamjl.expressions import CONSTANTS, FUNCTIONS, Program, check, emit, to_sympy
from hamjl.foreign import Folder
from hamjl.plain import Plain
from hamjl.problem import check_dissipation, check_span, common_span, covered, one_signal
from hamjl.signals import Signal, extended


@dataclass(frozen=True, eq=False, init=False)
class SymbolicSystem(Plain):
    """Minimise ``∫ cost(x, v, t) φ dt`` subject to ``x' = f(x, v, t)``, from x(0); costates p start from `costates`.

    The control v is eliminated: it minimises ``cost + p·f``, which must be quadratic in v with a constant, positive
    definite matrix. What `hamjl.Problem` calls w is here a state with ``w' = v``.

    Parameters
    ----------
    states : mapping of str to formula
        x' of each state, in states, controls, parameters, signals and ``t``.
    controls : sequence of str
    cost : formula
    span : (float, float)
    initial : mapping of str to float
        x(0); 0 where not given.
    costates : mapping of str to float
        p(0)/φ(0); 0 where not given.
    parameters : mapping of str to float
    signals : mapping of str to Signal, DataArray or number
    dissipation : float or formula in ``t``
        θ of φ = e^{θt}, or φ(t).

    Examples
    --------
    The scalar linear-quadratic problem (Example 2 of the paper):

    >>> SymbolicSystem({"x": "a*x + b*v"}, ["v"], "q*x**2/2 + r*v**2/2", span=(0, 1), initial={"x": 1},
    ...                parameters={"a": .5, "b": 1, "q": 100, "r": 1})  # doctest: +ELLIPSIS
    SymbolicSystem(...)
    """

    states: dict[str, str]
    controls: tuple[str, ...]
    cost: str
    span: tuple[float, float]
    initial: dict[str, float]
    costates: dict[str, float]
    parameters: dict[str, float]
    signals: dict[str, Signal]
    dissipation: float | str

    def __init__(
        self,
        states: Mapping[str, Any],
        controls: Sequence[str],
        cost: Any,
        *,
        span: tuple[float, float],
        initial: Mapping[str, float] | None = None,
        costates: Mapping[str, float] | None = None,
        parameters: Mapping[str, float] | None = None,
        signals: Mapping[str, Any] | None = None,
        dissipation: Any = 0.0,
    ) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        formulas = mapping(states, "states")
        if not formulas:
            raise ProblemError("a system needs at least one state, got none: write e.g. {'x': 'v'}.")
        if isinstance(controls, str) or not isinstance(controls, Sequence) or not controls:
            raise ProblemError(f"controls must be a non-empty list of names, got {shown(controls)}: write e.g. ['v'].")
        numbers = {
            k: number(v, f"parameter {k!r}")
            for k, v in mapping({} if parameters is None else parameters, "parameters").items()
        }
        tables = {
            k: one_signal(v, f"signal {k!r}") for k, v in mapping({} if signals is None else signals, "signals").items()
        }
        symbols = [*formulas, *(f"p_{name}" for name in formulas), *controls, *numbers, *tables, "t"]
        _check_names(symbols)
        allowed = (*formulas, *controls, *numbers, *tables, "t")
        put("states", {name: check(f, allowed, f"{name}'") for name, f in formulas.items()})
        put("controls", tuple(controls))
        put("cost", check(cost, allowed, "cost"))
        put("span", check_span(span))
        put("parameters", numbers)
        put("signals", tables)
        for name, signal in tables.items():
            if signal.table.channels != 1:
                raise ProblemError(f"signal {name!r} must have one channel, got {signal.table.channels}: select one.")
            covered(signal, self.span, "signals", name, gaps=False)
        put("dissipation", functions.dissipation(dissipation))
        check_dissipation(self.dissipation, self.span)
        for what, given in (("initial", initial), ("costates", costates)):
            table = mapping({} if given is None else given, what)
            keys(table, what, tuple(formulas))
            put(what, {name: number(table.get(name, 0.0), f"{what} {name!r}") for name in formulas})
        self.program  # noqa: B018  (refuses what cannot be solved for the control)

    def initial_vector(self) -> NDArray[np.floating]:
        """x(0), then p(0)/φ(0), (2 state)."""
        return np.array([*self.initial.values(), *self.costates.values()])

    @cached_property
    def program(self) -> Program:
        """h = H/φ at the optimal control and its derivatives, as one program of (x, p, signals, t)."""
        import sympy

        (x, p, v, u, t), f, cost = self._symbols()
        h = cost + sum(a * b for a, b in zip(p, f, strict=True))
        hessian = sympy.hessian(h, v)
        if hessian.free_symbols or not all(pivot.is_positive for pivot in _leading_minors(hessian)):
            raise ProblemError(
                f"cost + p·x' must be quadratic in the controls {', '.join(self.controls)} with a constant positive "
                f"definite matrix, got {hessian.tolist()}: add a term such as v**2/2 to the cost."
            )
        best = dict(
            zip(v, -hessian.inv() * sympy.Matrix([h.diff(c).subs(dict.fromkeys(v, 0)) for c in v]), strict=True)
        )
        h = h.subs(best)
        gradient = [*(h.diff(c) for c in p), *(-h.diff(c) for c in x)]
        results = {
            **{f"h_p_{k}": h.diff(c) for k, c in enumerate(p)},
            **{f"h_x_{k}": h.diff(c) for k, c in enumerate(x)},
            **{f"j_{i}_{j}": g.diff(c) for i, g in enumerate(gradient) for j, c in enumerate([*x, *p])},
            **{f"h_u_{k}": h.diff(c) for k, c in enumerate(u)},
            "h_t": h.diff(t),
            "h": h,
            "cost": cost.subs(best),
            **{f"v_{k}": best[c] for k, c in enumerate(v)},
        }
        return emit([str(c) for c in (*x, *p, *u, t)], results, "the system")

    @cached_property
    def control_program(self) -> Program:
        """f, the cost and their derivatives before the control is eliminated, of (x, p, v, signals, t)."""
        (x, p, v, u, t), f, cost = self._symbols()
        h = cost + sum(a * b for a, b in zip(p, f, strict=True))
        results = {
            "cost": cost,
            **{f"f_{k}": part for k, part in enumerate(f)},
            **{f"cost_{name}_{k}": cost.diff(c) for name, by in (("x", x), ("v", v)) for k, c in enumerate(by)},
            **{
                f"f_{name}_{i}_{j}": part.diff(c)
                for name, by in (("x", x), ("v", v))
                for i, part in enumerate(f)
                for j, c in enumerate(by)
            },
            **{
                f"h_{name}_{i}_{j}": h.diff(a).diff(b)
                for name, rows, columns in (("xx", x, x), ("xv", x, v), ("vv", v, v))
                for i, a in enumerate(rows)
                for j, b in enumerate(columns)
            },
        }
        return emit([str(c) for c in (*x, *p, *v, *u, t)], results, "the system")

    def _symbols(self) -> tuple[Any, list[Any], Any]:
        """Symbols of (x, p, v, signals, t), and f and the cost with numbers for the parameters."""
        import sympy

        def symbol(name: str) -> sympy.Symbol:
            return sympy.Symbol(name, real=True)

        values = {symbol(name): sympy.Float(value, 17) for name, value in self.parameters.items()}
        names = (self.states, [f"p_{name}" for name in self.states], self.controls, self.signals)
        symbols = (*([symbol(name) for name in part] for part in names), symbol("t"))
        return symbols, [to_sympy(f).subs(values) for f in self.states.values()], to_sympy(self.cost).subs(values)

    def extended(self, inputs: Any = None, target: Any = None, since: float = -np.inf) -> SymbolicSystem:
        """The system whose sampled signals go on with more data; see `hamjl.Session.feed`."""
        if target is not None:
            raise ProblemError("a system has no targets but signals: give them as inputs.")
        held = dict(self.signals)
        for name, more in mapping({} if inputs is None else inputs, "inputs").items():
            held[choice(name, self.signals, "A name of inputs")] = extended(held[name], more, since)
        later = self._with(signals=held, span=common_span(self.span, list(held.values())))
        for name, signal in held.items():
            covered(signal, later.span, "signals", name, gaps=False)
        return later

    def restarted(self, time: float, state: NDArray[np.floating]) -> SymbolicSystem:
        """The system from a later time on, where its `initial_vector` is `state`."""
        initial, costates = (dict(zip(self.states, part.tolist(), strict=True)) for part in np.split(state, 2))
        return self._with(initial=initial, costates=costates, span=(time, self.span[1]))

    @property
    def known_until(self) -> float:
        """The time up to which all signals are defined; infinite where they are analytic."""
        return min((signal.domain[1] for signal in self.signals.values()), default=np.inf)

    def __repr__(self) -> str:
        return f"SymbolicSystem({self.states}, cost={self.cost!r}, span={self.span})"

    # -- declarative form --------------------------------------------------------------------------------------------
    def _tree(self) -> dict[str, Any]:
        names = ("cost", "initial", "costates", "parameters", "dissipation")
        return {
            "states": self.states,
            "controls": list(self.controls),
            "span": list(self.span),
            **{name: getattr(self, name) for name in names},
            "signals": {name: signal.spec for name, signal in self.signals.items()},
        }

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], folder: Path | Folder | None = None) -> SymbolicSystem:
        """Build from the plain form; data files named in it are in `folder` or below."""
        table = mapping(spec, "system")
        keys(table, "a system", tuple(cls.__dataclass_fields__))
        for name in ("states", "controls", "cost", "span"):
            if name not in table:
                raise ProblemError(f"a system needs {name!r}, got {sorted(table)}: add it.")
        given = {
            name: signals.from_dict(part, folder) if isinstance(part, Mapping) else part
            for name, part in mapping(table.pop("signals", {}), "signals").items()
        }
        return cls(table.pop("states"), table.pop("controls"), table.pop("cost"), signals=given, **table)


def _check_names(names: Sequence[Any]) -> None:
    seen: set[str] = set()
    for name in names:
        ok = isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) and not keyword.iskeyword(name)
        if not ok or name in (*FUNCTIONS, *CONSTANTS) or str(name).startswith("r_"):
            raise ProblemError(
                f"a symbol must be a plain name that no function or constant has and that does not start with r_, got "
                f"{name!r}: rename it."
            )
        if name in seen:
            raise ProblemError(
                f"symbols must be different (p_ and a state's name is its costate), got {shown(name)} twice."
            )
        seen.add(name)


def _leading_minors(matrix: Any) -> list[Any]:
    return [matrix[:k, :k].det() for k in range(1, matrix.rows + 1)]
