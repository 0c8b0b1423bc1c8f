"""Linear-quadratic problems: the Riccati equation in both directions of time, and optimal control from its costate."""

import numpy as np
import pytest
from conftest import tight
from scipy.linalg import solve_continuous_are

import hamjl as hj

A, S, Q = 0.5, 1.0, 100.0
MU = np.sqrt(A**2 + S * Q)
TIMES = np.linspace(0.0, 2.0, 201)


def matrices(seed: int, n: int = 3, controls: int = 2) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    return (
        rng.normal(size=(n, n)),
        rng.normal(size=(n, controls)),
        root @ root.T,
        np.diag(rng.uniform(0.5, 2, controls)),
    )


def test_reversed_riccati_has_the_closed_form():
    """θ(t) = q sinh(μt)/(μ cosh(μt) - a sinh(μt)) → θ+ = (a + μ)/s."""
    theta = hj.riccati(A, 1.0, Q, 1.0 / S, TIMES)
    assert theta.dims == ("time", "costate", "state")
    expected = Q * np.sinh(MU * TIMES) / (MU * np.cosh(MU * TIMES) - A * np.sinh(MU * TIMES))
    np.testing.assert_allclose(theta[:, 0, 0], expected, rtol=1e-12)
    assert float(theta[-1, 0, 0]) == pytest.approx(10.51249, abs=5e-6)


def test_any_spacing_of_times_will_do():
    """One stride of 1e5 times the time constant, or many short ones."""
    assert float(hj.riccati(1e3, 1.0, 1e6, 1.0, [0.0, 100.0])[-1, 0, 0]) == pytest.approx(1e3 + np.sqrt(2e6), rel=1e-12)
    a, b, q, r = matrices(3)
    fine = hj.riccati(a, b, q, r, np.linspace(0, 2, 2001))
    np.testing.assert_allclose(hj.riccati(a, b, q, r, [0.0, 0.3, 2.0]).values, fine[[0, 300, 2000]], rtol=1e-10)


def test_forward_riccati_tends_to_the_unstable_root():
    """θ- = (a - μ)/s, whose closed loop a - s θ- = μ grows."""
    theta = float(hj.riccati(A, 1.0, Q, 1.0, TIMES, "forward")[-1, 0, 0])
    assert theta == pytest.approx(-9.51249, abs=5e-6)
    assert A - S * theta == pytest.approx(MU, rel=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_reversed_riccati_tends_to_the_stabilising_solution(seed):
    """The algebraic Riccati equation's, by SciPy; the backward solution far from its end is the same."""
    a, b, q, r = matrices(seed)
    expected = solve_continuous_are(a, b, q, r)
    times = [0.0, 0.1, 400.0]
    np.testing.assert_allclose(hj.riccati(a, b, q, r, times)[-1], expected, rtol=1e-9)
    np.testing.assert_allclose(hj.riccati(a, b, q, r, times, "backward")[0], expected, rtol=1e-9)
    closed = a - b @ np.linalg.solve(r, b.T) @ expected
    assert np.linalg.eigvals(closed).real.max() < 0
    unstable = hj.riccati(a, b, q, r, times, "forward")[-1].values
    assert np.linalg.eigvals(a - b @ np.linalg.solve(r, b.T) @ unstable).real.min() > 0


@pytest.mark.parametrize("direction", ["time_reversed", "backward", "forward"])
def test_riccati_satisfies_its_differential_equation(direction):
    a, b, q, r = matrices(7)
    times = np.linspace(0, 0.3, 3001)
    theta = hj.riccati(a, b, q, r, times, direction).values
    slope = (theta[2:] - theta[:-2]) / (times[2:] - times[:-2])[:, None, None]
    middle = theta[1:-1]
    backward = middle @ b @ np.linalg.solve(r, b.T) @ middle - a.T @ middle - middle @ a - q
    expected = -backward if direction == "time_reversed" else backward
    np.testing.assert_allclose(slope, expected, atol=1e-5 * abs(expected).max())
    assert not theta[-1 if direction == "backward" else 0].any()


def test_backward_costate_is_optimal_control(engine):
    """From p(0) = θ(0) x0 Hamilton's equations (14) end with p(T) = 0, at the cost θ(0) x0²/2; others cost more."""
    end, x0 = 1.0, 2.0
    theta = float(hj.riccati(A, 1.0, Q, 1.0, [0.0, end], "backward")[0, 0, 0])
    costs = []
    for factor in (1.0, 0.99, 1.01):
        system = hj.SymbolicSystem(
            {"x": "a*x + v"},
            ["v"],
            "q*x**2/2 + v**2/2",
            span=(0, end),
            parameters={"a": A, "q": Q},
            initial={"x": x0},
            costates={"x": factor * theta * x0},
        )
        run = hj.solve(system, hj.Cauchy(), tight(engine), times=4001, engine=engine)
        if factor == 1.0:
            assert float(abs(run.p_x[-1, 0])) < 1e-4 * theta * x0
            last = Q * float(run.x[-1, 0]) ** 2 / 2  # H is constant on the optimum, and the running cost at its end
            np.testing.assert_allclose(run.hamiltonian, last, rtol=1e-6)
        costs.append(float(run.lagrangian.integrate("time")))
    assert costs[0] == pytest.approx(theta * x0**2 / 2, rel=1e-5)
    assert min(costs[1:]) > costs[0] * 1.0001


def test_example_1_optimum_is_reached_from_its_costate(engine):
    """w(t) = w0 [r2 e^{r2 T} e^{r1 t} - r1 e^{r1 T} e^{r2 t}]/(r2 e^{r2 T} - r1 e^{r1 T}), cost -w0 w'(0)/2."""
    theta, end, w0 = 0.8, 2.0, 1.5
    r1, r2 = np.sort(np.roots([1.0, theta, -1.0]))
    scale = w0 / (r2 * np.exp(r2 * end) - r1 * np.exp(r1 * end))
    speed = scale * r1 * r2 * (np.exp(r2 * end) - np.exp(r1 * end))  # w'(0)
    network = hj.Network.from_arcs([("x", "x")])
    objective = hj.Objective(loss="none", k=1.0, dissipation=theta)
    problem = hj.Problem(network, objective, span=(0, end), initial={"w": w0, "p_w": -speed})
    run = hj.solve(problem, hj.Cauchy(), tight(engine), times=4001, engine=engine)
    t = run.time.values
    expected = scale * (r2 * np.exp(r2 * end) * np.exp(r1 * t) - r1 * np.exp(r1 * end) * np.exp(r2 * t))
    np.testing.assert_allclose(run.w[:, 0], expected, rtol=1e-8)
    assert float(abs(run.p_w[-1, 0])) < 1e-8
    cost = (run.lagrangian * np.exp(theta * run.time)).integrate("time")
    assert float(cost) == pytest.approx(-w0 * speed / 2, rel=1e-6)


def test_the_causal_policy_costs_little_more_than_the_optimum():
    """x' = (a - s θ(t)) x with θ learnt from the past only: after a time 1/μ it is the optimal regulator."""
    times = np.linspace(0, 3, 30001)
    policy = hj.riccati(A, 1.0, Q, 1.0, times)[:, 0, 0].values
    x = np.exp(np.concatenate(([0], np.cumsum((A - S * (policy[1:] + policy[:-1]) / 2) * np.diff(times)))))
    cost = np.trapezoid((Q * x**2 + (policy * x) ** 2) / 2, times)
    best = float(hj.riccati(A, 1.0, Q, 1.0, times, "backward")[0, 0, 0]) / 2
    assert best < cost < 1.5 * best
    assert abs(x[-1]) < 1e-10


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"a": np.eye(2)}, "a must have shape"),
        ({"q": -1.0}, "no negative eigenvalue"),
        ({"r": 0.0}, "positive eigenvalues"),
        ({"b": np.ones((1, 1, 1))}, "matrix or a number"),
        ({"times": [1.0, 0.0]}, "increase"),
        ({"direction": "sideways"}, "direction"),
        ({"a": np.diag([1.0, 2.0]), "b": [[1.0], [0.0]], "q": np.eye(2), "times": [0.0, 500.0]}, "no control reaches"),
    ],
)
def test_wrong_matrices_are_refused(given, words):
    arguments = {"a": A, "b": 1.0, "q": Q, "r": 1.0, "times": TIMES} | given
    with pytest.raises(hj.ProblemError, match=words):
        hj.riccati(**arguments)
