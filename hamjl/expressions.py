"""Formulas as data: a small, safe language of smooth scalar functions, and their derivatives.

A formula is a string such as ``"tanh(a) + a/10"``. It is checked node by node against the lists below and is never
evaluated by Python, so a problem file cannot run code. It is differentiated once, as a graph of operations; what
reaches an engine is a `Program`, a few straight-line assignments whose text means the same in Python and in Julia (with
``**`` as power).
"""

from __future__ import annotations

import ast
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from hamjl.errors import ExpressionError, listed, shown, unknown
from hamjl.operations import EXACT, FUNCTIONS, Graph

if TYPE_CHECKING:
    import sympy

CONSTANTS = ("pi",)
SMOOTH = {  # what to write for what is not
    "abs": "sqrt(x**2 + 1e-6)",
    "sign": "tanh(x/0.01)",
    "heaviside": "logistic(x/0.01)",
    "piecewise": "one formula, logistic(x/0.01) as a switch",
    "relu": "softplus(x)",
    "max": "softplus(x - y) + y",
    "min": "y - softplus(y - x)",
}
MAX_LENGTH = 1000
MAX_DEPTH = 150
_WARNED = re.compile(r"\\|\b\d\w*?\.?(?:and|else|for|i[fns]|or|not)\b")  # what Python's parser warns of, e.g. "1or 2"


@dataclass(frozen=True)
class Program:
    """Straight-line code of a scalar function and its derivatives.

    ``assignments`` are (name, formula) pairs in order; ``results`` maps a label (``"f"``, ``"df"`` …) to a formula in
    the arguments and the assigned names. Formulas use the operators ``+ - * / **`` and `FUNCTIONS`.
    """

    arguments: tuple[str, ...]
    assignments: tuple[tuple[str, str], ...]
    results: tuple[tuple[str, str], ...]

    def only(self, labels: Sequence[str]) -> Program:
        """Return the program for some of the results, without the assignments these do not need."""
        table = dict(self.results)
        results = tuple((label, table[label]) for label in labels)
        needed = set(re.findall(r"[A-Za-z_]\w*", " ".join(formula for _, formula in results)))
        kept: list[tuple[str, str]] = []
        for name, formula in reversed(self.assignments):
            if name in needed:
                kept.append((name, formula))
                needed |= set(re.findall(r"[A-Za-z_]\w*", formula))
        return Program(self.arguments, tuple(reversed(kept)), results)


def check(formula: Any, symbols: Sequence[str], what: str = "expression") -> str:
    """Return the `formula` (a string, number or SymPy expression) as checked text.

    Raises
    ------
    ExpressionError
        If it is not a formula in `symbols` made of numbers, ``pi``, ``+ - * / **`` and the `FUNCTIONS`.
    """
    text = _as_text(formula, what)
    if len(text) > MAX_LENGTH:
        raise ExpressionError(
            f"{what} must have at most {MAX_LENGTH} characters, got {len(text)}: give it a simpler form."
        )
    try:
        if _WARNED.search(text):  # no formula anyway; and filters of warnings are of all threads
            raise ValueError(text)
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ExpressionError(
            f"{what} must be a formula such as 'tanh(a) + a/10', got {shown(text)}: check its spelling."
        ) from None
    _check_node(tree, tuple(symbols), what, text, 0)
    return text


def program(formula: str, arguments: Sequence[str], results: Mapping[str, str], what: str = "expression") -> Program:
    """Differentiate `formula` once and for all.

    Parameters
    ----------
    formula : str
        Text accepted by `check`.
    arguments : sequence of str
        Symbols of the formula, in the order in which the program takes them.
    results : mapping
        Label to the symbols of a derivative: ``{"f": "", "df": "a", "d2f": "aa"}`` (one letter each).
    """
    return _program(check(formula, arguments, what), tuple(arguments), tuple(results.items()), what)


@lru_cache(maxsize=256)
def _program(text: str, arguments: tuple[str, ...], results: tuple[tuple[str, str], ...], what: str) -> Program:
    graph = Graph(what)
    f = read(graph, text)
    smooth(graph, [f])
    return emit(graph, arguments, {label: graph.derivative(f, *map(graph.symbol, order)) for label, order in results})


def composed(text: str, name: str, body: str, argument: str) -> str:
    """A formula with the function `name` written out: `body`, a formula in `argument`. Text that is none is left."""

    class Call(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            if not (isinstance(node.func, ast.Name) and node.func.id == name and len(node.args) == 1):
                return node
            inner = node.args[0]

            class Argument(ast.NodeTransformer):
                def visit_Name(self, node: ast.Name) -> ast.AST:
                    return inner if node.id == argument else node

            return ast.Expression(Argument().visit(ast.parse(body, mode="eval").body)).body

    try:
        return ast.unparse(Call().visit(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text


def smooth(graph: Graph, roots: Sequence[int]) -> None:
    """Refuse what has no second derivative where it should have."""
    if found := graph.kink(roots):
        raise ExpressionError(
            f"{graph.what} must be smooth, got {found}, an absolute value: write e.g. {SMOOTH['abs']} for abs(x)."
        )


def emit(graph: Graph, arguments: Sequence[str], results: Mapping[str, int]) -> Program:
    """Print nodes of a graph as one `Program`, by label."""
    assignments, formulas = graph.print(list(results.values()))
    return Program(tuple(arguments), tuple(assignments), tuple(zip(results, formulas, strict=True)))


def read(graph: Graph, text: str, values: Mapping[str, float] | None = None) -> int:
    """The node of checked text, with numbers for some symbols."""
    return _read(graph, ast.parse(text, mode="eval").body, values or {})


def to_text(expr: sympy.Expr) -> str:
    """Return a SymPy expression as text of this language; the error is only what there is no text for."""
    return _printer().doprint(expr)


class Symbolic(Protocol):
    """A SymPy expression, as far as types tell: SymPy has none."""

    @property
    def free_symbols(self) -> Any: ...


Formula = str | float | Symbolic  # what `check` takes


def is_sympy(value: Any) -> bool:
    """Whether a value is a SymPy expression; SymPy is not imported to find out."""
    return "sympy" in sys.modules and isinstance(value, sys.modules["sympy"].Expr)


def _as_text(formula: Any, what: str) -> str:
    if isinstance(formula, str):
        return formula.strip()
    if isinstance(formula, int | float) and not isinstance(formula, bool) and abs(formula) < 1e300:
        return str(int(formula)) if isinstance(formula, int) else repr(float(formula))
    if is_sympy(formula):
        try:
            return to_text(formula)
        except ExpressionError as error:
            raise ExpressionError(
                f"{what} may hold only finite real numbers, {', '.join(FUNCTIONS)}, got {error}: write it with these."
            ) from None
        except RecursionError:
            raise ExpressionError(
                f"{what} must be nested at most {MAX_DEPTH} deep, got more: give it a simpler form."
            ) from None
    raise ExpressionError(
        f"{what} must be a string, a finite number or a SymPy expression, got {shown(formula)}: write it as a formula."
    )


def _check_node(node: ast.AST, symbols: tuple[str, ...], what: str, text: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ExpressionError(
            f"{what} must be nested at most {MAX_DEPTH} deep, got {shown(text)}: give it a simpler form."
        )

    def descend(*children: ast.AST) -> None:
        for child in children:
            _check_node(child, symbols, what, text, depth + 1)

    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int() | float() as value):
            if abs(value) < 1e300:
                return
        case ast.Name(id=name):
            if name in symbols or name in CONSTANTS:
                return
            raise ExpressionError(f"{unknown(f'A symbol of {what} {shown(text)}', name, (*symbols, *CONSTANTS))}")
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            return descend(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return descend(left, right)
        case ast.BinOp(op=ast.BitXor()):
            raise ExpressionError(f"powers in {what} must be written with **, got ^ in {shown(text)}: write e.g. x**2.")
        case ast.Call(func=ast.Name(id=name)) if name.lower() in SMOOTH:
            raise ExpressionError(
                f"{what} must be smooth, got {name} in {shown(text)}: write e.g. {SMOOTH[name.lower()]}."
            )
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if name not in FUNCTIONS:
                raise ExpressionError(f"{unknown(f'A function of {what} {shown(text)}', name, FUNCTIONS)}")
            return descend(argument)
    raise ExpressionError(
        f"{what} may hold only finite numbers, pi, {listed(symbols) or 'no symbol'}, + - * / ** and "
        f"functions of one argument ({', '.join(FUNCTIONS)}), got {shown(ast.unparse(node))} in {shown(text)}: remove "
        "it."
    )


def _read(graph: Graph, node: ast.AST, values: Mapping[str, float]) -> int:
    match node:
        case ast.Constant(value=int() | float() as value):
            return graph.number(value)
        case ast.Name(id="pi"):
            return graph.number(math.pi)
        case ast.Name(id=name):
            return graph.number(values[name]) if name in values else graph.symbol(name)
        case ast.UnaryOp(op=op, operand=operand):
            return graph.scale(-1 if isinstance(op, ast.USub) else 1, _read(graph, operand, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATIONS[type(op)](graph, _read(graph, left, values), _read(graph, right, values))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            return graph.call(name, _read(graph, argument, values))
    raise AssertionError(ast.dump(node))


_OPERATIONS: dict[type, Callable[[Graph, int, int], int]] = {
    ast.Add: Graph.add,
    ast.Sub: Graph.subtract,
    ast.Mult: Graph.multiply,
    ast.Div: Graph.divide,
    ast.Pow: Graph.power,
}


@lru_cache(maxsize=1)
def _printer() -> Any:
    import sympy
    from sympy.printing.str import StrPrinter

    allowed = {*FUNCTIONS, "abs", "sign"}  # these get a sentence of their own

    class TextPrinter(StrPrinter):  # type: ignore[misc]
        def _print_Float(self, expr: sympy.Float) -> str:
            value = float(expr)
            return repr(value) if math.isfinite(value) else self.emptyPrinter(expr)

        def _print_Integer(self, expr: sympy.Integer) -> str:
            return str(expr.p) if abs(expr.p) <= EXACT else self._print_Float(sympy.Float(expr))

        def _print_Rational(self, expr: sympy.Rational) -> str:
            if max(abs(expr.p), expr.q) > EXACT:
                return self._print_Float(sympy.Float(expr, 17))
            return f"{expr.p}/{expr.q}"

        def _print_Exp1(self, expr: sympy.Expr) -> str:
            return "exp(1)"

        def _print_Function(self, expr: sympy.Function) -> str:
            name = expr.func.__name__.lower() if expr.func in (sympy.Abs, sympy.sign) else expr.func.__name__
            if name not in allowed:
                raise ExpressionError(f"{name}(…)")
            return f"{name}({', '.join(map(self._print, expr.args))})"

        _print_Abs = _print_Function

        def emptyPrinter(self, expr: Any) -> str:
            raise ExpressionError(shown(expr))

        _print_Infinity = _print_NegativeInfinity = _print_NaN = _print_ComplexInfinity = emptyPrinter
        _print_ImaginaryUnit = _print_Piecewise = _print_Derivative = _print_Subs = emptyPrinter
        _print_Relational = _print_Integral = _print_Sum = emptyPrinter

    return TextPrinter()
