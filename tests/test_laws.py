"""Closed forms and identities that the laws obey."""

import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xarray as xr
from conftest import random_problem, tight

import hamjl as hj
from hamjl.solving import run_quietly


def example_1(theta: float, span: tuple[float, float]) -> hj.Problem:
    """Example 1: ℓ = V = |w|²/2, m = c = 1, φ = e^{θt}; no target, so the weights are alone."""
    network = hj.Network.fully_connected(2)
    objective = hj.Objective(loss="none", k=1.0, m=1.0, dissipation=theta)
    return hj.Problem(network, objective, span=span, initial={"x": 0.1, "w": [1.0, -0.5]})


@pytest.mark.parametrize("theta", [0.0, 0.8])
def test_example_1_cauchy_grows_at_the_positive_root(theta, engine):
    """w'' + θw' - w = 0 from rest: w = w0 (r2 e^{r1 t} - r1 e^{r2 t})/(r2 - r1), r the roots of r² + θr - 1."""
    run = hj.solve(example_1(theta, (0, 10)), hj.Cauchy(), tight(engine), engine=engine)
    r1, r2 = np.sort(np.roots([1.0, theta, -1.0]))
    t = run.time.values
    expected = (r2 * np.exp(r1 * t) - r1 * np.exp(r2 * t)) / (r2 - r1)
    np.testing.assert_allclose(run.w.values, expected[:, None] * [1.0, -0.5], rtol=1e-8)


@pytest.mark.parametrize("theta", [0.0, 0.8, 2.0, 3.0])
def test_example_1_costate_reversal_is_a_damped_oscillator(theta, engine):
    """w'' + θw' + w = 0 from rest."""
    run = hj.solve(example_1(theta, (0, 20)), hj.CostateReversal(), tight(engine), engine=engine)
    t = run.time.values
    if theta == 2.0:
        expected = (1 + t) * np.exp(-t)
    else:
        r1, r2 = np.roots([1.0, theta, 1.0]).astype(complex)
        expected = ((r2 * np.exp(r1 * t) - r1 * np.exp(r2 * t)) / (r2 - r1)).real
    np.testing.assert_allclose(run.w.values[:, 0], expected, atol=1e-8)


def test_dissipation_may_be_any_positive_function(engine):
    """φ = (1 + t)²: w'' + 2w'/(1 + t) + w = 0, whose solution from rest is u/(1 + t) with u'' = -u."""
    problem = example_1(0.0, (0, 10))
    objective = hj.Objective(loss="none", k=1.0, dissipation="(1 + t)**2")
    problem = hj.Problem(problem.network, objective, span=(0, 10), initial=problem.initial)
    run = hj.solve(problem, hj.CostateReversal(), tight(engine), engine=engine)
    t = run.time.values
    np.testing.assert_allclose(run.w.values[:, 0], (np.cos(t) + np.sin(t)) / (1 + t), atol=1e-8)


def test_huge_dissipation_does_not_overflow(engine):
    """φ = e^{θt} passes 1e308 at θt = 710; the costates stored are divided by it."""
    run = hj.solve(example_1(3.0, (0, 1000)), hj.CostateReversal(), engine=engine)
    assert run.attrs["status"] == "success"
    assert bool(np.isfinite(run.hamiltonian).all())
    assert float(abs(run.w.isel(time=-1)).max()) < 1e-6


@pytest.mark.parametrize(
    "law",
    [hj.Cauchy(), hj.SignFlip(frequency=1.3), hj.SignFlip(radius=25.0, hysteresis=0.3), hj.CostateReversal()],
    ids=["cauchy", "periodic", "track", "reversal"],
)
@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
@pytest.mark.parametrize("dissipation", [0.0, 0.7, "1 + t/2"])
def test_energy_balance(law, loss, dissipation, engine):
    """dH/dt = ∂H/∂t along Cauchy and sign flip, plus the work of the reversed costates along (18)."""
    problem = random_problem(3, loss=loss, dissipation=dissipation)
    run = hj.solve(problem, law, tight(engine), times=2001, engine=engine)
    balance = run.hamjl.energy_balance()
    scale = float(abs(run.hamiltonian).max())
    assert run.attrs["status"] == "success"
    assert int(balance.imbalance.notnull().sum()) > 1900
    assert float(abs(balance.imbalance).max()) < 1e-9 * scale
    moved = float(balance.change.sum())
    assert abs(moved) > 1e-3 * scale  # the identity is not 0 = 0
    assert (float(abs(balance.reversal).max()) > 0) == isinstance(law, hj.CostateReversal)


def test_energy_without_inputs_and_dissipation_changes_only_by_the_target(engine):
    """φ = 1, no inputs: dH/dt = -q (x_0 - z) z', in plain flow and under sign flip alike."""
    network = hj.Network.fully_connected(3)
    objective = hj.Objective.tracking(q=7.0, r_w=0.2, r=0.5)
    problem = hj.Problem(network, objective, target=hj.signals.cosine(0.5, 2.0), span=(0, 3), seed=5)
    for law in (hj.Cauchy(), hj.SignFlip(frequency=0.9)):
        run = hj.solve(problem, law, tight(engine), times=4001, engine=engine)
        z_dot = -0.5 * 2.0 * np.sin(2.0 * run.time)
        rate = -7.0 * (run.y[:, 0] - run.z[:, 0]) * z_dot
        gained = rate.cumulative_integrate("time")
        assert float(abs(run.hamiltonian - run.hamiltonian[0] - gained).max()) < 1e-5
        np.testing.assert_allclose(run.hamjl.energy_balance().target, rate, atol=1e-12)


@pytest.mark.parametrize(
    "law", [hj.Cauchy(), hj.CostateReversal(), hj.SignFlip(frequency=1.3), hj.SignFlip(radius=25.0, hysteresis=0.3)]
)
@pytest.mark.parametrize("solver", ["RK45", "DOP853", "LSODA", "BDF", "Radau", "auto"])
def test_every_method_satisfies_the_laws_own_equations(law, solver):
    method = hj.Adaptive(solver, rtol=1e-8, atol=1e-10)
    run = hj.solve(random_problem(0), law, method, times=2001)
    residual = run.hamjl.residual()
    for name in ("x", "w", "p_x", "p_w"):
        assert float(abs(residual[name]).max()) < 1e-4 * float(abs(run[name]).max())
        assert int(residual[name].notnull().any(["neuron" if "x" in name else "arc"]).sum()) > 1900


def test_residual_sees_a_wrong_trajectory():
    run = hj.solve(random_problem(0), hj.CostateReversal(), tight("python"), times=2001)
    wrong = run.assign(x=run.x * 1.001).drop_vars(["lagrangian", "hamiltonian"])  # which would tell
    assert float(abs(run.hamjl.residual().x).max()) < 1e-6 < 1e-4 < float(abs(wrong.hamjl.residual().x).max())


def test_signals_may_jump_and_break(engine):
    """Piecewise constant input to one leaky neuron: x relaxes exponentially on every piece, exactly restarted."""
    time = np.array([0.0, 1.0, 1.5, 3.0])
    u = xr.DataArray([1.0, -2.0, 0.5, 0.5], dims="time", coords={"time": time})
    network = hj.Network.from_arcs([("u", "x")], inputs=["u"], activation="identity", velocity=2.0)
    problem = hj.Problem(
        network, hj.Objective(loss="none"), inputs=hj.signals.series(u, "previous"), span=(0, 3), initial={"w": 1.0}
    )
    saved = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 3.0])
    run = hj.solve(problem, hj.CostateReversal(), tight(engine), times=saved, engine=engine)
    x, expected, t = 0.0, [], 0.0
    for when in saved:
        k = np.searchsorted(time, t, side="right") - 1
        x = u.values[k] + (x - u.values[k]) * np.exp(-2.0 * (when - t))
        t = when
        expected.append(x)
    np.testing.assert_allclose(run.x.values[:, 0], expected, rtol=1e-10)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_sampled_signals_are_followed_piece_by_piece(interpolation, engine):
    """x' = 2(u - x) driven by samples of sin t, which cubic pieces follow without a stop."""
    time = np.linspace(0.0, 6.0, 121)
    u = xr.DataArray(np.sin(time), dims="time", coords={"time": time})
    network = hj.Network.from_arcs([("u", "x")], inputs=["u"], activation="identity", velocity=2.0)
    inputs = hj.signals.series(u, interpolation)
    problem = hj.Problem(network, hj.Objective(loss="none"), inputs=inputs, span=(0, 6), initial={"w": 1.0})
    run = hj.solve(problem, hj.CostateReversal(), tight(engine), times=601, engine=engine)
    t = run.time.values
    expected = (4 * np.sin(t) - 2 * np.cos(t) + 2 * np.exp(-2 * t)) / 5
    np.testing.assert_allclose(run.x.values[:, 0], expected, atol={"linear": 5e-4, "cubic": 1e-6}[interpolation])
    assert float(abs(run.hamjl.residual().x).max()) < 1e-6
    assert run.hamjl.statistics["restarts"] == {"linear": 120, "cubic": 1}[interpolation]


def test_no_target_no_learning(engine):
    """Where the target is NaN the costates are not driven: from p = 0 weights stand still until supervision starts."""
    time = np.array([0.0, 1.0, 2.0])
    target = xr.DataArray([np.nan, 0.7, 0.7], dims="time", coords={"time": time})
    network = hj.Network.layered([1, 3, 1])
    problem = hj.Problem(
        network, hj.Objective(), inputs=0.5, target=hj.signals.series(target, "previous"), span=(0, 2), seed=1
    )
    run = hj.solve(problem, hj.CostateReversal(), times=np.linspace(0, 2, 21), engine=engine)
    assert float(abs(run.w.sel(time=slice(0, 1)) - run.w[0]).max()) == 0.0
    assert float(abs(run.w[-1] - run.w[0]).max()) > 1e-3


def test_runs_side_by_side_leave_the_warnings_of_the_process_alone():
    """Filters of warnings are of all threads; LSODA says that it is stuck by a warning of its own."""
    stuck = hj.SymbolicSystem({"x": "1e6*x**3 + v"}, ["v"], "v**2", span=(0, 1), initial={"x": 1.0})
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda k: run_quietly(hj.Recipe(stuck, hj.Cauchy(), hj.Adaptive("LSODA"))), range(40)))
    assert warnings.filters == before
    assert {run.attrs["status"] for run in runs} <= {"diverged", "step_too_small"}


def test_samples_further_apart_than_the_span_is_long_are_its_start():
    problem = random_problem(1)
    for every in (4.0, 1e3, 1e12, 1e30):
        run = hj.solve(problem, method=hj.Euler(0.5), times={"every": every})
        np.testing.assert_array_equal(run.time, [0.0])
