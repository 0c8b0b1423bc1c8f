"""Problems shared by the tests."""

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import hamjl as hj
from hamjl.engines.julia import configuration

matplotlib.use("agg")
signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored behind a shell's &, and inherited
settings.register_profile("default", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


# Where Julia is, as the user has set it up: hidden from all tests but those that ask for the fixture, so that
# ``engine="auto"`` is Python and the same on every machine.
JULIA = ("HAMJL_CONFIG", "PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT")
SET_UP = {name: os.environ.pop(name) for name in JULIA if name in os.environ}
os.environ["HAMJL_CONFIG"] = os.devnull

posix = pytest.mark.skipif(os.name == "nt", reason="Windows lacks it: signals to others, pipes by name, links for all")


@pytest.fixture
def julia(monkeypatch) -> str:
    """The Julia engine as the user has set it up."""
    monkeypatch.delenv("HAMJL_CONFIG")
    for name, value in SET_UP.items():
        monkeypatch.setenv(name, value)
    lack = configuration.missing()
    if lack is not None:
        pytest.skip(f"the Julia engine was not run: {lack}; {configuration.remedy()}")
    return "julia"


@pytest.fixture(params=["python", pytest.param("julia", marks=pytest.mark.julia)])
def engine(request) -> str:
    """Every engine that is here: the facts of the theory hold on each."""
    return request.param if request.param == "python" else request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Call a function of `autodiff` in a process of its own."""
    if find_spec("torch") is None:
        pytest.skip("what this is compared with comes with torch, the extra of that name")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield lambda function, *args, **options: pool.submit(function, *args, **options).result()


def tight(engine: str) -> hj.Adaptive:
    """An explicit solver of that engine, with tolerances near rounding."""
    return hj.Adaptive({"python": "DOP853", "julia": "Vern9"}[engine], rtol=1e-11, atol=1e-13)


def stiff(engine: str, rtol: float, atol: float) -> hj.Adaptive:
    """An implicit solver of that engine."""
    return hj.Adaptive({"python": "Radau", "julia": "Rodas5P"}[engine], rtol=rtol, atol=atol)


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
