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
from hamjl.engines.julia.bridge import postfix
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
    "-" * 200 + "a",
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


@pytest.mark.parametrize(
    "text",
    [
        "9**9**9",
        "(9**64)**64",
        "10**400",
        "a*sqrt(2)**(10**12)",
        "a*exp(10**12*log(2))",
        "a*(1e299*1e299)",
        "a/0",
        "1/0",
        "log(0)*a",
        "sqrt(-1)*a",
        "a*asin(2)",
        "tanh(a)*(10**70*10**70*10**70*10**70*10**70)",
    ],
)
def test_constants_must_be_finite_real_numbers(text):
    """And this is found at once, whatever SymPy would make of them."""
    with pytest.raises(hj.ExpressionError, match=r"finite|small"):
        hj.Network.fully_connected(2, activation=text)


@pytest.mark.parametrize(
    "text", ["a*sin(10**77)", "a*sqrt(10**70 + 33)", "a*10**70", "a*2**-60/3**40", "a*logistic(0)"]
)
def test_large_constants_become_floating_point(text):
    network = hj.Network.fully_connected(2, activation=text)
    problem = hj.Problem(network, hj.Objective(), target=0.1, span=(0, 1e-80), initial={"x": 1e-90})
    assert hj.solve(problem, method=hj.Euler(1e-81), times=3).attrs["status"] == "success"


@pytest.mark.parametrize(
    "phi",
    [
        "(1 + t)**1000 + exp(t)",
        "2 + " + "*".join(f"sin(t + {k})" for k in range(1, 40)),
        "exp(sin(cos(tanh(sqrt(1 + t**2)*logistic(t))**3)**5 + atan(t)**7))*(1 + t**2)**(3/7)",
    ],
)
def test_dissipations_are_not_simplified_for_ever(phi):
    problem = hj.Problem(hj.Network.fully_connected(1), hj.Objective(dissipation=phi), target=0.1, span=(0, 1))
    assert hj.solve(problem, times=3).attrs["status"] == "success"


@pytest.mark.parametrize("text", ["sqrt(a**2)", "sqrt(1 + a)*sqrt((a - 1)**2)"])
def test_what_is_not_smooth_is_refused(text):
    with pytest.raises(hj.ExpressionError, match="smooth"):
        hj.Network.fully_connected(2, activation=text)


@pytest.mark.parametrize(
    ("text", "instead"),
    [
        ("abs(a)", "sqrt(x**2 + 1e-6)"),
        ("sign(a)", "tanh(x/0.01)"),
        ("max(a, 0)", "softplus"),
        ("relu(a)", "softplus"),
        (sympy.Abs(sympy.Symbol("a")), "sqrt(x**2 + 1e-6)"),
        (sympy.Max(sympy.Symbol("a"), 0), "softplus"),
        (sympy.Heaviside(sympy.Symbol("a")), "logistic"),
        ("a^2", "x**2"),
    ],
)
def test_what_has_a_counterpart_is_told_it(text, instead):
    with pytest.raises(hj.ExpressionError, match=f"^(activation must be smooth|powers in).*{re.escape(instead)}"):
        hj.Network.fully_connected(2, activation=text)


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (sympy.gamma, "gamma"),
        (sympy.sech, "sech"),
        (lambda a: sympy.Piecewise((a, a > 0), (0, True)), "Piecewise"),
        (lambda a: sympy.Integral(sympy.exp(a**2), a), "Integral"),
        (lambda a: a * sympy.I, "I"),
    ],
)
def test_sympy_functions_that_are_not_known_get_a_whole_sentence(function, got):
    with pytest.raises(hj.ExpressionError, match=f"^activation may hold only .*softplus, got {got}.*: write it with"):
        hj.Network.fully_connected(2, activation=function(sympy.Symbol("a", real=True)))


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


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-a**2", "a 2 ** negative"),
        ("a - b - 2.5", "a b - 2.5 -"),
        ("-r_0*(2 - 2*r_1)", "r_0 negative 2 2 r_1 * - *"),
        ("tanh(a/b)**-1", "a b / tanh() -1 **"),
        ("where*1e-3", "where 0.001 *"),
    ],
)
def test_julia_reads_operators_after_their_operands(text, expected):
    assert postfix(text) == expected
