"""Graphs of operations: what formulas become to be differentiated and printed.

Nothing is expanded. An operation is kept once, however often it occurs, and a derivative adds a few operations for each
one of the formula, so the work is linear in the formula's length, and bounded.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from fractions import Fraction
from typing import Any

from hamjl.errors import ExpressionError

Number = int | float | Fraction

LIMIT = 200_000  # operations looked at, derivatives included: half a second
EXACT = 2**53  # integers up to it are kept as such, other constants become floating-point numbers
DEEP = 20  # operations within each other on one line of a program
TERM, FACTOR, SIGNED, POWER, ATOM = range(5)  # how tightly a text holds together


class Graph:
    """Operations on numbers and symbols, each a node. Methods take and give the numbers of nodes; operands come first.

    Those that add an operation simplify a little: constants are folded, equal terms and factors collected where they
    meet. ``what`` is what errors speak of.
    """

    def __init__(self, what: str, limit: int = LIMIT) -> None:
        self.what, self.limit, self._asked = what, limit, 0
        self._nodes: list[tuple[Any, ...]] = []
        self._known: dict[tuple[Any, ...], int] = {}
        self._symbols: list[int] = []  # bits of the symbols that a node depends on
        self._slopes: dict[int, dict[int, int]] = {}
        self.zero, self.one = self.number(0), self.number(1)

    # -- nodes -------------------------------------------------------------------------------------------------------
    def number(self, value: Number) -> int:
        """A constant: a small integer or ratio of such exactly, anything else in floating point."""
        value = _plain(value)
        return self._node("number", type(value), value)

    def symbol(self, name: str) -> int:
        return self._node("symbol", name)

    def value(self, k: int) -> Number | None:
        """The constant that a node is, or none."""
        node = self._nodes[k]
        return node[2] if node[0] == "number" else None

    def add(self, a: int, b: int) -> int:
        if self.zero in (a, b):
            return a + b - self.zero
        first, second = self.value(a), self.value(b)
        if second is not None:
            a, b, first, second = b, a, second, first
        if first is not None:
            if second is not None:
                return self.number(fold(operator.add, first, second))
            kind, *parts = self._nodes[b]
            if kind in "+-" and (inner := self.value(parts[0])) is not None:
                return (self.add if kind == "+" else self.subtract)(self.number(first + inner), parts[1])
            d, y = self._scaled(b)
            return self._node("+", a, b) if d > 0 else self.subtract(a, self.scale(-d, y))
        (c, x), (d, y) = self._scaled(a), self._scaled(b)
        if x == y:
            return self.scale(c + d, x)
        if d < 0:
            return self.subtract(a, self.scale(-d, y))
        if c < 0:
            return self.subtract(b, self.scale(-c, x))
        return self._node("+", min(a, b), max(a, b))

    def subtract(self, a: int, b: int) -> int:
        if a == self.zero:
            return self.scale(-1, b)
        first, second = self.value(a), self.value(b)
        if second is not None:
            return self.add(self.number(-second), a)
        if first is not None:
            kind, *parts = self._nodes[b]
            if kind in "+-" and (inner := self.value(parts[0])) is not None:
                return (self.subtract if kind == "+" else self.add)(self.number(first - inner), parts[1])
            d, y = self._scaled(b)
            return self._node("-", a, b) if d > 0 else self.add(a, self.scale(-d, y))
        (c, x), (d, y) = self._scaled(a), self._scaled(b)
        if x == y:
            return self.scale(c - d, x)
        if d < 0:
            return self.add(a, self.scale(-d, y))
        if c < 0:
            return self.scale(-1, self.add(self.scale(-c, x), b))
        return self._node("-", a, b)

    def scale(self, c: Number, a: int) -> int:
        """A constant times a node."""
        value = self.value(a)
        if value is not None:
            return self.number(fold(operator.mul, c, value))
        d, x = self._scaled(a)
        c = _plain(c * d)
        if c == -1 and self._nodes[x][0] == "-":
            return self.subtract(*reversed(self._nodes[x][1:]))
        return self.zero if c == 0 else x if c == 1 else self._node("scale", self.number(c), x)

    def multiply(self, a: int, b: int) -> int:
        if self.zero in (a, b):
            return self.zero
        for k, other in ((a, b), (b, a)):
            if (value := self.value(k)) is not None:
                return self.scale(value, other)
        (c, x), (d, y) = self._scaled(a), self._scaled(b)
        if c != 1 or d != 1:
            return self.scale(_plain(c * d), self.multiply(x, y))
        (base, m), (other, n) = self._raised(x), self._raised(y)
        if base == other:
            return self.power(base, self.number(m + n))
        for k, rest in ((x, y), (y, x)):
            if self._nodes[k][:2] == ("/", self.one):
                return self.divide(rest, self._nodes[k][2])
        return self._node("*", min(x, y), max(x, y))

    def divide(self, a: int, b: int) -> int:
        first, second = self.value(a), self.value(b)
        if second is not None:
            if first is not None:
                return self.number(fold(operator.truediv, first, second))
            fold(operator.truediv, 1, second)  # not by 0
            return self.scale(Fraction(1) / second, a)
        (c, x), (d, y) = self._scaled(a) if first is None else (first, self.one), self._scaled(b)
        if c != 1 or d != 1:
            return self.scale(_plain(Fraction(c) / d if isinstance(c, int) else c / d), self.divide(x, y))
        (base, m), (other, n) = self._raised(x), self._raised(y)
        if base == other:
            return self.power(base, self.number(m - n))
        return self._node("/", x, y)

    def power(self, a: int, b: int) -> int:
        base, exponent = self.value(a), self.value(b)
        if exponent is not None and exponent == int(exponent):
            exponent = int(exponent)
        if base is not None and exponent is not None:
            return self.number(fold(operator.pow, base, exponent))
        if base == 1 or exponent == 0:
            return self.one
        if exponent == 1:
            return a
        if exponent == -1:
            return self.divide(self.one, a)
        if exponent == Fraction(1, 2):
            return self.call("sqrt", a)
        if isinstance(exponent, int):
            kind, *parts = self._nodes[a]
            inner, m = self._raised(a)
            if m != 1:
                return self.power(inner, self.number(_plain(m * exponent)))
            if kind == "sqrt" and exponent % 2 == 0:
                return self.power(parts[0], self.number(exponent // 2))
            if kind == "scale":
                with suppress(ExpressionError):  # the constant alone is out of range: leave them together
                    c = fold(operator.pow, self.value(parts[0]), exponent)
                    return self.scale(c, self.power(parts[1], b))
            b = self.number(exponent)
        return self._node("**", a, b)

    def call(self, name: str, a: int) -> int:
        """A function of `FUNCTIONS`."""
        value = self.value(a)
        if value is not None:
            return self.number(fold(FUNCTIONS[name][0], value))
        if (name, self._nodes[a][0]) in (("log", "exp"), ("exp", "log")):
            return self._nodes[a][1]
        return self._node(name, a)

    def _ask(self, operations: int) -> None:
        self._asked += operations
        if self._asked > self.limit:
            raise ExpressionError(
                f"{self.what} must take at most {self.limit} operations, derivatives included, got more: give it a "
                "simpler form."
            )

    def _node(self, *node: Any) -> int:
        self._ask(1)
        found = self._known.setdefault(node, len(self._nodes))
        if found == len(self._nodes):
            self._nodes.append(node)
            bits = 1 << found if node[0] == "symbol" else 0
            for k in self._operands(found):
                bits |= self._symbols[k]
            self._symbols.append(bits)
        return found

    def _operands(self, k: int) -> tuple[int, ...]:
        node = self._nodes[k]
        return () if node[0] in ("number", "symbol") else node[1:]

    def _scaled(self, k: int) -> tuple[Number, int]:
        """A node as a constant times another."""
        node = self._nodes[k]
        return (self._nodes[node[1]][2], node[2]) if node[0] == "scale" else (1, k)

    def _raised(self, k: int) -> tuple[int, Number]:
        """A node as another to a constant power."""
        node = self._nodes[k]
        exponent = self.value(node[2]) if node[0] == "**" else None
        return (k, 1) if exponent is None else (node[1], exponent)

    def _below(self, roots: Iterable[int], wanted: Callable[[int], Any] = lambda k: True) -> list[int]:
        """The nodes that the roots are made of, operands first, as far as all on the way are `wanted`."""
        found: set[int] = set()
        waiting = [k for k in roots if wanted(k)]
        while waiting:
            k = waiting.pop()
            if k not in found:
                found.add(k)
                waiting += [j for j in self._operands(k) if wanted(j)]
        return sorted(found)

    # -- calculus ----------------------------------------------------------------------------------------------------
    def derivatives(self, roots: Sequence[int], symbol: int) -> list[int]:
        """The derivatives of nodes by a symbol."""
        known, bit = self._slopes.setdefault(symbol, {}), self._symbols[symbol]
        new = self._below(roots, lambda k: self._symbols[k] & bit and k not in known)
        self._ask(len(roots) + len(new))
        for k in new:
            known[k] = self._derivative(k, lambda j: known.get(j, self.zero))
        return [known.get(k, self.zero) for k in roots]

    def derivative(self, k: int, *symbols: int) -> int:
        """The derivative of a node by one symbol after another."""
        for symbol in symbols:
            (k,) = self.derivatives([k], symbol)
        return k

    def _derivative(self, k: int, of: Callable[[int], int]) -> int:
        kind, *parts = self._nodes[k]
        if kind == "symbol":
            return self.one
        if kind in FUNCTIONS:
            return self.multiply(FUNCTIONS[kind][1](self, parts[0], k), of(parts[0]))
        a, b = parts
        da, db = of(a), of(b)
        match kind:
            case "+":
                return self.add(da, db)
            case "-":
                return self.subtract(da, db)
            case "scale":
                return self.scale(self._nodes[a][2], db)
            case "*":
                return self.add(self.multiply(da, b), self.multiply(a, db))
            case "/" if a == self.one:
                return self.scale(-1, self.multiply(self.power(k, self.number(2)), db))
            case "/":
                return self.divide(self.subtract(da, self.multiply(k, db)), b)
        slope = self.zero  # of a power
        if da != self.zero:
            slope = self.multiply(self.multiply(b, self.power(a, self.subtract(b, self.one))), da)
        if db != self.zero:
            slope = self.add(slope, self.multiply(self.multiply(k, self.call("log", a)), db))
        return slope

    def rate(self, k: int, symbol: int) -> int:
        """f'/f of a node f: the parts of a product one by one, so that exp(θt) leaves θ."""
        kind, *parts = self._nodes[k]
        match kind:
            case "exp":
                return self.derivative(parts[0], symbol)
            case "scale":
                return self.rate(parts[1], symbol)
            case "*":
                return self.add(self.rate(parts[0], symbol), self.rate(parts[1], symbol))
            case "/":
                return self.subtract(self.rate(parts[0], symbol), self.rate(parts[1], symbol))
            case "**" if (exponent := self.value(parts[1])) is not None:
                return self.scale(exponent, self.rate(parts[0], symbol))
        return self.divide(self.derivative(k, symbol), k)

    def substitute(self, roots: Sequence[int], given: Mapping[int, int]) -> list[int]:
        """The nodes with others for some symbols."""
        new = dict(given)
        bits = sum(1 << symbol for symbol in given)
        for k in self._below(roots, lambda k: self._symbols[k] & bits):
            if k not in new:
                kind, *parts = self._nodes[k]
                new[k] = self._again(kind, [new.get(j, j) for j in parts])
        return [new.get(k, k) for k in roots]

    def _again(self, kind: str, parts: list[int]) -> int:
        if kind in FUNCTIONS:
            return self.call(kind, parts[0])
        methods = {"+": self.add, "-": self.subtract, "*": self.multiply, "scale": self.multiply, "/": self.divide}
        return methods.get(kind, self.power)(*parts)

    def kink(self, roots: Iterable[int]) -> str | None:
        """An absolute value in disguise, such as ``sqrt(x**2)``, that the roots are made of, as text."""
        for k in self._below(roots):
            kind, *parts = self._nodes[k]
            exponent = self._raised(k)[1]
            if (kind == "sqrt" or exponent != int(exponent)) and self._folds(parts[0]):
                return self.text(k)
        return None

    def _folds(self, k: int) -> bool:
        """Whether a factor is an even power of what changes its sign."""
        kind, *parts = self._nodes[k]
        if kind in "*/" or kind == "scale":
            return any(self._folds(j) for j in parts)
        inner, exponent = self._raised(k)
        return exponent % 2 == 0 and self._turns(inner)

    def _turns(self, k: int) -> bool:
        kind, *parts = self._nodes[k]
        if kind in "+-":
            return all(self.value(j) is not None or self._turns(j) for j in parts)
        return kind == "symbol" or (kind in ("scale", *ODD) and self._turns(parts[-1]))

    # -- text --------------------------------------------------------------------------------------------------------
    def print(self, roots: Sequence[int]) -> tuple[list[tuple[str, str]], list[str]]:
        """Assignments (name, formula), operands first, and the formula of each root; what is used twice has a name."""
        order = self._below(roots)
        uses = Counter(roots)
        for k in order:
            uses.update(self._operands(k))
        texts: dict[int, tuple[str, int, int]] = {}  # text, how tight, how deep
        assignments: list[tuple[str, str]] = []
        for k in order:
            text, hold = self._written(k, texts)
            depth = 1 + max((texts[j][2] for j in self._operands(k)), default=-1)
            if depth and (uses[k] > 1 or depth > DEEP):
                assignments.append((f"r_{len(assignments)}", text))
                text, hold, depth = assignments[-1][0], ATOM, 0
            texts[k] = text, hold, depth
        return assignments, [texts[k][0] for k in roots]

    def text(self, k: int) -> str:
        """One formula for a node, whatever occurs twice in it; for messages."""
        texts: dict[int, tuple[str, int, int]] = {}
        for j in self._below([k]):
            text, hold = self._written(j, texts)
            texts[j] = (text if len(text) < 200 else "…"), hold, 0
        return texts[k][0]

    def _written(self, k: int, texts: Mapping[int, tuple[str, int, int]]) -> tuple[str, int]:
        kind, *parts = self._nodes[k]

        def part(j: int, least: int) -> str:
            text, hold, _ = texts[j]
            return text if hold >= least else f"({text})"

        match kind:
            case "number":
                value = parts[1]
                return repr(float(value) if isinstance(value, Fraction) else value), SIGNED if value < 0 else ATOM
            case "symbol":
                return parts[0], ATOM
            case "+" if (value := self.value(parts[0])) is not None:
                size = texts[parts[0]][0].removeprefix("-")
                return f"{part(parts[1], TERM)} {'-' if value < 0 else '+'} {size}", TERM
            case "+":
                return f"{part(parts[0], TERM)} + {part(parts[1], FACTOR)}", TERM
            case "-":
                return f"{part(parts[0], TERM)} - {part(parts[1], FACTOR)}", TERM
            case "scale":
                return self._multiple(parts[0], parts[1], part)
            case "*" | "/":
                return f"{part(parts[0], FACTOR)}{kind}{part(parts[1], POWER)}", FACTOR
            case "**":
                return f"{part(parts[0], ATOM)}**{part(parts[1], SIGNED)}", POWER
        return f"{kind}({texts[parts[0]][0]})", ATOM

    def _multiple(self, c: int, x: int, part: Callable[[int, int], str]) -> tuple[str, int]:
        """A constant times a node: ``-x``, ``2*x``, ``-3*x/2``, ``2.5*x``."""
        value, text = self._nodes[c][2], part(x, FACTOR)
        if text.startswith("1/"):
            return f"{float(value) if isinstance(value, Fraction) else value!r}{text[1:]}", FACTOR
        if not isinstance(value, Fraction):
            return (f"-{text}" if value == -1 else f"{value!r}*{text}"), FACTOR
        top = {1: "", -1: "-"}.get(value.numerator, f"{value.numerator}*")
        return f"{top}{text}/{value.denominator}", FACTOR


def fold(operation: Callable[..., Any], *numbers: Number | None) -> Number:
    """Evaluate constants, so that no number grows and none is complex or infinite."""
    given = [a if isinstance(a, int) else float(a) for a in numbers]  # type: ignore[arg-type]
    try:
        if operation is operator.pow and abs(given[1]) > 64:
            given = [float(a) for a in given]
        result = operation(*given)
        if isinstance(result, int | float) and math.isfinite(result) and abs(result) < 1e300:
            return result
    except (ArithmeticError, ValueError):
        pass
    raise ExpressionError(f"constants must be finite real numbers, got {given} in an operation: change them.")


def _plain(value: Number) -> Number:
    """A number in the simplest form that has its value, or the nearest in floating point."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ExpressionError("constants must be finite real numbers, got one out of range: change them.")
        return int(value) if value in (0.0, 1.0, -1.0) else value
    if max(abs(value.numerator), value.denominator) > EXACT:
        return float(value)
    return value.numerator if value.denominator == 1 else value


def _one_and(g: Graph, sign: int, a: int) -> int:
    """1 + a², or with a minus."""
    return g.add(g.one, g.scale(sign, g.power(a, g.number(2))))


# name: its value, and its derivative at a, where it is r; all smooth inside their domain
FUNCTIONS: dict[str, tuple[Callable[[float], float], Callable[[Graph, int, int], int]]] = {
    "exp": (math.exp, lambda g, a, r: r),
    "log": (math.log, lambda g, a, r: g.divide(g.one, a)),
    "sqrt": (math.sqrt, lambda g, a, r: g.scale(Fraction(1, 2), g.divide(g.one, r))),
    "sin": (math.sin, lambda g, a, r: g.call("cos", a)),
    "cos": (math.cos, lambda g, a, r: g.scale(-1, g.call("sin", a))),
    "tan": (math.tan, lambda g, a, r: _one_and(g, 1, r)),
    "asin": (math.asin, lambda g, a, r: g.divide(g.one, g.call("sqrt", _one_and(g, -1, a)))),
    "acos": (math.acos, lambda g, a, r: g.scale(-1, g.divide(g.one, g.call("sqrt", _one_and(g, -1, a))))),
    "atan": (math.atan, lambda g, a, r: g.divide(g.one, _one_and(g, 1, a))),
    "sinh": (math.sinh, lambda g, a, r: g.call("cosh", a)),
    "cosh": (math.cosh, lambda g, a, r: g.call("sinh", a)),
    "tanh": (math.tanh, lambda g, a, r: _one_and(g, -1, r)),
    "asinh": (math.asinh, lambda g, a, r: g.divide(g.one, g.call("sqrt", _one_and(g, 1, a)))),
    "erf": (math.erf, lambda g, a, r: g.scale(2 / math.sqrt(math.pi), g.call("exp", _minus_square(g, a)))),
    "logistic": (lambda a: 0.5 * (1.0 + math.tanh(0.5 * a)), lambda g, a, r: g.multiply(r, g.subtract(g.one, r))),
    "softplus": (lambda a: max(a, 0.0) + math.log1p(math.exp(-abs(a))), lambda g, a, r: g.call("logistic", a)),
}
ODD = ("sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "erf")  # they change their sign where their argument does


def _minus_square(g: Graph, a: int) -> int:
    return g.scale(-1, g.power(a, g.number(2)))
