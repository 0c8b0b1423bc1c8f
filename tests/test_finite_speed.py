"""Finite speed of propagation: exactness after 2L steps, and the stiff way to backpropagation."""

import numpy as np
import pytest
from conftest import assert_learns, stiff, tight

import hamjl as hj


def frozen_network(layers: int, velocity: float, activation: str = "tanh", initial: dict | None = None) -> hj.Problem:
    """A deep network with weights that cannot move (huge mass), constant input and target, φ = 1."""
    network = hj.Network.layered([2, *[3] * (layers - 1), 1], velocity=velocity, activation=activation)
    objective = hj.Objective(m=1e300)
    inputs = {"u0": 0.75, "u1": -0.5}
    initial = {"w": {"normal": [0, 1]}, "x": {"normal": [0, 1]}} if initial is None else initial
    span = (0, 4 * layers / velocity)
    return hj.Problem(network, objective, inputs=inputs, target=0.25, span=span, initial=initial, seed=layers)


def backpropagated(problem: hj.Problem, w: np.ndarray, activation, slope, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """x by a forward pass, p_x by the delta rule (costs scaled by c, so that p_x does not depend on it)."""
    matrix = problem.network.matrix(w)
    x, p = np.zeros(len(matrix)), np.zeros(len(matrix))
    for _ in range(layers):
        a = matrix @ np.concatenate(([0.75, -0.5], x))
        x = activation(a)
    error = np.zeros_like(x)
    error[-1] = x[-1] - 0.25
    for _ in range(layers):
        p = matrix[:, 2:].T @ (slope(x) * p) + error
    return x, p


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_euler_is_exact_after_two_sweeps(layers, engine):
    """c τ = 1 on (18): x is exact after L steps and p_x after 2L, 0.0 off, and not before.

    Weights, input, target and states are small multiples of 1/8 and σ is the identity, so that floating-point
    arithmetic is itself exact.
    """
    rng = np.random.default_rng(layers)
    size = hj.Network.layered([2, *[3] * (layers - 1), 1])
    initial = {
        "w": rng.choice([-1.5, -0.5, 0.5, 1.0, 1.25], len(size.source)),
        "x": rng.integers(-8, 8, len(size.neurons)) / 8 + 1 / 16,
        "p_x": rng.integers(-8, 8, len(size.neurons)) / 8 + 1 / 16,
    }
    problem = frozen_network(layers, 4.0, "identity", initial)
    run = hj.solve(problem, hj.CostateReversal(), hj.Euler(0.25), times=10**6, engine=engine)
    x, p = backpropagated(problem, initial["w"], lambda a: a, np.ones_like, layers)
    off_x, off_p = abs(run.x - x).max("neuron").values, abs(run.p_x - p).max("neuron").values
    assert float(abs(run.w - run.w[0]).max()) == 0.0
    assert (off_x[layers:] == 0.0).all()
    assert (off_p[2 * layers :] == 0.0).all()
    assert (off_x[:layers] > 0.0).all()
    assert (off_p[: 2 * layers] > 0.0).all()
    assert float(abs(p).max()) > 0.0
    other = hj.solve(problem, hj.Cauchy(), hj.Euler(0.25), times=10**6, engine=engine)
    assert (abs(other.p_x - p).max("neuron")[2 * layers :] > 0.0).all()


@pytest.mark.parametrize("layers", [2, 5])
def test_two_sweeps_are_backpropagation(layers, engine):
    """The same with tanh and random numbers, where x + (σ - x) may differ from σ by a rounding."""
    problem = frozen_network(layers, 4.0)
    laws = (hj.CostateReversal(), hj.Cauchy())
    run, other = (hj.solve(problem, law, hj.Euler(0.25), times=10**6, engine=engine) for law in laws)
    x, p = backpropagated(problem, run.w.values[0], np.tanh, lambda x: 1 - x**2, layers)
    np.testing.assert_allclose(run.x[layers], x, rtol=1e-14, atol=1e-15)
    assert_learns(run.p_x[2 * layers], p, other.p_x[2 * layers], rtol=1e-13, atol=1e-15)
    assert float(abs(run.p_x[2 * layers - 1] - p).max()) > 1e-6


def slow_problem(velocity: float, span=(0, 20), **objective) -> hj.Problem:
    """2-8-1 tanh network, slow inputs, θ = 1."""
    return hj.Problem(
        hj.Network.layered([2, 8, 1], velocity=velocity),
        hj.Objective(dissipation=1.0, k=0.01, **objective),
        inputs={"u0": hj.signals.cosine(1.0, 0.5), "u1": hj.signals.cosine(1.0, 0.3, 1.0)},
        target=hj.signals.cosine(0.5, 0.4),
        span=span,
        initial={"w": {"normal": [0.0, 0.5]}},
        seed=0,
    )


def test_step_counts_of_implicit_and_explicit_methods(engine):
    """An implicit method's steps hardly change from c = 1e3 to 1e6, an explicit one's grow like c."""
    implicit, explicit = {"python": ("BDF", "RK45"), "julia": ("FBDF", "Tsit5")}[engine]

    def steps(name: str, c: float) -> int:
        method = hj.Adaptive(name, rtol=1e-4, atol=1e-7)
        return hj.solve(slow_problem(c), hj.CostateReversal(), method, engine=engine).hamjl.statistics["steps"]

    assert steps(implicit, 1e6) <= 1.5 * steps(implicit, 1e3)
    assert 7 < steps(explicit, 1e3) / steps(explicit, 1e2) < 13


def assert_flees(problem, engine: str) -> None:
    """Along (14) the distance from (20) grows with c instead."""
    limit = hj.solve(problem(1.0), hj.BackpropLimit(), tight(engine), times=2, engine=engine)
    runs = [hj.solve(problem(c), hj.Cauchy(), tight(engine), times=2, engine=engine) for c in (50.0, 100.0)]
    errors = [float(abs(run.w - limit.w).max()) for run in runs]
    assert errors[1] > 2 * errors[0]


def test_large_velocity_tends_to_backpropagation(engine):
    """|w of (18) at c - w of (20)| falls like 1/c; with costs not scaled by c as well."""
    for scaled in (True, False):
        problem = slow_problem(1.0, scaled_by_velocity=scaled)
        limit = hj.solve(problem, hj.BackpropLimit(), tight(engine), engine=engine)
        errors = []
        for c in (1e2, 1e3, 1e4):
            problem = slow_problem(c, scaled_by_velocity=scaled)
            run = hj.solve(problem, hj.CostateReversal(), stiff(engine, 1e-8, 1e-11), engine=engine)
            errors.append(float(abs(run.w - limit.w).max()))
        slopes = np.diff(np.log10(errors))
        np.testing.assert_allclose(slopes, -1.0, atol=0.1)
        assert float(abs(limit.w - limit.w[0]).max()) > 0.1
        assert_flees(lambda c: slow_problem(c, (0, 0.1), scaled_by_velocity=scaled), engine)  # noqa: B023  # at once


def test_limit_on_a_cyclic_graph_is_the_limit_too(engine):
    """With a contracting cycle x = σ(a) has one solution, found without an order of the neurons."""

    def problem(c: float, span=(0, 5)) -> hj.Problem:
        network = hj.Network.fully_connected(4, inputs=1, self_loops=True, velocity=c)
        return hj.Problem(
            network,
            hj.Objective(dissipation=1.0),
            inputs=hj.signals.cosine(1.0, 0.5),
            target=hj.signals.cosine(0.5, 0.4),
            span=span,
            initial={"w": {"uniform": [-0.3, 0.3]}},
        )

    limit = hj.solve(problem(1.0), hj.BackpropLimit(), tight(engine), engine=engine)
    residual = limit.hamjl.residual()
    assert float(abs(residual.x).max()) < 1e-11
    assert float(abs(residual.p_x).max()) < 1e-11
    errors = []
    for c in (1e3, 1e4):
        run = hj.solve(problem(c), hj.CostateReversal(), stiff(engine, 1e-8, 1e-11), engine=engine)
        errors.append(float(abs(run.w - limit.w).max()))
    assert np.log10(errors[1] / errors[0]) == pytest.approx(-1.0, abs=0.1)
    assert float(abs(limit.w - limit.w[0]).max()) > 0.1
    assert_flees(lambda c: problem(c, (0, 0.1)), engine)


def test_limit_without_a_fixed_point_says_so(engine):
    """x = 2 - x³-like activation with a strong self-loop: σ(a) = a + 1 has no fixed point for w = 1."""
    network = hj.Network.from_arcs([("x", "x")], activation="a + 1")
    problem = hj.Problem(network, hj.Objective(), target=0.0, span=(0, 1), initial={"w": 1.0})
    with pytest.raises(hj.ProblemError, match="no reachable solution"):
        hj.solve(problem, hj.BackpropLimit(), engine=engine)


def test_deltas_shrink_with_depth_under_dissipation(engine):
    """At equilibrium of (18) with φ = e^{θt}: (1 + θ/c) p̂_i = Σ_k w_ki σ'(a_k) p̂_k + ∂L/∂x_i."""
    theta, c = 2.0, 5.0
    base = frozen_network(3, c)
    objective = hj.Objective(m=1e300, dissipation=theta)
    problem = hj.Problem(base.network, objective, inputs=base.inputs, target=base.target, span=(0, 20), seed=3)
    run = hj.solve(problem, hj.CostateReversal(), stiff(engine, 1e-10, 1e-13), engine=engine)
    last = run.isel(time=-1)
    matrix = base.network.matrix(last.w.values)[:, 2:]
    slope, p = 1 - last.x.values**2, last.p_x.values
    error = np.zeros_like(p)
    error[-1] = last.x.values[-1] - 0.25
    wrong = (1 - theta / c) * p  # as along (14)
    assert_learns((1 + theta / c) * p, matrix.T @ (slope * p) + error, wrong, rtol=1e-7, atol=1e-9)
