"""Formulas are data: they mean what they say, and can do nothing else."""

import contextlib
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import hamjl as hj
from hamjl.codegen import compile_program
from hamjl.dissipation import lower_dissipation
from hamjl.engines.julia.bridge import postfix
from hamjl.expressions import FUNCTIONS, check, program
from hamjl.functions import ACTIVATIONS, activation_program

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


def iterated_sine(a):
    """sin(…sin(a)…), sixty times, and its first and second derivative, by the chain rule along the way."""
    f, df, d2f = a, 1.0, 0.0
    for _ in range(60):
        f, df, d2f = np.sin(f), np.cos(f) * df, np.cos(f) * d2f - np.sin(f) * df**2
    return f, df, d2f


def product_of_sines(a, count=94):
    """Π sin(a + k): f' = f Σ cot, f'' = f ((Σ cot)² - Σ 1/sin²)."""
    at = a + np.arange(count)
    f, slope = np.prod(np.sin(at)), np.sum(1 / np.tan(at))
    return f, f * slope, f * (slope**2 - np.sum(1 / np.sin(at) ** 2))


def tower(count):
    """a**(a**(…)) of as many a's, by t' = t (s' log a + s/a) and its derivative, s being the exponent."""

    def values(a):
        f, df, d2f = a, 1.0, 0.0
        for _ in range(count - 1):
            rate, bend = df * np.log(a) + f / a, d2f * np.log(a) + 2 * df / a - f / a**2
            f = a**f
            df, d2f = f * rate, f * (rate**2 + bend)
        return f, df, d2f

    return values


HARD = {
    "sixty sines": ("sin(" * 60 + "a" + ")" * 60, iterated_sine),
    "ninety-four factors": ("*".join(f"sin(a+{k})" for k in range(94)), product_of_sines),
    "eighty powers": ("**".join(["a"] * 80), tower(80)),
    "one hundred and forty powers": ("**".join(["a"] * 140), tower(140)),
}


@pytest.mark.parametrize("case", HARD)
def test_the_work_of_derivatives_grows_with_the_formula_only(case):
    text, expected = HARD[case]
    began = time.process_time()
    found = activation_program(check(text, ("a",)))
    values = compile_program(found, ["f", "df", "d2f"])(0.8)
    for _, formula in (*found.assignments, *found.results):
        postfix(formula)  # what Julia reads
    assert time.process_time() - began < 2.0
    np.testing.assert_allclose(values, expected(0.8), rtol=1e-10)
    problem = hj.Problem(
        hj.Network.fully_connected(2, activation=text), hj.Objective(), span=(0, 0.02), initial={"x": 0.5, "w": 0.5}
    )
    assert hj.solve(problem, method=hj.Euler(0.01), times=2).attrs["status"] == "success"
    assert time.process_time() - began < 4.0


def states(count, rate):
    names = [f"x{k}" for k in range(count)]
    return hj.SymbolicSystem(
        {name: rate(k, names) for k, name in enumerate(names)},
        ["v"],
        "+".join(f"{name}**2" for name in names) + "+v**2/2",
        span=(0, 1),
        initial=dict.fromkeys(names, 0.1),
    )


@pytest.mark.parametrize(
    "rate",
    [
        lambda k, names: "+".join(f"{1 + (k * j) % 7}*{name}" for j, name in enumerate(names)) + "-v",
        lambda k, names: f"-{names[k]} + tanh({names[k - 1]}*{names[k - 2]}*exp(-{names[k - 3]}**2)) + v",
        lambda k, names: "*".join(f"sin({name} + {k})" for name in names[:8]) + "+v",
    ],
)
def test_systems_of_thirty_states(rate):
    began = time.process_time()
    system = states(30, rate)
    assert time.process_time() - began < 2.0
    assert hj.solve(system, method=hj.Euler(1e-3), times=[0, 0.003]).attrs["status"] == "success"
    assert time.process_time() - began < 4.0


def test_systems_too_large_to_differentiate_are_refused_at_once():
    began = time.process_time()
    with pytest.raises(hj.ExpressionError, match="at most 200000 operations"):
        states(90, lambda k, names: f"tanh({'+'.join(names[k % 3 :: 3])})*sin({'+'.join(names[::4])}) + v")
    assert time.process_time() - began < 4.0


@pytest.mark.parametrize("text", [*ACTIVATIONS.values(), "a*asinh(a)/(2 + cos(3*a)) - 4", "(1 + a**2)**(a/3)", "2**-a"])
def test_second_derivatives_are_those_of_sympy(text):
    """Which has no part in them."""
    a = sympy.Symbol("a", real=True)
    own = {"logistic": lambda u: 1 / (1 + sympy.exp(-u)), "softplus": lambda u: sympy.log(1 + sympy.exp(u))}
    f = sympy.sympify(text, locals={"a": a, **own})
    for at in (-1.3, 0.2, 0.9):
        found = compile_program(activation_program(text), ["f", "df", "d2f"])(at)
        expected = [float(f.diff(a, order).subs(a, at).evalf()) for order in range(3)]
        np.testing.assert_allclose(np.float64(found), expected, rtol=1e-12, atol=1e-14)


def test_the_rate_of_a_product_is_the_sum_of_rates():
    """φ'/φ of exp(θt) is θ, and no quotient that overflows with t."""
    assert dict(lower_dissipation("exp(2*t)*3").results)["rate"] == "2"
    (rate,) = compile_program(lower_dissipation("exp(t)*(1 + t)**2/sqrt(t)"), ["rate"])(1000.0)
    assert rate == pytest.approx(1 + 2 / 1001 - 1 / 2000, rel=1e-14)


def test_formulas_need_no_sympy():
    code = (
        "import sys, hamjl as hj; system = hj.SymbolicSystem({'x': 'sin(x) + v'}, ['v'], 'v**2/2', span=(0, 1));"
        "network = hj.Network.fully_connected(2, activation='tanh(a) + a/10');"
        "problem = hj.Problem(network, hj.Objective(dissipation='exp(t)'), span=(0, 1));"
        "hj.solve(system, times=2), hj.solve(problem, times=2); print('sympy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_julia_precompiles_the_formulas_that_it_is_sent():
    """Spelled otherwise they would be compiled again, at every start."""
    source = Path(__file__).parent.parent / "julia/HamJL/src/precompile.jl"
    program_of_tanh = activation_program("tanh").only(["f", "df", "d2f"])
    lines = [f"{name} = {postfix(formula)}" for name, formula in program_of_tanh.assignments]
    text = "; ".join(["a", *lines, ", ".join(postfix(formula) for _, formula in program_of_tanh.results)])
    assert f'formula("{text}")' in source.read_text(encoding="utf-8")


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
