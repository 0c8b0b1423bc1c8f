"""The right-hand sides against the equations of the paper, written out arc by arc, and their Jacobians."""

import numpy as np
import pytest
from conftest import finite_difference, random_network, random_problem

import hamjl as hj
from hamjl.dynamics import dynamics_of
from hamjl.lowering import lower

LAWS = {
    "cauchy": (hj.Cauchy(), 1, 1),
    "reversal": (hj.CostateReversal(), 1, -1),
    "flipped": (hj.SignFlip(frequency=1.0), -1, -1),
}


def by_hand(problem: hj.Problem, t: float, state_sign: int, costate_sign: int) -> dict[str, np.ndarray]:
    """(14) for φ = e^{θt} and p divided by φ, with plain loops over tanh neurons and the squared error."""
    net, obj, start = problem.network, problem.objective, problem.initial_state()
    x, w, p, pw = (start[name] for name in ("x", "w", "p_x", "p_w"))
    d, n, c = len(net.inputs), len(net.neurons), net.velocity
    v = np.concatenate(([np.cos(2 * t), 0.3], x))
    a = np.zeros(n)
    for e, (j, i) in enumerate(zip(net.source, net.target, strict=True)):
        a[i] += w[e] * v[j]
    g = c * (1 - np.tanh(a) ** 2) * p
    z = {0: 0.3 * np.cos(t) + 0.5, 1: 0.4}
    dx, dw, dp, dpw = np.zeros(n), np.zeros(len(w)), np.zeros(n), np.zeros(len(w))
    for i in range(n):
        dx[i] = c[i] * (-x[i] + np.tanh(a[i]))
        children = sum(w[e] * g[net.target[e]] for e in range(len(w)) if net.source[e] == d + i)
        dp[i] = c[i] * p[i] - children - (c.mean() * 3.0 * (x[i] - z[i]) if i in z else 0.0)
    for e, (j, i) in enumerate(zip(net.source, net.target, strict=True)):
        dw[e] = -pw[e] / (obj.m * c.mean())
        dpw[e] = -g[i] * v[j] - c.mean() * obj.k * w[e] / np.sqrt(1 + w[e] ** 2)
    theta = obj.dissipation
    return {
        "x": state_sign * dx,
        "w": state_sign * dw,
        "p_x": costate_sign * dp - theta * p,
        "p_w": costate_sign * dpw - theta * pw,
    }


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_right_hand_side_is_equation_14_with_the_laws_signs(law, dense, seed):
    problem = random_problem(seed, dense=dense)
    chosen, state_sign, costate_sign = LAWS[law]
    lowered = lower(problem, chosen, hj.Adaptive())
    dynamics = dynamics_of(lowered.field, lowered.law)
    y = lowered.initial
    s = -1.0 if law == "flipped" else 1.0
    found = dynamics.split(dynamics.rhs(y, dynamics.drive(0.7), s, np.empty_like(y)))
    for values, (name, expected) in zip(found, by_hand(problem, 0.7, state_sign, costate_sign).items(), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12, err_msg=name)
        assert np.abs(expected).max() > 1e-2
    for _, *signs in (LAWS[other] for other in set(LAWS) - {law}):
        rival = np.concatenate(list(by_hand(problem, 0.7, *signs).values()))
        assert np.abs(np.concatenate(found) - rival).max() > 1e-2


@pytest.mark.parametrize("law", [hj.Cauchy(), hj.CostateReversal(), hj.BackpropLimit()])
@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy", "log_cosh", "(y - z)**4 + sin(y)"])
@pytest.mark.parametrize("activation", ["tanh", ["softplus", "a + sin(a)", "gaussian", "logistic"]])
def test_jacobian_is_that_of_finite_differences(law, loss, activation):
    for seed in range(3):
        problem = random_problem(seed, loss=loss, activation=activation, dense=seed == 0, acyclic=seed > 0)
        if isinstance(law, hj.BackpropLimit) and seed == 0:
            continue  # whether a random cycle has a fixed point is another matter
        lowered = lower(problem, law, hj.Adaptive())
        dynamics = dynamics_of(lowered.field, lowered.law)
        y, drive = dynamics.restrict(lowered.initial), dynamics.drive(0.3)
        jacobian = dynamics.jacobian(y, drive, -1.0)
        jacobian = jacobian if isinstance(jacobian, np.ndarray) else jacobian.toarray()
        expected = finite_difference(lambda v, d=dynamics, k=drive: d.rhs(v, k, -1.0, np.empty_like(v)), y)
        np.testing.assert_allclose(jacobian, expected, rtol=1e-6, atol=1e-6 * abs(expected).max())


def test_jacobian_sparsity_is_the_locality_of_the_laws():
    """Each row touches itself, its parents and children; a child brings its activation, hence its arcs and parents.

    So the row of p_x^i may also hold the other parents of its children (they enter through a_k, which sits on the
    child), and that is all.
    """
    rng = np.random.default_rng(1)
    network = random_network(rng, neurons=12, inputs=2)
    sparse = rng.random(len(network.source)) < 0.35
    arcs = [tuple(arc.split("->")) for arc, keep in zip(network.arcs, sparse, strict=True) if keep]
    inputs = [name for name in network.inputs if any(j == name for j, _ in arcs)]
    network = hj.Network.from_arcs(arcs, inputs=inputs, neurons=network.neurons)
    problem = hj.Problem(
        network,
        hj.Objective(k=0.1),
        inputs=dict.fromkeys(inputs, 0.5),
        target=0.2,
        span=(0, 1),
        initial={name: {"normal": [0, 1]} for name in ("x", "w", "p_x", "p_w")},
    )
    lowered = lower(problem, hj.CostateReversal(), hj.Adaptive())
    dynamics = dynamics_of(lowered.field, lowered.law)
    pattern = dynamics.jacobian(lowered.initial, dynamics.drive(0.0), 1.0).toarray() != 0
    d, n, source, target = len(inputs), 12, network.source, network.target
    x, w, p, pw = (set(part) for part in dynamics.split(np.arange(dynamics.dimension)))
    first = {"x": min(x), "w": min(w), "p": min(p), "pw": min(pw)}

    def activation(i):  # what a_i is made of
        into = np.flatnonzero(target == i)
        return {first["w"] + e for e in into} | {first["x"] + source[e] - d for e in into if source[e] >= d}

    for i in range(n):
        children = [(e, target[e]) for e in np.flatnonzero(source == d + i)]
        touched = set(np.flatnonzero(pattern[first["x"] + i]))
        assert touched <= {first["x"] + i} | activation(i)
        allowed = {first["p"] + i, first["x"] + i}
        for e, k in children:
            allowed |= {first["p"] + k, first["w"] + e} | activation(k)
        assert set(np.flatnonzero(pattern[first["p"] + i])) <= allowed
    for e in range(len(source)):
        assert set(np.flatnonzero(pattern[first["w"] + e])) <= {first["pw"] + e}
        allowed = {first["w"] + e, first["pw"] + e, first["p"] + target[e]} | activation(target[e])
        allowed |= {first["x"] + source[e] - d} if source[e] >= d else set()
        assert set(np.flatnonzero(pattern[first["pw"] + e])) <= allowed
    assert pattern.mean() < 0.1


def test_hamiltonian_generates_the_flow():
    """x' = ∂H/∂p and p' = -∂H/∂x (φ = 1): equation (14) from (11), by finite differences of H alone."""
    for loss in ("squared_error", "softmax_cross_entropy", "binary_cross_entropy"):
        problem = random_problem(4, loss=loss, dissipation=0.0)
        lowered = lower(problem, hj.Cauchy(), hj.Adaptive())
        dynamics = dynamics_of(lowered.field, lowered.law)
        y, drive = lowered.initial, dynamics.drive(0.4)
        gradient = finite_difference(lambda v, d=dynamics, k=drive: np.atleast_1d(d.hamiltonian(v, k)), y)[0]
        half = len(y) // 2
        flow = dynamics.rhs(y, drive, 1.0, np.empty_like(y))
        np.testing.assert_allclose(flow, np.concatenate((gradient[half:], -gradient[:half])), rtol=1e-7, atol=1e-7)
