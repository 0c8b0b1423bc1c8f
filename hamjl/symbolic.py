"""Small control problems given by formulas: the laws of learning for any x' = f(x, v, t)."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl import channels
from hamjl.channels import Channels, SignalLike
from hamjl.checks import keys, mapping, number
from hamjl.dissipation import Dissipation, DissipationLike, as_dissipation, check_dissipation, from_plain, to_plain
from hamjl.errors import ProblemError, listed, shown
from hamjl.expressions import CONSTANTS, Formula, Program, check, emit, read, smooth
from hamjl.foreign import Folder
from hamjl.operations import FUNCTIONS, Graph, Number
from hamjl.signals import Signal
from hamjl.statement import Statement, check_span


@dataclass(frozen=True, eq=False, init=False)
class SymbolicSystem(Statement):
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
    dissipation : float, formula in ``t`` or xarray.DataArray
        θ of φ = e^{θt}, or φ(t): a formula, or samples on ``time``, between which log φ is linear.

    Examples
    --------
    The scalar linear-quadratic problem (Example 2 of the paper):

    >>> hj.SymbolicSystem({"x": "a*x + b*v"}, ["v"], "q*x**2/2 + r*v**2/2", span=(0, 1), initial={"x": 1},
    ...                parameters={"a": .5, "b": 1, "q": 100, "r": 1})  # doctest: +ELLIPSIS
    SymbolicSystem(...)
    """

    kind, control_dim, replayed = "system", "control", ("x", "v")

    states: dict[str, str]
    controls: tuple[str, ...]
    cost: str
    span: tuple[float, float]
    initial: dict[str, float]
    costates: dict[str, float]
    parameters: dict[str, float]
    signals: dict[str, Signal]
    dissipation: Dissipation

    def __init__(
        self,
        states: Mapping[str, Formula],
        controls: Sequence[str],
        cost: Formula,
        *,
        span: tuple[float, float],
        initial: Mapping[str, float] | None = None,
        costates: Mapping[str, float] | None = None,
        parameters: Mapping[str, float] | None = None,
        signals: Mapping[str, SignalLike] | None = None,
        dissipation: DissipationLike = 0.0,
    ) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        formulas = mapping(states, "states")
        if not formulas:
            raise ProblemError("a system needs at least one state, got none: write e.g. {'x': 'v'}.")
        if isinstance(controls, str) or not isinstance(controls, Sequence) or not controls:
            raise ProblemError(f"controls must be a non-empty list of names, got {shown(controls)}: write e.g. ['v'].")
        table = mapping({} if parameters is None else parameters, "parameters")
        numbers = {k: number(v, f"parameter {k!r}") for k, v in table.items()}
        table = mapping({} if signals is None else signals, "signals")
        put("signals", table)
        put("signals", self.channels[0].assign(table).given)
        symbols = [*formulas, *(f"p_{name}" for name in formulas), *controls, *numbers, *table, "t"]
        _check_names(symbols)
        allowed = (*formulas, *controls, *numbers, *table, "t")
        put("states", {name: check(f, allowed, f"{name}'") for name, f in formulas.items()})
        put("controls", tuple(controls))
        put("cost", check(cost, allowed, "cost"))
        put("span", check_span(span))
        put("parameters", numbers)
        self._check_signals()
        put("dissipation", as_dissipation(dissipation))
        check_dissipation(self.dissipation, self.span)
        for what, given in (("initial", initial), ("costates", costates)):
            table = mapping({} if given is None else given, what)
            keys(table, what, tuple(formulas))
            put(what, {name: number(table.get(name, 0.0), f"{what} {name!r}") for name in formulas})
        self.program  # noqa: B018  (refuses what cannot be solved for the control)

    def initial_vector(self) -> NDArray[np.floating]:
        """x(0), then p(0)/φ(0), (2 state)."""
        return np.array([*self.initial.values(), *self.costates.values()])

    @property
    def program(self) -> Program:
        """h = H/φ at the optimal control and its derivatives, as one program of (x, p, signals, t)."""
        return self._programs[0]

    @property
    def control_program(self) -> Program:
        """f, the cost and their derivatives before the control is eliminated, of (x, p, v, signals, t)."""
        return self._programs[1]

    @cached_property
    def _programs(self) -> tuple[Program, Program]:
        graph = Graph("a system")
        names = (self.states, [f"p_{name}" for name in self.states], self.controls, self.signals, ["t"])
        x, p, v, u, t = ([graph.symbol(name) for name in part] for part in names)
        f = [read(graph, formula, self.parameters) for formula in self.states.values()]
        cost = read(graph, self.cost, self.parameters)
        smooth(graph, [*f, cost])
        h = cost
        for costate, rate in zip(p, f, strict=True):
            h = graph.add(h, graph.multiply(costate, rate))

        def gradient(k: int, by: Sequence[int]) -> list[int]:
            return [graph.derivative(k, c) for c in by]

        def columns(rows: Sequence[int], by: Sequence[int]) -> list[list[int]]:
            """∂row/∂c, (c, row)."""
            return [graph.derivatives(rows, c) for c in by]

        slopes = {"x": gradient(h, x), "v": gradient(h, v)}
        bends = {f"{a}{b}": columns(slopes[a], by) for a, b, by in (("x", "x", x), ("x", "v", v), ("v", "v", v))}
        best = self._solved(graph, v, slopes["v"], bends["vv"])

        def at_best(nodes: Sequence[int]) -> list[int]:
            return graph.substitute(nodes, best)

        flow = at_best([*f, *slopes["x"]])  # the derivatives of h at the best control: there ∂h/∂v = 0
        turn = columns([*flow[: len(x)], *(graph.scale(-1, k) for k in flow[len(x) :])], [*x, *p])
        eliminated = {
            **_labelled("h_p", flow[: len(x)]),
            **_labelled("h_x", flow[len(x) :]),
            **_labelled("j", _transposed(turn)),
            **_labelled("h_u", at_best(gradient(h, u))),
            **dict(zip(("h_t", "h", "cost"), at_best([graph.derivative(h, *t), h, cost]), strict=True)),
            **_labelled("v", [best[c] for c in v]),
        }
        free = {
            "cost": cost,
            **_labelled("f", f),
            **_labelled("cost_x", gradient(cost, x)),
            **_labelled("cost_v", gradient(cost, v)),
            **_labelled("f_x", _transposed(columns(f, x))),
            **_labelled("f_v", _transposed(columns(f, v))),
            **{
                label: k
                for name, rows in bends.items()
                for label, k in _labelled(f"h_{name}", _transposed(rows)).items()
            },
        }
        every = [name for part in names for name in part]
        controls = set(self.controls)
        return (
            emit(graph, [name for name in every if name not in controls], eliminated),
            emit(graph, every, free),
        )

    def _solved(self, graph: Graph, v: list[int], slope: list[int], bend: list[list[int]]) -> dict[int, int]:
        """The controls at which ∂h/∂v = 0, as nodes without controls."""
        inverse = _inverse([[graph.value(k) for k in row] for row in bend])
        if inverse is None:
            raise ProblemError(
                f"cost + p·x' must be quadratic in the controls {listed(self.controls)} with a constant positive "
                f"definite matrix, got {shown([list(map(graph.text, row)) for row in bend])}: add a term such as "
                "v**2/2 to the cost."
            )
        best: dict[int, int] = {}
        still = graph.substitute(slope, dict.fromkeys(v, graph.zero))
        for control, row in zip(v, inverse, strict=True):
            best[control] = graph.zero
            for a, k in zip(row, still, strict=True):
                best[control] = graph.subtract(best[control], graph.scale(a, k))
        return best

    @property
    def channels(self) -> tuple[Channels]:
        """The signals."""
        return (Channels("signals", tuple(self.signals), self.signals),)

    def _told(self) -> list[Signal]:
        return [self.dissipation] if isinstance(self.dissipation, Signal) else []

    def _labels(self) -> dict[str, tuple[str, Iterable[str]]]:
        return {
            "input": ("input", self.signals),
            "state": ("state", self.states),
            "control": ("control", self.controls),
        }

    def extended(self, inputs: Any = None, target: Any = None, since: float = -np.inf) -> SymbolicSystem:
        """The system whose sampled signals go on with more data; see `hamjl.Session.feed`."""
        if target is not None:
            raise ProblemError("a system has no targets but signals: give them as inputs.")
        return self._gone_on(mapping({} if inputs is None else inputs, "inputs"), since=since)

    def restarted(self, time: float, state: NDArray[np.floating]) -> SymbolicSystem:
        """The system from a later time on, where its `initial_vector` is `state`."""
        initial, costates = (dict(zip(self.states, part.tolist(), strict=True)) for part in np.split(state, 2))
        return self._with(initial=initial, costates=costates, span=(time, self.span[1]))

    def __repr__(self) -> str:
        return f"SymbolicSystem({self.states}, cost={self.cost!r}, span={self.span})"

    # -- declarative form --------------------------------------------------------------------------------------------
    def _tree(self) -> dict[str, Any]:
        names = ("cost", "initial", "costates", "parameters")
        return {
            "states": self.states,
            "controls": list(self.controls),
            "span": list(self.span),
            **{name: getattr(self, name) for name in names},
            "dissipation": to_plain(self.dissipation),
            **{one.what: one.to_dict() for one in self.channels},
        }

    @classmethod
    def from_dict(cls, spec: Mapping[str, Any], folder: Path | Folder | None = None) -> SymbolicSystem:
        """Build from the plain form; data files named in it are in `folder` or below."""
        table = mapping(spec, "system")
        keys(table, "a system", tuple(cls.__dataclass_fields__))
        for name in ("states", "controls", "cost", "span"):
            if name not in table:
                raise ProblemError(f"a system needs {name!r}, got {sorted(table)}: add it.")
        given = channels.from_dict(table.pop("signals", {}), "signals", folder)
        if "dissipation" in table:
            table["dissipation"] = from_plain(table["dissipation"], folder)
        return cls(table.pop("states"), table.pop("controls"), table.pop("cost"), signals=given, **table)


def _check_names(names: Sequence[Any]) -> None:
    seen: set[str] = set()
    for name in names:
        ok = isinstance(name, str) and re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) and not keyword.iskeyword(name)
        if not ok or name in (*FUNCTIONS, *CONSTANTS) or str(name).startswith("r_"):
            raise ProblemError(
                f"a symbol must be a plain name that no function or constant has and that does not start with r_, got "
                f"{shown(name)}: rename it."
            )
        if name in seen:
            raise ProblemError(
                f"symbols must be different (p_ and a state's name is its costate), got {shown(name)} twice."
            )
        seen.add(name)


def _labelled(name: str, nodes: Sequence[Any]) -> dict[str, int]:
    """``name_k`` of a list, ``name_i_j`` of a list of rows."""
    if nodes and isinstance(nodes[0], list):
        return {f"{name}_{i}_{j}": k for i, row in enumerate(nodes) for j, k in enumerate(row)}
    return {f"{name}_{k}": node for k, node in enumerate(nodes)}


def _transposed(rows: list[list[int]]) -> list[list[int]]:
    return list(map(list, zip(*rows, strict=True)))


def _inverse(matrix: list[list[Number | None]]) -> list[list[Number]] | None:
    """The inverse of a symmetric positive definite matrix, of a diagonal one exactly; none for any other matrix."""
    given = [[a for a in row if a is not None] for row in matrix]
    if any(len(row) < len(matrix) for row in given):
        return None
    values = np.array(given, dtype=np.float64)
    try:
        np.linalg.cholesky(values)
    except np.linalg.LinAlgError:
        return None
    if (values == np.diag(np.diag(values))).all():
        return [[Fraction(1) / a if a else 0 for a in row] for row in given]
    return np.linalg.inv(values).tolist()
