"""Scalar functions by name: activations σ(a), neurons f(x, a), losses L(y, z), regularisers V(w).

Each is a preset name or a formula of :mod:`hamjl.expressions`; a user's own formula stands wherever a name does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hamjl.checks import folded
from hamjl.errors import ProblemError, shown, unknown
from hamjl.expressions import Program, check, composed, program

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
NEURONS = {  # f of x' = c f(x, a), where sigma is the neuron's activation
    "leaky": "sigma(a) - x",
    "integrator": "a",
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


def neuron(value: Any) -> str:
    """Return the checked name or formula of a neuron's f(x, a), in which sigma(…) stands for its activation."""
    if isinstance(value, str):
        if value in NEURONS:
            return value
        if value.strip().replace("_", "").isalpha() and value.strip() not in ("x", "a", "pi"):
            raise ProblemError(unknown("neuron (neither a preset nor a formula in x and a)", value, NEURONS))
    text = value.strip() if isinstance(value, str) else check(value, ("x", "a"), "neuron")
    neuron_program(text, "tanh")
    return text


def neuron_program(value: str, activation: str) -> Program:
    """f, and its derivatives ``fx``, ``fa``, ``fxx``, ``fxa``, ``faa`` by the state x and by a = Σ_j w_ij x_j."""
    text = composed(NEURONS.get(value, value), "sigma", ACTIVATIONS.get(activation, activation), "a")
    results = {"f": "", "fx": "x", "fa": "a", "fxx": "xx", "fxa": "xa", "faa": "aa"}
    return program(text, ("x", "a"), results, "neuron")


def settles(value: str) -> bool:
    """Whether a neuron has a state of rest, f(x, a) = 0, under an a that stays: f depends on x."""
    return dict(neuron_program(value, "tanh").results)["fx"] != "0"


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


def weight_program(value: str) -> Program:
    """The weight q(t) of a loss and q' as ``f``, ``df``."""
    return program(value, ("t",), {"f": "", "df": "t"}, "loss_weight")


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
