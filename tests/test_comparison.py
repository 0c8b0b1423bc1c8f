"""What laws cost, beside Theorem 1: G of a law's control, replayed through x' = f."""

import warnings
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr
from conftest import random_network
from scipy.integrate import solve_ivp

import hamjl as hj

EVERY = {"every": 0.05}


def tracked(seed: int) -> hj.Problem:
    """A random digraph with self-loops that tracks a sine, from states and weights at random."""
    rng = np.random.default_rng(seed)
    network = random_network(rng, neurons=3, inputs=1, velocity=rng.uniform(0.5, 2.0, 3))
    objective = hj.Objective.tracking(q=float(rng.choice([5.0, 20.0])), r_w=0.3, r=0.2)
    target = {"x0": hj.signals.cosine(0.5, rng.uniform(0.5, 2.0))}
    inputs = {"u0": hj.signals.cosine(1.0, rng.uniform(0.2, 1.0))}
    return hj.Problem(network, objective, span=(0, 4), inputs=inputs, target=target, seed=seed)


def replayed(run: xr.Dataset) -> float:
    """G of w(t) by SciPy, with w' linear between the samples; tanh, squared error and |w|²/2 written out here."""
    problem = run.hamjl.recipe.problem
    network, objective = problem.network, problem.objective
    times, w = run.time.values, run.w.values
    rates = np.gradient(w, times, axis=0)
    inner = len(network.inputs)

    def rhs(t, y):
        k = min(np.searchsorted(times, t, side="right") - 1, len(times) - 2)
        s = (t - times[k]) / (times[k + 1] - times[k])
        v = (1 - s) * rates[k] + s * rates[k + 1]
        x, weight = np.split(y[:-1], [len(network.neurons)])
        u = problem.inputs["u0"](t)
        a = np.zeros(len(x))
        np.add.at(a, network.target, weight * np.concatenate((u, x))[network.source])
        miss = x[network.neurons.index("x0")] - problem.target["x0"](t)[0]
        spent = objective.m * v @ v / 2 + objective.loss_weight * miss**2 / 2 + objective.k * weight @ weight / 2
        return [*(network.velocity * (np.tanh(a) - x)), *v, spent]

    assert inner == 1
    y = [*run.x.values[0], *w[0], 0.0]
    for start, stop in pairwise(times):  # w' bends at the samples
        y = solve_ivp(rhs, (start, np.nextafter(stop, start)), y, rtol=1e-9, atol=1e-11).y[:, -1]
    return float(y[-1])


@pytest.mark.parametrize(
    ("law", "method"),
    [
        (hj.SignFlip(every_step=True), hj.Euler(0.01)),
        (hj.SignFlip(frequency=0.4), hj.Adaptive("DOP853")),
        (hj.CostateReversal(), hj.Euler(0.05)),
        (hj.HamiltonianLearning(), hj.Euler(0.05)),
    ],
    ids=str,
)
def test_the_cost_is_of_the_control_replayed(law, method):
    run = hj.solve(tracked(1), law, method, times=EVERY)
    assert float(run.hamjl.cost()[-1]) == pytest.approx(replayed(run), rel=1e-6)
    assert abs(float(run.hamjl.action()[-1]) / replayed(run) - 1) > 1e-3  # what is recorded is something else


def test_the_cost_of_an_admissible_run_is_its_action():
    """Along x' = f the recorded Lagrangian is that of the control; replayed from its samples it tends to that."""
    run = hj.solve(tracked(1), hj.CostateReversal(), hj.Adaptive("DOP853", rtol=1e-9), times=801)
    xr.testing.assert_equal(run.hamjl.cost(), run.hamjl.action().rename("cost"))
    assert float(run.hamjl.cost()[-1]) == pytest.approx(replayed(run), rel=2e-4)


def test_the_cost_of_a_law_at_rest_pays_for_the_lag_of_its_neurons():
    """Where neurons are at rest x jumps to σ(a); under x' = f it comes there from x(0)."""
    network = hj.Network.layered([1, 1], velocity=2.0)
    options = {"inputs": 1.0, "target": np.tanh(0.7), "span": (0, 3), "initial": {"x": -0.5, "w": 0.7}}
    problem = hj.Problem(network, hj.Objective.tracking(q=6.0), **options)
    run = hj.solve(problem, hj.BackpropLimit(), "DOP853")
    miss = -0.5 - np.tanh(0.7)
    start = run.x.values[0, 0]
    assert start == pytest.approx(np.tanh(0.7))  # the limit starts at rest
    assert float(run.hamjl.cost()[-1]) == pytest.approx(0.0, abs=1e-12)
    late = run.assign(x=run.x.copy(data=np.full_like(run.x, -0.5))).drop_vars(["lagrangian", "hamiltonian"])
    expected = 6.0 / 2 * miss**2 * (1 - np.exp(-2 * 2.0 * 3)) / (2 * 2.0)
    assert float(late.hamjl.cost()[-1]) == pytest.approx(expected, rel=1e-6)


def test_the_cost_of_a_systems_flip_is_that_of_its_controls():
    """x' = v: replayed, x = x(0) + ∫v, whatever the flip made of x."""
    system = hj.SymbolicSystem({"x": "v"}, ["v"], "x**2 + v**2", span=(0, 2), initial={"x": 1.0}, costates={"x": 0.3})
    run = hj.solve(system, hj.SignFlip(every_step=True), hj.Euler(0.001), times={"every": 0.002})
    v, t = run.v.values[:, 0], run.time.values
    x = 1.0 + np.concatenate(([0.0], np.cumsum(np.diff(t) * (v[1:] + v[:-1]) / 2)))
    assert float(run.hamjl.cost()[-1]) == pytest.approx(np.trapezoid(x**2 + v**2, t), rel=1e-5)


def test_neurons_fast_as_they_may_be_come_to_rest_in_a_replay():
    """G of c = 1e8 is that of the limit."""
    network = hj.Network.layered([1, 1], velocity=1e8)
    options = {"inputs": 1.0, "target": np.tanh(0.7) + 0.1, "span": (0, 3), "initial": {"x": -0.5, "w": 0.7}}
    run = hj.solve(hj.Problem(network, hj.Objective.tracking(q=6.0, r=1e9), **options), hj.BackpropLimit(), "DOP853")
    late = run.assign(x=run.x.copy(data=np.full_like(run.x, -0.5))).drop_vars(["lagrangian", "hamiltonian"])
    assert float(late.hamjl.cost()[-1]) == pytest.approx(6.0 / 2 * 0.1**2 * 3, rel=1e-6)


def test_the_cost_is_a_number_as_far_as_the_replay_is():
    """With σ = exp the neuron runs away under the weight that the flip gives it; its cost is told up to there."""
    network = hj.Network.fully_connected(1, self_loops=True, activation="exp(a)")
    options = {"target": 0.0, "span": (0, 4), "initial": {"x": 1.0, "w": 1.0}}
    run = hj.solve(hj.Problem(network, hj.Objective(), **options), hj.SignFlip(every_step=True), hj.Euler(0.01))
    cost = run.hamjl.cost()
    assert run.attrs["status"] == "success"
    assert 0 < int(cost.notnull().sum()) < len(cost)
    assert bool((cost.dropna("time").diff("time") >= 0).all())


LAWS = {
    "flip": (hj.SignFlip(every_step=True), hj.Euler(0.01)),
    "periodic": (hj.SignFlip(frequency=1.0), hj.Adaptive("DOP853")),
    "reversal": hj.CostateReversal(),
    "learning": (hj.HamiltonianLearning(), hj.Euler(0.01)),
}


@pytest.mark.parametrize("seed", range(20))
def test_no_law_beats_the_optimum(seed):
    """Regret at the end is not negative beyond the certificate: 20 random problems, 4 laws."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = hj.compare(tracked(seed), LAWS, times={"every": 0.05})
    best = float(found.cost.sel(law="boundary_value")[-1])
    assert not [str(word.message) for word in told if "local minimum" in str(word.message)]
    regret = found.regret.isel(time=-1)
    assert bool((regret.dropna("law") >= -1e-4 * best).all())
    assert bool((regret.sel(law=["flip", "reversal", "learning"]) > 0).all())


HASTY = (hj.BoundaryValue(), hj.Collocation(max_iterations=1))


def test_the_search_starts_again_from_a_law_that_costs_less():
    problem = tracked(3)
    best = hj.adjoint(problem, hj.solve(problem, hj.BoundaryValue()))
    with pytest.warns(hj.RunWarning, match="stopped at"):
        alone = hj.solve(problem, *HASTY)
    assert float(alone.hamjl.cost()[-1]) > 1.05 * best.attrs["cost"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hj.RunWarning)  # one Newton step may be enough for a certificate, or not
        found = hj.compare(problem, {"hasty": HASTY, "best": best}, times=101)
    assert float(found.cost.sel(law="hasty")[-1]) == pytest.approx(best.attrs["cost"], rel=1e-3)


def test_an_optimum_that_is_none_is_told():
    problem = tracked(3)
    best = hj.adjoint(problem, hj.solve(problem, hj.BoundaryValue()))
    with pytest.warns(hj.RunWarning, match="stopped at"):
        hasty = hj.solve(problem, *HASTY)
    with pytest.warns(hj.RunWarning) as told:
        hj.compare(problem, {"hasty": hasty, "best": best}, times=101)
    words = [str(one.message) for one in told]
    assert any("optimum that laws are judged by is not certified" in text for text in words)
    assert any("best costs" in text and "where hasty, a local minimum, costs" in text for text in words)
    assert all(one.filename == __file__ for one in told)
