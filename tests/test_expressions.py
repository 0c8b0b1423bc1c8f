"""Formulas are data: they mean what they say, and can do nothing else."""

import contextlib
import re

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import hamjl as hj
from hamjl.codegen import compile_program
from hamjl.expressions import FUNCTIONS, check, program

HOSTILE = [
    "__import__('os').system('true')",
    "().__class__.__bases__[0]",
    "a.__class__",
    "a.real",
    "eval('1')",
    "exec",
    "open('x')",
    "lambda: 1",
    "[a for a in (1,)]",
    "{a}",
    "a if a else 1",
    "a and 1",
    "a == 1",
    "a := 1",
    "f'{a}'",
    "'a'",
    "...",
    "None",
    "True",
    "1j",
    "a; a",
    "a\nimport os",
    "exp",
    "exp()",
    "exp(a, a)",
    "exp(*a)",
    "exp(x=a)",
    "exp(a)(a)",
    "a[0]",
    "a // 2",
    "a @ a",
    "a % 2",
    "a << 9",
    "~a",
    "not a",
    "b",
    "gamma(a)",
    "Symbol('a')",
    "1e999",
    "9" * 400,
    "(" * 60 + "a" + ")" * 60 + "+" * 60 + "a",
    "a" + "+a" * 600,
    "",
    " ",
    "\x00",
    "a\\",
    "ехр(a)",  # Cyrillic letters
]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_not_a_formula_is_refused(text):
    with pytest.raises(hj.ExpressionError):
        check(text, ("a",))


@pytest.mark.parametrize("text", ["9**9**9", "(9**64)**64", "10**400", "2**-9999 * a"])
def test_numbers_cannot_be_made_huge(text):
    with pytest.raises(hj.ExpressionError, match="power"):
        program(text, ("a",), {"f": ""})


@pytest.mark.parametrize("text", ["1/0", "log(0)*a", "sqrt(-1)*a", "sqrt(a**2)"])
def test_what_is_not_smooth_and_real_is_refused(text):
    with pytest.raises(hj.ExpressionError, match="smooth"):
        program(text, ("a",), {"f": "", "df": "a", "d2f": "aa"})


@given(st.text(max_size=40))
def test_any_text_is_a_formula_or_hamjls_own_error(text):
    with contextlib.suppress(hj.ExpressionError):
        program(check(text, ("a",)), ("a",), {"f": "", "df": "a"})


def _formulas():
    leaf = st.sampled_from(["a", "1", "0.5", "2", "pi"])
    smooth = [name for name in FUNCTIONS if name not in ("log", "sqrt", "asin", "acos", "tan")]

    def extend(inner):
        return st.one_of(
            st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
            st.tuples(st.sampled_from(smooth), inner).map(lambda t: f"{t[0]}({t[1]}/4)"),
            inner.map(lambda f: f"({f})**2"),
        )

    return st.recursive(leaf, extend, max_leaves=5)


@given(_formulas(), st.floats(-1.0, 1.0))
def test_programs_evaluate_to_the_formula_and_its_derivative(text, a):
    names = {name: getattr(np, name) for name in FUNCTIONS if hasattr(np, name)}
    names |= {name: getattr(np, "arc" + name[1:]) for name in ("asin", "acos", "atan", "asinh")}
    names |= {"erf": lambda x: float(sympy.erf(x)), "pi": np.pi}
    names |= {"logistic": lambda x: 1 / (1 + np.exp(-x)), "softplus": lambda x: np.log1p(np.exp(x))}

    def direct(at):
        return float(eval(text, names, {"a": at}))  # generated above, not a user's

    with np.errstate(all="ignore"):
        f, df = compile_program(program(text, ("a",), {"f": "", "df": "a"}), ["f", "df"])(a)
        expected, slope = direct(a), (direct(a + 1e-5) - direct(a - 1e-5)) / 2e-5
    if abs(expected) < 1e6 and abs(slope) < 1e6:
        assert f == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert df == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_presets_do_not_overflow():
    with np.errstate(all="raise", under="ignore"):
        for name in ("softplus", "logistic", "tanh"):
            run = compile_program(program(f"{name}(a)", ("a",), {"f": "", "df": "a"}), ["f", "df"])
            values, slopes = run(np.array([-800.0, 0.0, 800.0]))
            assert np.isfinite(values).all()
            assert np.isfinite(slopes).all()


def test_sympy_expressions_are_formulas_too():
    a = sympy.Symbol("a")
    network = hj.Network.fully_connected(2, activation=sympy.tanh(a) + a * sympy.Rational(1, 10))
    assert network.activation[0] == "a/10 + tanh(a)"
    with pytest.raises(hj.ExpressionError):
        hj.Network.fully_connected(2, activation=sympy.gamma(a))
    with pytest.raises(hj.ExpressionError):
        hj.Objective(loss=sympy.Function("evil")(sympy.Symbol("y")))


def test_misspelt_names_get_the_nearest():
    with pytest.raises(hj.ProblemError, match=re.escape("did you mean 'tanh'?")):
        hj.Network.fully_connected(2, activation="tanhh")
    with pytest.raises(hj.ProblemError, match="squared_error"):
        hj.Objective(loss="square_error")
    with pytest.raises(hj.ExpressionError, match="tanh"):
        hj.Network.fully_connected(2, activation="tnh(a)")
