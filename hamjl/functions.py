"""Scalar functions by name: activations σ(a), losses L(y, z), regularisers V(w), dissipations φ(t).

Each is a preset name or a formula of :mod:`hamjl.expressions`; a user's own formula stands wherever a name does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from hamjl.checks import folded, number
from hamjl.codegen import compile_program
from hamjl.errors import ProblemError, shown, unknown
from hamjl.expressions import Program, check, emit, is_sympy, program, read
from hamjl.operations import Graph

ACTIVATIONS = {
    "tanh": "tanh(a)",
    "logistic": "logistic(a)",
    "softplus": "softplus(a)",
    "identity": "a",
    "sin": "sin(a)",
    "arctan": "atan(a)",
    "erf": "erf(a)",
    "gaussian": "exp(-a**2)",
}
LOSSES = {
    "squared_error": "(y - z)**2/2",
    "log_cosh": "softplus(2*(y - z)) - (y - z) - softplus(0)",
    "binary_cross_entropy": "softplus(y) - z*y",  # y is a logit
    "none": "0",
}
SOFTMAX = "softmax_cross_entropy"  # not a sum over outputs, so the one loss that engines know by name
REGULARIZERS = {
    "quadratic": "w**2/2",
    "pseudo_huber": "sqrt(1 + w**2) - 1",
    "double_well": "(w**2 - 1)**2/4",
    "none": "0",
}
# What other libraries have under these names, or a smooth function near it: equations of motion need σ' and σ''.
FAMILIAR = {
    "activation": {
        "sigmoid": "'logistic'",
        "linear": "'identity'",
        "relu": "'softplus', which is smooth",
        "leaky_relu": "'softplus(a) - 0.01*softplus(-a)', which is smooth",
        "elu": "'softplus(a + 1) - 1', which is smooth",
        "gelu": "'a*(1 + erf(a/sqrt(2)))/2'",
        "silu": "'a*logistic(a)'",
        "swish": "'a*logistic(a)'",
        "mish": "'a*tanh(softplus(a))'",
        "softsign": "'arctan', which is smooth",
        "hardtanh": "'tanh', which is smooth",
        "sign": "'tanh(10*a)', which is smooth",
        "step": "'logistic(10*a)', which is smooth",
        "heaviside": "'logistic(10*a)', which is smooth",
        "softmax": "'identity', with the loss 'softmax_cross_entropy'",
    },
    "loss": {
        "mse": "'squared_error'",
        "l2": "'squared_error'",
        "mean_squared_error": "'squared_error'",
        "mae": "'log_cosh', which is smooth",
        "l1": "'log_cosh', which is smooth",
        "huber": "'log_cosh', which is smooth",
        "smooth_l1": "'log_cosh', which is smooth",
        "cross_entropy": "'softmax_cross_entropy', or 'binary_cross_entropy' for each output",
        "categorical_cross_entropy": "'softmax_cross_entropy'",
        "nll": "'softmax_cross_entropy'",
        "bce": "'binary_cross_entropy'",
        "hinge": "'softplus(1 - y*z)', which is smooth",
    },
    "regularizer": {
        "l2": "'quadratic'",
        "ridge": "'quadratic'",
        "weight_decay": "'quadratic'",
        "l1": "'pseudo_huber', which is smooth",
        "lasso": "'pseudo_huber', which is smooth",
    },
}


def activation(value: Any) -> str:
    """Return the checked name or formula of an activation σ(a)."""
    return _resolve(value, ACTIVATIONS, ("a",), "activation", activation_program)


def loss(value: Any) -> str:
    """Return the checked name or formula of a loss L(y, z), summed over the outputs."""
    return _resolve(value, {**LOSSES, SOFTMAX: ""}, ("y", "z"), "loss", loss_program)


def regularizer(value: Any) -> str:
    """Return the checked name or formula of a regulariser V(w), summed over the arcs."""
    return _resolve(value, REGULARIZERS, ("w",), "regularizer", regularizer_program)


def dissipation(value: Any) -> str | float:
    """Return a dissipation: the number θ of φ = e^{θt}, or the checked formula of φ(t)."""
    if isinstance(value, str) or is_sympy(value):
        return check(value, ("t",), "dissipation φ")
    return number(value, "dissipation θ (φ = exp(θ t))")


def activation_program(value: str) -> Program:
    """σ, σ' and σ'' as ``f``, ``df``, ``d2f``."""
    return program(ACTIVATIONS.get(value, value), ("a",), {"f": "", "df": "a", "d2f": "aa"}, "activation")


def loss_program(value: str) -> Program:
    """L, ∂L/∂y, ∂²L/∂y² and ∂L/∂z as ``f``, ``df``, ``d2f``, ``dz``; none for the softmax loss."""
    if value == SOFTMAX:
        return Program(("y", "z"), (), ())
    results = {"f": "", "df": "y", "d2f": "yy", "dz": "z"}
    return program(LOSSES.get(value, value), ("y", "z"), results, "loss")


def regularizer_program(value: str) -> Program:
    """V, V' and V'' as ``f``, ``df``, ``d2f``."""
    return program(REGULARIZERS.get(value, value), ("w",), {"f": "", "df": "w", "d2f": "ww"}, "regularizer")


@lru_cache(maxsize=64)
def dissipation_program(value: str | float) -> Program:
    """φ and ρ = φ'/φ as ``f``, ``rate``; ρ is all that the equations of motion need."""
    graph = Graph(f"dissipation {shown(value)}")
    t = graph.symbol("t")
    phi = graph.call("exp", graph.scale(value, t)) if isinstance(value, float) else read(graph, value)
    if phi == graph.zero:
        raise ProblemError(f"dissipation φ must be positive, got {shown(value)}: use e.g. 'exp(t)' or a number θ.")
    return emit(graph, ("t",), {"f": phi, "rate": graph.rate(phi, t)})


def _resolve(
    value: Any, presets: dict[str, str], symbols: tuple[str, ...], what: str, build: Callable[[str], Program]
) -> str:
    if isinstance(value, str):
        if value in presets:
            return value
        other = {folded(name): words for name, words in FAMILIAR[what].items()}.get(folded(value))
        if other is not None:
            raise ProblemError(f"{what} must be a preset or a formula, got {shown(value)}: write {other}.")
        if value.strip().replace("_", "").isalpha() and value.strip() not in (*symbols, "pi"):
            kind = f"{what} (neither a preset nor a formula in {', '.join(symbols)})"
            raise ProblemError(unknown(kind, value, presets))
    formula = check(value, symbols, what)
    build(formula)  # refuses what cannot be differentiated, before anything runs
    return formula


def check_dissipation(phi: float | str, span: tuple[float, float]) -> None:
    """Check that φ is positive and finite on the span."""
    if isinstance(phi, float):
        return
    with np.errstate(all="ignore"):
        t = np.linspace(*span, 1001)
        values = compile_program(dissipation_program(phi), ["f", "rate"])(t)
        value, rate = (v * np.ones_like(t) for v in values)
    bad = ~(value > 0) | ~np.isfinite(value) | ~np.isfinite(rate)
    if bad.any():
        k = int(np.argmax(bad))
        raise ProblemError(
            f"dissipation φ(t) must be positive and finite on the span, got {value[k]:g} at t = {t[k]:g} for "
            f"{shown(phi)}: change it or the span (a number θ gives exp(θ t), safe at any length)."
        )
