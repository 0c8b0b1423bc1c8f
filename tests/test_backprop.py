"""Backpropagation as what the laws tend to: the instantaneous gradient, alignment with it, second-order forms."""

import autodiff
import numpy as np
import pytest
import xarray as xr
from conftest import assert_learns, random_problem, tight

import hamjl as hj


@pytest.fixture
def autodiff_gradient(elsewhere):
    """∂(c q L)/∂w_ij along a run, (time, arc), by torch through so many sweeps of the neurons."""

    def gradient(run: xr.Dataset, sweeps: int = 5) -> np.ndarray:
        problem = run.hamjl.recipe.problem
        rows = {name: run[name].values for name in "wuxz"}
        found = elsewhere(autodiff.gradients, autodiff.plain(problem.network), problem.objective.loss, rows, sweeps)
        return problem.network.velocity.mean() * problem.objective.loss_weight * found

    return gradient


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
@pytest.mark.parametrize("seed", range(3))
def test_backprop_gradient_on_a_dag_is_that_of_automatic_differentiation(seed, loss, autodiff_gradient):
    run = hj.solve(random_problem(seed, acyclic=True, loss=loss), hj.CostateReversal(), times=6)
    found = run.hamjl.backprop_gradient()
    assert found.dims == ("time", "arc")
    assert_learns(found, autodiff_gradient(run), run.hamjl.local_gradient(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("seed", range(3))
def test_backprop_gradient_on_a_cycle_is_that_of_its_fixed_point(seed, autodiff_gradient):
    """Autodiff through hundreds of sweeps of a contracting cycle."""
    base = random_problem(seed, dense=True)
    initial = {"x": {"normal": [0, 1]}, "w": {"uniform": [-0.4, 0.4]}}
    problem = hj.Problem(
        base.network, base.objective, inputs=base.inputs, target=base.target, span=(0, 0.2), initial=initial, seed=seed
    )
    run = hj.solve(problem, hj.CostateReversal(), times=4)
    found = run.hamjl.backprop_gradient()
    assert_learns(found, autodiff_gradient(run, sweeps=400), run.hamjl.local_gradient(), rtol=1e-9, atol=1e-11)


def test_no_gradient_where_there_is_no_target_and_none_without_a_fixed_point():
    time = np.array([0.0, 1.0])
    network = hj.Network.layered([1, 2, 1])
    target = hj.signals.series(xr.DataArray([np.nan, 0.5], {"time": time}, "time"), "previous")
    run = hj.solve(hj.Problem(network, hj.Objective(), inputs=0.5, target=target, span=(0, 1)), times=[0.0, 0.5, 1.0])
    assert float(abs(run.hamjl.backprop_gradient()[:2]).max()) == 0.0
    aligned = run.hamjl.alignment()
    assert aligned.relative_error.isnull().values.tolist() == [True, True, False]
    restless = hj.Network.from_arcs([("x", "x")], activation="a + 1")
    run = hj.solve(hj.Problem(restless, hj.Objective(), target=0.0, span=(0, 0.1), initial={"w": 1.0}), times=3)
    assert bool(run.hamjl.backprop_gradient()[0].isnull().all())


def test_alignment_against_vectors_written_out(autodiff_gradient):
    problem = random_problem(2, acyclic=True)
    run = hj.solve(problem, hj.CostateReversal(), times=7)
    aligned = run.hamjl.alignment()
    exact = autodiff_gradient(run)
    c = xr.DataArray(problem.network.velocity, {"neuron": list(problem.network.neurons)})
    g = (c * run.hamjl.normalized_costate()).transpose("time", "neuron").sel(neuron=run.arc_target.values).values
    feeding = xr.concat([run.u.rename(input="v"), run.x.rename(neuron="v")], "v").transpose("time", "v")
    term = g * feeding.sel(v=run.arc_source.values).values
    layer = {"x0": 1}  # longest path, by recursion over the arcs between neurons
    for name in problem.network.neurons[1:]:
        parents = run.arc_source.values[run.arc_target.values == name]
        layer[name] = 1 + max((layer[p] for p in parents if p.startswith("x")), default=0)
    assert aligned.layer.values.tolist() == sorted({layer[name] for name in run.arc_target.values})
    of_arc = np.array([layer[name] for name in run.arc_target.values])
    for k, (ours, theirs) in enumerate(zip(term, exact, strict=True)):
        at = aligned.isel(time=k)
        parts = {"": slice(None), **{depth: of_arc == depth for depth in at.layer.values}}
        for depth, part in parts.items():
            a, b = ours[part], theirs[part]
            cosine, error = (
                (at.layer_cosine.sel(layer=depth), at.layer_relative_error.sel(layer=depth))
                if depth
                else (at.cosine, at.relative_error)
            )
            if not b.any():
                assert bool(cosine.isnull() & error.isnull())
                continue
            assert float(error) == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(b), rel=1e-9)
            assert float(cosine) == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12)
    assert bool(aligned.cosine[1:].notnull().all())
    other = hj.solve(problem, hj.Cauchy(), times=7).hamjl.alignment()
    assert float(abs(other.cosine - aligned.cosine)[1:].min()) > 1e-3


def test_the_limit_is_aligned_at_every_instant(engine, autodiff_gradient):
    laws = (hj.BackpropLimit(), hj.CostateReversal())
    run, other = (
        hj.solve(random_problem(1, acyclic=True), law, tight(engine), times=11, engine=engine) for law in laws
    )
    assert float(run.hamjl.alignment().relative_error.max()) < 1e-12
    assert float(other.hamjl.alignment().relative_error.min()) > 1e-2
    local = (one.hamjl.local_gradient() for one in (run, other))
    expected = autodiff_gradient(run)
    assert_learns(next(local), expected, next(local), rtol=1e-10, atol=1e-12)


# -- second-order forms ------------------------------------------------------------------------------------------------
LAWS = {
    "cauchy (16)": hj.Cauchy(),
    "reversal (19)": hj.CostateReversal(),
    "sign flip": hj.SignFlip(frequency=1.0),
}


def rms(run: xr.Dataset) -> np.ndarray:
    residual = run.hamjl.second_order_residual()
    return np.array([float(np.sqrt((residual[name] ** 2).mean())) for name in ("w", "lambda")])


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dissipation", [0.7, "1 + t**2"])
def test_second_order_forms_agree_to_the_fourth_order_of_the_sampling(law, dissipation, engine):
    """w'' and λ' observed along (14), (18), (23) against (16), (19), with moving inputs and unequal velocities."""
    problem = random_problem(3, dissipation=dissipation)
    errors = [rms(hj.solve(problem, LAWS[law], tight(engine), times=times, engine=engine)) for times in (81, 161, 321)]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    np.testing.assert_allclose(orders, 4.0, atol=0.35)
    run = hj.solve(problem, LAWS[law], tight(engine), times=321, engine=engine)
    for observed in (run.w.differentiate("time"), run.hamjl.normalized_costate()):
        assert float(abs(observed.differentiate("time")).max()) > 0.1
    other = hj.CostateReversal() if law != "reversal (19)" else hj.Cauchy()
    recipe = hj.Recipe(problem, other, tight("python"), 321, "python")
    assert (rms(run.assign_coords(recipe=recipe.packed)) > 0.05).all()


def test_second_order_forms_agree_with_euler_to_its_first_order(engine):
    """Euler's w'' is that of (19) to rounding, since w' is linear in p_w; λ is not in p_x, and errs by the step."""
    problem = random_problem(3)
    errors = [
        rms(hj.solve(problem, hj.CostateReversal(), hj.Euler(step), times=10**6, engine=engine))
        for step in (0.004, 0.002, 0.001)
    ]
    assert max(error[0] for error in errors) < 1e-10
    run = hj.solve(problem, hj.CostateReversal(), hj.Euler(0.004), times=10**6, engine=engine)
    other = hj.Recipe(problem, hj.Cauchy(), hj.Euler(0.004), 10**6, "python")
    assert (rms(run.assign_coords(recipe=other.packed)) > 0.1).all()
    np.testing.assert_allclose(np.diff(np.log2([error[1] for error in errors])), -1.0, atol=0.05)


def test_second_order_residual_sees_the_wrong_sign():
    """A trajectory of (14) does not satisfy (19)."""
    run = hj.solve(random_problem(3), hj.Cauchy(), tight("python"), times=401)
    recipe = hj.Recipe(run.hamjl.recipe.problem, hj.CostateReversal(), tight("python"), 401, "python")
    assert (rms(run.assign_coords(recipe=recipe.packed)) > 100 * rms(run)).all()


def test_the_limit_has_the_heavy_balls_second_derivative(engine):
    """(20): w'' = -θ w' - λ_i x_j/m - (k/m) V_w."""
    run = hj.solve(random_problem(3, acyclic=True), hj.BackpropLimit(), tight(engine), times=2001, engine=engine)
    residual = run.hamjl.second_order_residual()
    assert list(residual) == ["w"]
    acceleration = float(abs(run.w.differentiate("time").differentiate("time")).max())
    assert float(abs(residual.w).max()) < 1e-5 * acceleration
    assert acceleration > 0.1
    # what the residual finds is so along (18) too, whose λ is another one; the gradient itself only along the limit
    other = hj.solve(random_problem(3, acyclic=True), hj.CostateReversal(), tight(engine), times=2001, engine=engine)
    assert float(abs(off_the_heavy_ball(run)).max()) < 1e-4 * acceleration
    assert float(abs(off_the_heavy_ball(other)).max()) > 1e-2 * acceleration


def off_the_heavy_ball(run: xr.Dataset) -> xr.DataArray:
    """w'' + θ w' + (∂(c q L)/∂w + c k V_w)/(m c) by differences in time, θ = 0.7, k = 0.3, m = 1, V = √(1 + w²)."""
    c = run.hamjl.recipe.problem.network.velocity.mean()
    slope = run.w.differentiate("time")
    force = run.hamjl.backprop_gradient() + c * 0.3 * run.w / np.sqrt(1 + run.w**2)
    return (slope.differentiate("time") + 0.7 * slope + force / c)[2:-2]
