"""Large velocity: convergence to backpropagation on DAGs and on cycles, and where a cycle is unstable."""

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from conftest import stiff, tight

import hamjl as hj
from hamjl.cli import main
from hamjl.paper import convergence


@pytest.mark.parametrize("seed", range(3))
def test_errors_fall_like_one_over_the_velocity(seed, engine):
    """Corollary 1 and Proposition 4 over two decades of c on a random DAG each."""
    errors = convergence.sweep((1e2, 1e3, 1e4), (seed,), engine)
    for name in ("gradient_error", "weight_error"):
        assert float(errors[f"{name}_slope"][0]) == pytest.approx(-1.0, abs=0.1)
        np.testing.assert_allclose(np.diff(np.log10(errors[name][0])), -1.0, atol=0.1)
    off, size = zip(*(gradient_along_14(seed, c, engine) for c in (1e2, 2e2)), strict=True)
    assert min(size) > 1
    assert off[1] > 5 * off[0]


def gradient_along_14(seed: int, c: float, engine: str) -> tuple[float, float]:
    """Shortly after the start, the relative error of g_i x_j, and the size of the gradient."""
    base = convergence.problem(seed, c)
    problem = hj.Problem(
        base.network, base.objective, inputs=base.inputs, target=base.target, span=(0, 0.02), initial=base.initial,
        seed=seed,
    )  # fmt: skip
    run = hj.solve(problem, hj.Cauchy(), tight(engine), times=2, engine=engine)
    error = run.hamjl.local_gradient()[-1] - run.hamjl.backprop_gradient()[-1]
    size = float(np.linalg.norm(run.hamjl.backprop_gradient()[-1]))
    return float(np.linalg.norm(error)) / size, size


def test_reproduce_writes_errors_picture_and_text(tmp_path, monkeypatch):
    monkeypatch.setattr(convergence, "VELOCITIES", (1e2, 1e3))
    monkeypatch.setattr(convergence, "SEEDS", (1,))
    result = CliRunner().invoke(main, ["reproduce", "backprop-limit", "-o", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    errors = xr.load_dataset(tmp_path / "backprop-limit.nc")
    assert errors.gradient_error.shape == (1, 2)
    assert f"slope {float(errors.gradient_error_slope[0]):.4f}" in (tmp_path / "backprop-limit.txt").read_text()
    assert (tmp_path / "backprop-limit.png").stat().st_size > 10_000


# -- cyclic graphs with frozen weights: (19) is stable if and only if Re eig(diag(σ'(a)) Wᵀ) < 1 -----------------------
def cycle(w: np.ndarray, velocity: float, span: float, **options) -> hj.Problem:
    """Tanh neurons, each feeding all, with weights that cannot move (huge mass)."""
    n = len(w)
    network = hj.Network.fully_connected(n, inputs=1, self_loops=True, velocity=velocity)
    matrix = np.concatenate((options.pop("feed", np.zeros((n, 1))), w), axis=1)
    initial = {"w": network.arc_values(matrix), **options}
    return hj.Problem(network, hj.Objective(m=1e300), inputs=1.0, target=0.3, span=(0, span), initial=initial)


def test_a_stable_cycle_settles_on_the_fixed_points_gradient(engine):
    """Re eig < 1 though |eig| > 1, where sweeping x ← σ(a), p ← … would not converge: (18) does."""
    w = np.array([[-1.5, 2.0], [-2.0, -1.5]])
    feed = np.array([[0.1], [-0.1]])
    run = hj.solve(
        cycle(w, 10.0, 4.0, feed=feed, x=0.5), hj.CostateReversal(), stiff(engine, 1e-10, 1e-13), engine=engine
    )
    last = run.isel(time=-1)
    eigenvalues = np.linalg.eigvals((1 - last.x.values**2)[:, None] * w.T)
    assert eigenvalues.real.max() < 1 < abs(eigenvalues).max()
    assert float(run.hamjl.alignment().relative_error[-1]) < 1e-9
    assert float(run.hamjl.alignment().relative_error[0]) > 0.1
    assert float(abs(run.hamjl.backprop_gradient()[-1]).max()) > 1e-2
    other = hj.solve(cycle(w, 10.0, 1.0, feed=feed, x=0.5), hj.Cauchy(), tight(engine), times=3, engine=engine)
    assert float(other.hamjl.alignment().relative_error[-1]) > 0.1


@pytest.mark.parametrize("w", [[[0.4, 0.9], [0.8, 0.3]], [[1.3, 2.0], [-2.0, 1.3]]], ids=["real", "complex"])
def test_an_unstable_cycle_grows_at_the_predicted_rate(w, engine):
    """At x = 0, where σ' = 1 and where the flow stays, |p_x| grows like e^{c (Re eig - 1) t}."""
    w, c = np.array(w), 10.0
    rate = c * (np.linalg.eigvals(w.T).real.max() - 1)
    assert rate > 0
    run = hj.solve(cycle(w, c, 8.0), hj.CostateReversal(), tight(engine), times=801, engine=engine)
    assert float(abs(run.x).max()) < 1e-200  # the weights do move, by 1e-300
    assert growth(run, 4.0) == pytest.approx(rate, rel=0.02)
    other = hj.solve(cycle(w, c, 2.0), hj.Cauchy(), tight(engine), times=201, engine=engine)
    assert growth(other, 1.0) != pytest.approx(rate, rel=0.5)


def growth(run: xr.Dataset, since: float) -> float:
    """The rate at which |p_x|, which is not 0, grows."""
    size = np.sqrt((run.p_x**2).sum("neuron")).sel(time=slice(since, None))
    assert float(size.min()) > 0
    return np.polyfit(size.time, np.log(size), 1)[0]


def test_the_stability_condition_on_random_cycles(engine):
    """At the x = 0 of random cycles the costates settle on the fixed point's where Re eig < 1, and grow where not."""
    rng, c, span = np.random.default_rng(0), 10.0, 8.0
    seen = []
    while len(seen) < 10:
        w = rng.normal(0, 0.7, (3, 3))
        rate = c * (np.linalg.eigvals(w.T).real.max() - 1)
        if abs(rate) < 2.0:
            continue  # too near the edge to tell within the span
        run = hj.solve(cycle(w, c, span), hj.CostateReversal(), tight(engine), times=3, engine=engine)
        fixed = np.linalg.solve(np.eye(3) - w.T, [-0.3, 0.0, 0.0])
        assert np.linalg.norm(fixed) > 1e-2
        assert fate(run, fixed) == (rate < 0, rate > 0)
        seen.append(rate < 0)
        if rate < 0:  # which is no matter of the cycle alone: along (14) the sign is the other one
            other = hj.solve(cycle(w, c, 2.0), hj.Cauchy(), tight(engine), times=3, engine=engine)
            assert fate(other, fixed) == (False, True)
    assert set(seen) == {True, False}


def fate(run: xr.Dataset, fixed: np.ndarray) -> tuple[bool, bool]:
    """Whether p_x has settled at its fixed point by the last of three samples, and whether it has gone far from it."""
    first, _, last = np.linalg.norm(run.p_x.values - fixed, axis=1)
    return last < 1e-3 * first, last > 1e3 * first
