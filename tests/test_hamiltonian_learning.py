"""Hamiltonian Learning: SGD with momentum when neurons are instantaneous, and its relation to (18)."""

import autodiff
import numpy as np
import pytest
import xarray as xr
from conftest import assert_learns, random_problem, tight

import hamjl as hj

STEPS, STEP, DECAY, RATE = 300, 0.25, 0.1, 0.16


def stream(loss: str = "squared_error") -> hj.Problem:
    """Random samples, a new one at each step, to a 3-5-4-2 network of tanh neurons."""
    rng = np.random.default_rng(1)
    time = np.arange(STEPS + 1) * STEP
    u, z = rng.normal(size=(STEPS + 1, 3)), rng.uniform(0, 1, size=(STEPS + 1, 2))
    return hj.Problem(
        hj.Network.layered([3, 5, 4, 2]),
        hj.Objective.hamiltonian_learning(DECAY, RATE, STEP, loss=loss),
        inputs=hj.signals.series(xr.DataArray(u, {"time": time}, ("time", "channel")), "previous"),
        target=hj.signals.series(xr.DataArray(z, {"time": time}, ("time", "channel")), "previous"),
        span=(0, STEPS * STEP),
        initial={"w": {"normal": [0, 0.7]}},
        seed=2,
    )


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
@pytest.mark.parametrize("local", [False, True], ids=["non-local", "local"])
def test_instantaneous_hamiltonian_learning_is_sgd_with_momentum(loss, local, engine, elsewhere):
    """Momentum 1 - θ, learning rate δ²β, no dampening; the local form takes each gradient one step late."""
    problem = stream(loss)
    run, other = (
        hj.solve(problem, hj.HamiltonianLearning(one, instantaneous=True), hj.Euler(STEP), times=10**6, engine=engine)
        for one in (local, not local)
    )
    u, z = run.u.values, run.z.values
    expected = elsewhere(
        autodiff.sgd,
        autodiff.plain(problem.network),
        loss,
        run.w.values[0],
        u,
        z,
        lr=STEP**2 * RATE,
        momentum=1 - DECAY,
        sweeps=3,
        stale=int(local),
    )
    assert run.sizes["time"] == STEPS + 1
    assert float(abs(run.w[-1] - run.w[0]).max()) > 0.2
    assert_learns(run.w - run.w[0], expected - expected[0], other.w - other.w[0], rtol=1e-12, atol=1e-12)


def test_the_two_forms_differ():
    forms = [
        hj.solve(stream(), hj.HamiltonianLearning(local=local, instantaneous=True), hj.Euler(STEP))
        for local in (False, True)
    ]
    assert float(abs(forms[0].w - forms[1].w).max()) > 1e-3


def test_weight_decay_is_the_regulariser(engine, elsewhere):
    """k V = k |w|²/2 adds k w to the gradient."""
    base = stream()
    objective = hj.Objective.hamiltonian_learning(DECAY, RATE, STEP, k=0.05)
    problem = hj.Problem(
        base.network, objective, inputs=base.inputs, target=base.target, span=base.span, initial=base.initial, seed=2
    )
    run, other = (
        hj.solve(one, hj.HamiltonianLearning(instantaneous=True), hj.Euler(STEP), times=10**6, engine=engine)
        for one in (problem, base)
    )
    options = {"lr": STEP**2 * RATE, "momentum": 1 - DECAY, "weight_decay": 0.05, "sweeps": 3}
    network = autodiff.plain(base.network)
    expected = elsewhere(autodiff.sgd, network, "squared_error", run.w.values[0], run.u.values, run.z.values, **options)
    assert_learns(run.w - run.w[0], expected - expected[0], other.w - other.w[0], rtol=1e-12, atol=1e-12)


def test_the_rule_written_out(engine):
    """ξ ← ξ + δ f, p ← (1 - θ) p + δ ∂H/∂(ξ, w), w ← w - δ β p_w(new), on the cycle x' = -x + tanh(w x + u)."""
    network = hj.Network.from_arcs([("u", "x"), ("x", "x")], inputs=["u"])
    objective = hj.Objective.hamiltonian_learning(DECAY, RATE, STEP)
    problem = hj.Problem(
        network, objective, inputs=0.5, target=0.9, span=(0, 50), initial={"x": 0.1, "w": [0.3, -0.2], "p_x": 0.2}
    )
    run = hj.solve(problem, hj.HamiltonianLearning(), hj.Euler(STEP), times=10**6, engine=engine)
    other = hj.solve(problem, hj.HamiltonianLearning(local=True), hj.Euler(STEP), times=10**6, engine=engine)
    assert float(abs(other.p_w - run.p_w)[-1].min()) > 1e-6
    x, w, p, pw = 0.1, np.array([0.3, -0.2]), 0.2, np.zeros(2)
    for k in range(run.sizes["time"]):
        row = run.isel(time=k)
        np.testing.assert_allclose([*row.x, *row.w, *row.p_x, *row.p_w], [x, *w, p, *pw], rtol=1e-11, atol=1e-13)
        v = np.array([0.5, x])
        sigma = np.tanh(w @ v)
        g = (1 - sigma**2) * p
        by_x, by_w = -p + w[1] * g + (x - 0.9), g * v
        p, pw = (1 - DECAY) * p + STEP * by_x, (1 - DECAY) * pw + STEP * by_w
        x, w = x + STEP * (sigma - x), w - STEP * RATE * pw


def test_the_local_form_is_costate_reversal_by_euler(engine):
    problem, method = random_problem(4), hj.Euler(0.01)
    local = hj.solve(problem, hj.HamiltonianLearning(local=True), method, engine=engine)
    reversal = hj.solve(problem, hj.CostateReversal(), method, engine=engine)
    for name in ("x", "w", "p_x", "p_w"):
        np.testing.assert_array_equal(local[name], reversal[name])
    other = hj.solve(problem, hj.HamiltonianLearning(), method, engine=engine)
    for name in ("w", "p_x", "p_w"):
        assert float(abs(other[name] - reversal[name])[-1].min()) > 1e-6
        assert float(abs(reversal[name] - reversal[name][0])[-1].max()) > 0.1


@pytest.mark.parametrize("local", [False, True])
def test_both_forms_tend_to_costate_reversal_as_the_step_shrinks(local, engine):
    """With θ = ρ δ and β fixed the difference to (18) falls like δ."""
    problem, times = random_problem(4), [0.0, 1.0, 2.0]
    exact = hj.solve(problem, hj.CostateReversal(), tight(engine), times=times, engine=engine)
    errors = []
    for step in (1e-2, 5e-3, 2.5e-3):
        run = hj.solve(problem, hj.HamiltonianLearning(local=local), hj.Euler(step), times=times, engine=engine)
        errors.append(float(abs(run.w - exact.w).max()))
    np.testing.assert_allclose(np.diff(np.log2(errors)), -1.0, atol=0.1)
    other = hj.solve(problem, hj.Cauchy(), tight(engine), times=times, engine=engine)
    assert float(abs(other.w - exact.w).max()) > 10 * errors[0]


@pytest.mark.parametrize("law", [hj.HamiltonianLearning(), hj.HamiltonianLearning(instantaneous=True)], ids=str)
def test_residual_is_that_of_its_own_steps(law):
    run = hj.solve(random_problem(2, acyclic=True), law, hj.Euler(0.01), times=10**6)
    residual = run.hamjl.residual()
    assert max(float(abs(residual[name]).max()) for name in ("x", "w", "p_x", "p_w")) < 1e-11
    wrong = run.assign(w=run.w * 1.001).drop_vars(["lagrangian", "hamiltonian"])  # which would tell
    assert float(abs(wrong.hamjl.residual().w).max()) > 1e-5


def test_it_goes_by_steps_and_on_networks():
    with pytest.raises(hj.ProblemError, match="use Euler"):
        hj.solve(stream(), hj.HamiltonianLearning(), "auto")
    system = hj.SymbolicSystem({"x": "v"}, ["v"], "x**2 + v**2", span=(0, 1))
    with pytest.raises(hj.ProblemError, match="HamiltonianLearning is for networks"):
        hj.solve(system, hj.HamiltonianLearning(local=True), hj.Euler(0.1))
    with pytest.raises(hj.ProblemError, match="local"):
        hj.HamiltonianLearning(local="yes")
