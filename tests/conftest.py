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
import xarray as xr
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


@pytest.fixture(scope="module")
def run() -> xr.Dataset:
    """A trajectory of a random network."""
    return hj.solve(random_problem(0), hj.CostateReversal(), times=101)


def recipes() -> dict[str, hj.Recipe]:
    """One of each kind of signal, network, law and method."""
    time = np.linspace(0, 2, 9)
    u = xr.DataArray(
        np.stack((np.sin(time), np.cos(time)), 1), dims=("time", "c"), coords={"time": time, "c": ["u1", "u0"]}
    )
    z = xr.DataArray(np.where(time < 1, np.nan, 0.4), dims="time", coords={"time": time})
    network = hj.Network.layered([2, 3, 1], bias=True, activation={"x0": "a/(1 + exp(-a))"}, velocity={"x3": 2.0})
    data = hj.Problem(
        network,
        hj.Objective(loss="(y - z)**4", regularizer="1 - exp(-w**2)", k=0.2, dissipation="1 + t"),
        inputs=hj.signals.series(u, "cubic"),
        target={"x3": hj.signals.series(z, "previous")},
        span=(0, 2),
        initial={"x": np.full(4, 0.1), "w": {"normal": [0, 0.5]}},
        seed=7,
    )
    patched = hj.signals.patches(
        [(0, hj.signals.cosines([(0.1, 2, 0), (0.2, 3, 1)], 0.1)), (1, hj.signals.constant(0.3))]
    )
    analytic = hj.Problem(
        hj.Network.fully_connected(3), hj.Objective.tracking(q=5, r_w=1), target=patched, span=(0, 2), seed=3
    )
    arcs = hj.Network.from_arcs([("in", "a"), ("a", "b"), ("b", "a")], inputs=["in"], outputs=["b", "a"])
    cyclic = hj.Problem(
        arcs, hj.Objective(loss="softmax_cross_entropy"), inputs=1.0, target={"b": 1.0, "a": 0.0}, span=(0, 2)
    )
    system = hj.SymbolicSystem(
        {"x": "a*x + v"}, ["v"], "(x - z)**2 + v**2", span=(0, 2), parameters={"a": 0.1}, signals={"z": z.fillna(0.1)}
    )
    return {
        "data": hj.Recipe(data, hj.CostateReversal(), hj.Adaptive("LSODA"), times=[0.0, 0.5, 2.0]),
        "analytic": hj.Recipe(analytic, hj.SignFlip(every_step=True), hj.Euler(0.01), times=30),
        "cyclic": hj.Recipe(cyclic, hj.SignFlip(radius=3.0), hj.Adaptive("RK45", rtol=1e-5), times=5),
        "stepped": hj.Recipe(data, hj.HamiltonianLearning(instantaneous=True), hj.Euler(0.01), times=20),
        "system": hj.Recipe(system, hj.Cauchy(), hj.Adaptive("DOP853")),
    }


def one_of(q: float) -> hj.Recipe:
    """One of several runs, which differ in q."""
    target = xr.DataArray(np.sin(np.arange(5.0)), dims="time", coords={"time": np.arange(5.0)})
    network = hj.Network.fully_connected(3, self_loops=True)
    problem = hj.Problem(network, hj.Objective.tracking(q=q, r_w=1.0, r=0.1), target=target, span=(0, 2), seed=1)
    return hj.Recipe(problem, times=101)


def assert_learns(found: Any, reference: Any, rival: Any, **tolerances: float) -> None:
    """A learning signal is that of the reference, which is not zero everywhere; that of another law is not."""
    assert float(np.abs(reference).max()) > 1e-3
    np.testing.assert_allclose(found, reference, **tolerances)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(rival, reference, **tolerances)


def finite_difference(f: Callable[[np.ndarray], np.ndarray], y: np.ndarray, h: float = 1e-6) -> np.ndarray:
    """The Jacobian of `f` by central differences."""
    columns = [(f(y + h * e) - f(y - h * e)) / (2 * h) for e in np.eye(len(y))]
    return np.stack(columns, axis=1)
