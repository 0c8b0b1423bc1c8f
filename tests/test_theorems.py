"""Facts of the theory that have no other place."""

import re
from pathlib import Path

import numpy as np
import pytest
from conftest import random_problem, tight

import hamjl as hj

LAWS = [hj.Cauchy(), hj.CostateReversal(), hj.BackpropLimit(), hj.HamiltonianLearning()]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: type(law).__name__)
@pytest.mark.parametrize("seed", range(3))
def test_states_are_bounded_by_the_activation(law, seed, engine):
    """Proposition 1: |x_i(t)| ≤ max(|x_i(0)|, sup |σ|), however the weights move."""
    method = hj.Euler(0.01) if isinstance(law, hj.HamiltonianLearning) else tight(engine)
    run = hj.solve(random_problem(seed, acyclic=True), law, method, engine=engine)
    bound = np.maximum(abs(run.x[0]), 1.0)
    assert bool((abs(run.x) <= bound + 1e-9).all())
    assert float(abs(run.w - run.w[0]).max()) > 0.1


@pytest.mark.parametrize(("law", "sign"), [(hj.Cauchy(), 1.0), (hj.CostateReversal(), -1.0)], ids=["(16)", "(19)"])
def test_costates_grow_or_decay_at_the_velocity_on_a_dag(law, sign, engine):
    """Frozen weights, x at rest, unequal velocities: each neuron's own mode of p_x has the rate ±c_i."""
    c = np.array([1.0, 2.0, 3.5])
    network = hj.Network.layered([1, 2, 1], velocity=c)
    w = np.array([0.8, -0.6, 0.9, 0.7])
    x = np.tanh(0.5 * w[:2])
    x = np.append(x, np.tanh(w[2:] @ x))
    initial = {"x": x, "w": w, "p_x": [0.3, -0.2, 0.1]}
    problem = hj.Problem(network, hj.Objective(loss="none", m=1e300), inputs=0.5, span=(0, 3), initial=initial)
    run = hj.solve(problem, law, tight(engine), times=301, engine=engine)
    modes = [np.exp(sign * rate * run.time.values) for rate in c]
    fitted, left, *_ = np.linalg.lstsq(np.stack(modes, axis=1), run.p_x.values, rcond=None)
    assert (left < 1e-14 * (run.p_x.values**2).sum()).all()
    assert fitted[2, 2] == pytest.approx(0.1, rel=1e-6)  # the output's is alone
    assert abs(fitted[2, :2]).min() > 1e-3  # and feeds its parents


def test_the_page_of_theorems_names_tests_that_exist():
    root = Path(__file__).parent.parent
    page = (root / "docs" / "theorems.md").read_text(encoding="utf-8")
    commands = re.findall(r"`(test_\w+) -k (\"[^\"]+\"|\w+)`(?: and `-k (\w+)`)?", page)
    assert len(commands) > 20
    for module, *words in commands:
        names = re.findall(r"^def (test_\w+)", (root / "tests" / f"{module}.py").read_text(encoding="utf-8"), re.M)
        for word in (part for given in words for part in given.strip('"').split(" or ") if part):
            assert any(word in name for name in names), (module, word)
