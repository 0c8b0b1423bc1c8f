"""Problems shared by the tests."""

import os
from collections.abc import Callable
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import hamjl as hj
from hamjl.engines import julia
from hamjl.methods import COUNTERPARTS, PYTHON_SOLVERS

matplotlib.use("agg")
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


os.environ.setdefault("HAMJL_ENGINE", "python")  # a test that wants another engine names it

JULIA = pytest.param(
    "julia",
    marks=[
        pytest.mark.julia,
        pytest.mark.skipif(not julia.ready(), reason=f"the Julia engine is not ready: {julia.missing()}"),
    ],
)


@pytest.fixture(params=["python", JULIA])
def engine(request, monkeypatch) -> str:
    """Every engine that is here: the facts of the theory hold on each, with its own counterpart of a named solver."""
    solve = hj.solve

    def translated(problem, law=None, method="auto", **options):
        if isinstance(method, hj.Adaptive) and options.get("engine") == "julia":
            method = replace(method, name=COUNTERPARTS[method.name]) if method.name in PYTHON_SOLVERS[1:] else method
        return solve(problem, law, method, **options)

    monkeypatch.setattr(hj, "solve", translated)
    return request.param


def random_network(
    rng: np.random.Generator, *, neurons=4, inputs=2, acyclic=False, dense=False, **options
) -> hj.Network:
    """A random digraph in which every input feeds the first neuron."""
    present = np.ones((neurons, inputs + neurons)) if dense else rng.random((neurons, inputs + neurons)) < 0.6
    present[0, :inputs] = 1
    if acyclic:
        present[:, inputs:] = np.tril(present[:, inputs:], -1)
    return hj.Network.from_adjacency(present, outputs=2, **options)


def random_problem(seed: int, *, loss="squared_error", dissipation=0.7, span=(0.0, 2.0), **options) -> hj.Problem:
    """A random digraph with moving inputs and targets, random velocities, states, weights and costates."""
    rng = np.random.default_rng(seed)
    activation = options.pop("activation", "tanh")
    network = random_network(rng, activation=activation, velocity=rng.uniform(0.5, 2.0, 4), **options)
    objective = hj.Objective(loss=loss, loss_weight=3.0, k=0.3, regularizer="pseudo_huber", dissipation=dissipation)
    return hj.Problem(
        network,
        objective,
        inputs={"u0": hj.signals.cosine(1.0, 2.0), "u1": 0.3},
        target={"x0": hj.signals.cosine(0.3, 1.0, offset=0.5), "x1": 0.4},
        span=span,
        initial={name: {"normal": [0.0, 1.0]} for name in ("x", "w", "p_x", "p_w")},
        seed=seed,
    )


def finite_difference(f: Callable[[np.ndarray], np.ndarray], y: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """The Jacobian of `f` by central differences."""
    columns = [(f(y + h * e) - f(y - h * e)) / (2 * h) for e in np.eye(len(y))]
    return np.stack(columns, axis=1)
