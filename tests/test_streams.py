"""Streams of samples: the objective that learns them as SGD with momentum does."""

import numpy as np
import pytest
import xarray as xr
from conftest import assert_learns

import hamjl as hj

STEP, MOMENTUM, RATE = 0.125, 0.8, 0.02


def layered() -> hj.Network:
    """3-5-2, tanh and linear outputs; with c τ = 1."""
    return hj.Network.layered([3, 5, 2], activation=["tanh", "identity"], velocity=1 / STEP)


def table(samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (sample, 3) and truths (sample, 2)."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(samples, 3)), rng.normal(size=(samples, 2))


def by_hand(u: np.ndarray, z: np.ndarray, objective: hj.Objective, steps: int, taught: int) -> hj.Problem:
    """Each sample for so many steps, told for `taught` of them from the middle on."""
    start = np.arange(len(u)) * steps
    when = np.stack((start, start + steps // 2, start + steps // 2 + taught), axis=1).ravel()
    values = np.full((len(when), z.shape[1]), np.nan)
    values[1::3] = z
    kept = np.append(np.diff(when) > 0, True)
    target = xr.DataArray(values[kept], {"time": when[kept] * STEP}, ("time", "channel"))
    last = len(u) * steps * STEP
    if when[-1] * STEP < last:
        target = xr.concat((target, target[-1:].assign_coords(time=[last])), "time")
    shown = xr.DataArray(u[[*range(len(u)), -1]], {"time": np.append(start * STEP, last)}, ("time", "channel"))
    inputs, target = (hj.signals.series(one, "previous") for one in (shown, target))
    return hj.Problem(
        layered(), objective, inputs=inputs, target=target, span=(0, last), initial={"w": {"normal": [0, 0.5]}}
    )


def gradient(hidden: np.ndarray, output: np.ndarray, u: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of |y - z|²/2, by backpropagation."""
    h = np.tanh(hidden @ u)
    error = output @ h - z
    return np.outer((1 - h**2) * (error @ output), u), np.outer(error, h)


def sgd(w: np.ndarray, u: np.ndarray, z: np.ndarray, decay: float = 0.0) -> np.ndarray:
    """Weights (sample, arc) before each sample, by SGD with momentum as textbooks have it."""
    net = layered()
    matrix = net.matrix(w)
    pair = [matrix[:5, :3].copy(), matrix[5:, 3:8].copy()]
    speed, rows = [np.zeros_like(part) for part in pair], []
    for one, truth in zip(u, z, strict=True):
        matrix[:5, :3], matrix[5:, 3:8] = pair
        rows.append(net.arc_values(matrix))
        for part, v, slope in zip(pair, speed, gradient(*pair, one, truth), strict=True):
            v[:] = MOMENTUM * v + slope + decay * part
            part -= RATE * v
    return np.array(rows)


@pytest.mark.parametrize(("steps", "decay"), [(1, 0.05), (4, 0.0)])
@pytest.mark.parametrize("scaled", [True, False])
def test_sgd_is_exact_with_neurons_at_rest_and_truth_of_one_step(steps, decay, scaled):
    """THEORY: μ = (1 - θτ)^{D/τ}, rate = S τ (1-μ)/(θ m), at the steps at which truth is told, whatever c."""
    u, z = table(60)
    told = {"dwell": steps * STEP, "taught": STEP, "step": STEP, "weight_decay": decay}
    runs = []
    for rate in (RATE, 1.1 * RATE):
        objective = hj.Objective.sgd(rate, MOMENTUM, **told)
        if not scaled:
            objective = hj.Objective(
                m=objective.m, k=objective.k, dissipation=objective.dissipation, scaled_by_velocity=False
            )
        problem = by_hand(u, z, objective, steps, 1)
        times = (np.arange(60) * steps + steps // 2) * STEP
        law = hj.HamiltonianLearning(instantaneous=True)
        runs.append(hj.solve(problem, law, hj.Euler(STEP), times=times).w.values)
    run, other = runs
    expected = sgd(run[0], u, z, decay)
    assert_learns(run - run[0], expected - expected[0], other - other[0], rtol=1e-10, atol=1e-10)


def test_a_sample_moves_the_weights_by_the_rate_over_one_minus_momentum():
    """As the rate falls: costate reversal with cτ = 1 moves w by rate/(1-μ) ∇L (1+θτ)^{-L} in all, L from the output.

    The truth is told for two steps, and the sample stays; p_w then decays to nothing.
    """
    u, z = (part[:1] for part in table(1))
    rate, dwell, taught, long = 1e-6, 8 * STEP, 2 * STEP, 1600
    objective = hj.Objective.sgd(rate, MOMENTUM, dwell=dwell, taught=taught, step=STEP)
    run = hj.solve(by_hand(u, z, objective, long, 2), method=hj.Euler(STEP), times=[0, long * STEP])
    matrix = layered().matrix(run.w.values[0])
    hidden, output = gradient(matrix[:5, :3], matrix[5:, 3:8], u[0], z[0])
    shrink = 2 - MOMENTUM ** (STEP / dwell)  # 1 + θτ
    moved = layered().matrix(run.w.values[-1] - run.w.values[0]) * (1 - MOMENTUM) / -rate
    np.testing.assert_allclose(moved[:5, :3], hidden / shrink**2, rtol=1e-4)
    np.testing.assert_allclose(moved[5:, 3:8], output / shrink, rtol=1e-4)
    assert abs(hidden).max() > 0.1


def test_costate_reversal_nears_sgd_as_the_rate_falls():
    """On a stream of 60 samples, from the first to the last: within a tenth of the way that the weights go."""
    u, z = table(60)
    objective = hj.Objective.sgd(RATE, MOMENTUM, dwell=8 * STEP, taught=2 * STEP, step=STEP)
    other = hj.Objective.sgd(RATE, MOMENTUM, dwell=8 * STEP, taught=STEP, step=STEP)
    times = (np.arange(60) * 8 + 4) * STEP
    run, rival = (
        hj.solve(by_hand(u, z, one, 8, 2), method=hj.Euler(STEP), times=times).w.values for one in (objective, other)
    )
    expected = sgd(run[0], u, z)
    way = abs(expected[-1] - expected[0]).max()
    assert way > 0.3
    assert abs(run - expected).max() < 0.1 * way < abs(rival - expected).max()


def test_sgd_without_a_step_is_the_limit_of_small_steps():
    limit = hj.Objective.sgd(0.01, 0.9, dwell=2.0, taught=0.5)
    small = hj.Objective.sgd(0.01, 0.9, dwell=2.0, taught=0.5, step=1e-7)
    assert limit.dissipation == pytest.approx(-np.log(0.9) / 2, rel=1e-12)
    assert limit.dissipation == pytest.approx(small.dissipation, rel=1e-6)
    assert limit.m == pytest.approx(small.m, rel=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dwell": -1.0, "taught": 1.0}, "dwell must be a positive number"),
        ({"dwell": 1.0, "taught": 2.0}, "at most while it stays"),
        ({"dwell": 1.0, "taught": 0.1, "step": 0.2}, "for a step or more"),
        ({"dwell": 1.0, "taught": 0.5, "momentum": 1.0}, "momentum must be more than 0"),
        ({"dwell": 1.0, "taught": 0.5, "momentum": 0.0}, "more than 0 without a step"),
        ({"dwell": 1.0, "taught": 0.5, "learning_rate": 0.0}, "learning_rate must be a positive number"),
    ],
)
def test_wrong_numbers_of_sgd(given, words):
    with pytest.raises(hj.ProblemError, match=words):
        hj.Objective.sgd(**{"learning_rate": 0.1} | given)
