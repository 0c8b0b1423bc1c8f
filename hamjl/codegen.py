"""NumPy functions from `Program` records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.expressions import CONSTANTS, Program
from hamjl.operations import FUNCTIONS

Array = NDArray[np.floating]


def compile_program(program: Program, labels: Sequence[str]) -> Callable[..., tuple[Any, ...]]:
    """Return a function of the program's arguments (arrays) that gives the tuple of the results named by `labels`.

    A result that does not depend on the arguments comes back as a number.
    """
    return _compile(program.only(labels))


def elementwise(program: Program, label: str) -> Callable[..., Array]:
    """One result of a program, as a function of arrays of one shape (…) that gives an array (…)."""
    function = compile_program(program, [label])

    def evaluate(*arguments: Array) -> Array:
        (value,) = function(*arguments)
        return value if isinstance(value, np.ndarray) else np.full(arguments[0].shape, value, dtype=np.float64)

    return evaluate


@lru_cache(maxsize=256)
def _compile(program: Program) -> Callable[..., tuple[Any, ...]]:
    lines = [f"def function({', '.join(program.arguments)}):"]
    lines += [f"    {name} = {formula}" for name, formula in program.assignments]
    lines += [f"    return ({''.join(formula + ', ' for _, formula in program.results)})"]
    namespace: dict[str, Any] = {"__builtins__": {}, **_functions()}
    exec("\n".join(lines), namespace)  # the text was printed from a checked expression, never taken from a user
    return namespace["function"]


@lru_cache(maxsize=1)
def _functions() -> dict[str, Any]:
    from scipy.special import erf, expit

    special = {
        "logistic": expit,
        "erf": erf,
        "softplus": lambda a: np.logaddexp(0.0, a),
        "pi": np.pi,
        **{name: getattr(np, "arc" + name[1:]) for name in ("asin", "acos", "atan", "asinh")},
    }
    return {name: special.get(name) or getattr(np, name) for name in (*FUNCTIONS, *CONSTANTS)}
