"""Formulas as data: a small, safe language of smooth scalar functions, and their derivatives.

A formula is a string such as ``"tanh(a) + a/10"``. It is checked node by node against the lists below and is never
evaluated by Python, so a problem file cannot run code. SymPy differentiates it once; what reaches an engine is a
`Program`, a few straight-line assignments whose text means the same in Python and in Julia (with ``**`` as power).
"""

from __future__ import annotations

import ast
import math
import operator
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hamjl.errors import ExpressionError, shown, unknown

if TYPE_CHECKING:
    import sympy

# fmt: off
FUNCTIONS = (  # all smooth inside their domain
    "exp", "log", "sqrt", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "erf",
    "logistic", "softplus",
)
# fmt: on
CONSTANTS = ("pi",)
GENERATED = ("abs", "sign")  # may appear in a derivative, e.g. of sqrt(w**2)
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
EXACT = 2**53  # integers up to it are kept as such, other constants become floating-point numbers


@dataclass(frozen=True)
class Program:
    """Straight-line code of a scalar function and its derivatives.

    ``assignments`` are (name, formula) pairs in order; ``results`` maps a label (``"f"``, ``"df"`` …) to a formula in
    the arguments and the assigned names. Formulas use the operators ``+ - * / **``, `FUNCTIONS` and `GENERATED`.
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # e.g. "1or 2": refused below anyway
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
    f = to_sympy(text)
    return emit(arguments, {label: _derivative(f, order) for label, order in results}, f"{what} {text!r}")


def emit(arguments: Sequence[str], results: Mapping[str, sympy.Expr], what: str) -> Program:
    """Print SymPy expressions as one `Program`, common subexpressions computed once."""
    import sympy

    names = sympy.numbered_symbols("r_")
    assignments, reduced = sympy.cse(list(results.values()), symbols=names, order="none")
    try:
        return Program(
            tuple(arguments),
            tuple((str(name), to_text(expr)) for name, expr in assignments),
            tuple((label, to_text(expr)) for label, expr in zip(results, reduced, strict=True)),
        )
    except ExpressionError as error:
        raise ExpressionError(
            f"{what} must be smooth, got {error} in it or in its derivatives: write e.g. {SMOOTH['abs']} for abs(x)."
        ) from None


def to_sympy(text: str) -> sympy.Expr:
    """Return checked text as a SymPy expression in real symbols."""
    return _build(ast.parse(text, mode="eval").body)


def to_text(expr: sympy.Expr) -> str:
    """Return a SymPy expression as text of this language; the error is only what there is no text for."""
    return _printer().doprint(expr)


def is_sympy(value: Any) -> bool:
    """Whether a value is a SymPy expression; SymPy is not imported to find out."""
    return "sympy" in sys.modules and isinstance(value, sys.modules["sympy"].Expr)


def _derivative(f: sympy.Expr, order: str) -> sympy.Expr:
    import sympy

    for letter in order:
        f = sympy.diff(f, sympy.Symbol(letter, real=True))
    return f


def _as_text(formula: Any, what: str) -> str:
    if isinstance(formula, str):
        return formula.strip()
    if isinstance(formula, int | float) and not isinstance(formula, bool) and abs(formula) < 1e300:
        return repr(formula)
    if is_sympy(formula):
        try:
            return to_text(formula)
        except ExpressionError as error:
            raise ExpressionError(
                f"{what} may hold only finite real numbers, {', '.join(FUNCTIONS)}, got {error}: write it with these."
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
            raise ExpressionError(f"{unknown(f'A symbol of {what} {text!r}', name, (*symbols, *CONSTANTS))}")
        case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
            return descend(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return descend(left, right)
        case ast.BinOp(op=ast.BitXor()):
            raise ExpressionError(f"powers in {what} must be written with **, got ^ in {text!r}: write e.g. x**2.")
        case ast.Call(func=ast.Name(id=name)) if name.lower() in SMOOTH:
            raise ExpressionError(f"{what} must be smooth, got {name} in {text!r}: write e.g. {SMOOTH[name.lower()]}.")
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]):
            if name not in FUNCTIONS:
                raise ExpressionError(f"{unknown(f'A function of {what} {text!r}', name, FUNCTIONS)}")
            return descend(argument)
    raise ExpressionError(
        f"{what} may hold only finite numbers, pi, {', '.join(symbols) or 'no symbol'}, + - * / ** and "
        f"functions of one argument ({', '.join(FUNCTIONS)}), got {ast.unparse(node)!r} in {text!r}: remove it."
    )


def _build(node: ast.AST) -> sympy.Expr:
    import sympy

    match node:
        case ast.Constant(value=int() | float() as value):
            return _constant(value)
        case ast.Name(id="pi"):
            return sympy.Float(math.pi, 17)
        case ast.Name(id=name):
            return sympy.Symbol(name, real=True)
        case ast.UnaryOp(op=op, operand=operand):
            return -_build(operand) if isinstance(op, ast.USub) else _build(operand)
        case ast.BinOp(left=left, op=op, right=right):
            combine, a, b = _OPERATIONS[type(op)], _build(left), _build(right)
            if a.is_Number and b.is_Number:
                return _constant(_fold(combine, a, b))
            return _finite(combine(a, b))
        case ast.Call(func=ast.Name(id=name), args=[argument]):
            a = _build(argument)
            return _constant(_fold(_constant_functions()[name], a)) if a.is_Number else _sympy_functions()[name](a)
    raise AssertionError(ast.dump(node))


def _constant(value: float) -> sympy.Expr:
    """A number: small integers exactly, all others in floating point."""
    import sympy

    if isinstance(value, int) and abs(value) <= EXACT:
        return sympy.Integer(value)
    return sympy.Float(float(value), 17)


def _fold(operation: Callable[..., float], *numbers: sympy.Expr) -> float:
    """Evaluate constants in floating point, so that no number grows and none is complex or infinite."""
    plain = [int(a) if a.is_Integer else float(a) for a in numbers]
    try:
        if operation is operator.pow and abs(plain[1]) > 64:
            plain = [float(a) for a in plain]
        result = operation(*plain)
        if isinstance(result, int | float) and math.isfinite(result) and abs(result) < 1e300:
            return result
    except (ArithmeticError, ValueError, OverflowError):
        pass
    raise ExpressionError(f"constants must be finite real numbers, got {plain} in an operation: change them.")


def _finite(expr: sympy.Expr) -> sympy.Expr:
    import sympy

    if expr.has(sympy.oo, -sympy.oo, sympy.zoo, sympy.nan, sympy.I):
        raise ExpressionError("a formula must be finite and real, got a division by zero or the like: change it.")
    return expr


_OPERATIONS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


@lru_cache(maxsize=1)
def _constant_functions() -> dict[str, Callable[[float], float]]:
    own: dict[str, Callable[[float], float]] = {
        "logistic": lambda a: 0.5 * (1.0 + math.tanh(0.5 * a)),
        "softplus": lambda a: max(a, 0.0) + math.log1p(math.exp(-abs(a))),
    }
    return {name: own.get(name) or getattr(math, name) for name in FUNCTIONS}


@lru_cache(maxsize=1)
def _sympy_functions() -> dict[str, Any]:
    import sympy

    class logistic(sympy.Function):  # type: ignore[misc]  # SymPy has no stubs
        """1/(1 + exp(-a)), kept whole so that engines can evaluate it without overflow."""

        nargs = 1

        def fdiff(self, argindex: int = 1) -> sympy.Expr:
            return self * (1 - self)

    class softplus(sympy.Function):  # type: ignore[misc]
        """log(1 + exp(a)), likewise."""

        nargs = 1

        def fdiff(self, argindex: int = 1) -> sympy.Expr:
            return logistic(self.args[0])

    own = {"logistic": logistic, "softplus": softplus}
    return {name: own.get(name) or getattr(sympy, name) for name in FUNCTIONS}


@lru_cache(maxsize=1)
def _printer() -> Any:
    import sympy
    from sympy.printing.str import StrPrinter

    allowed = {*FUNCTIONS, *GENERATED}

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
