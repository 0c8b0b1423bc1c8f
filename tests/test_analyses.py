"""Analyses of trajectories: by name, of what the Dataset holds, and refused where they would be wrong."""

import pickle

import numpy as np
import pytest
import xarray as xr
from conftest import one_of, random_problem, recipes

import hamjl as hj


def test_weights_and_normalized_costate(run):
    matrix = run.hamjl.weights()
    assert matrix.dims == ("time", "target", "source")
    for arc, source, target in zip(run.arc.values, run.arc_source.values, run.arc_target.values, strict=True):
        np.testing.assert_array_equal(matrix.sel(source=source, target=target), run.w.sel(arc=arc))
    assert int((matrix[0] != 0).sum()) == run.sizes["arc"]
    a = (matrix * xr.concat([run.u.rename(input="source"), run.x.rename(neuron="source")], "source")).sum("source")
    slope = 1 - np.tanh(a.rename(target="neuron")) ** 2
    np.testing.assert_allclose(
        run.hamjl.normalized_costate(), (slope * run.p_x).transpose("time", "neuron"), rtol=1e-12
    )


def test_tracking_error_is_the_root_mean_square(run):
    late = run.sel(time=slice(1.0, None))
    expected = np.sqrt(((late.y - late.z) ** 2).mean("time"))
    np.testing.assert_allclose(run.hamjl.tracking_error(), expected)
    assert float(run.hamjl.tracking_error(start=0.0)[0]) != float(expected[0])


def test_the_tracking_error_needs_y_and_z_only(run):
    """Neither a recipe nor all labels nor the same samples; one sentence where nothing is left."""
    expected = run.hamjl.tracking_error()
    for part in (run[["y", "z"]].drop_attrs(), run.isel(neuron=[0], arc=0), run.isel(time=slice(None, None, -1))):
        np.testing.assert_allclose(part.hamjl.tracking_error(), expected)
    assert float(run.isel(output=1).hamjl.tracking_error()) == pytest.approx(float(expected[1]))
    many = xr.concat([run, run.assign(y=run.z + 3.0)], "repeat").drop_attrs().hamjl.tracking_error()
    np.testing.assert_allclose(many, [expected, [3.0, 3.0]])
    thin = run.assign(z=run.z[::10].rename(time="time_10")).hamjl.tracking_error()
    np.testing.assert_allclose(thin, run.isel(time=slice(None, None, 10)).hamjl.tracking_error())
    unsupervised = run.assign(z=run.z.where(run.output == "x0")).hamjl.tracking_error()
    assert np.isnan(unsupervised).values.tolist() == [False, True]
    for part, start, words in ((run, 2.5, "after the last sample"), (run.drop_vars("z"), None, "needs z over time")):
        with pytest.raises(hj.ProblemError, match=words):
            part.hamjl.tracking_error(start)


def test_weights_need_names_only(run):
    expected = run.hamjl.weights()
    xr.testing.assert_identical(run.drop_vars("recipe").hamjl.weights(), expected)
    both = xr.concat(
        [run, run.isel(time=slice(None, None, -1)).assign_coords(time=run.time)], "repeat", data_vars="all"
    )
    matrix = both.drop_vars("recipe").hamjl.weights()
    assert matrix.dims == ("repeat", "time", "target", "source")
    np.testing.assert_array_equal(matrix[1], expected[::-1])
    rare = run.assign(w=run.w[::10].rename(time="time_10"))
    np.testing.assert_array_equal(rare.hamjl.weights(), expected[::10])
    for part in (run.isel(arc=[0, 1]), run.drop_vars("recipe").isel(neuron=[0, 1]), run.drop_vars("arc")):
        with pytest.raises(hj.ProblemError, match="by name"):
            part.hamjl.weights()


def test_what_a_thinned_variable_is_needed_for(run):
    """An analysis refuses it by name; those that do without it are what they are."""
    rare = run.assign(p_w=run.p_w[::4].rename(time="time_4"))
    for analysis in ("normalized_costate", "local_gradient", "backprop_gradient", "alignment", "weights"):
        xr.testing.assert_equal(getattr(rare.hamjl, analysis)(), getattr(run.hamjl, analysis)())
    for analysis in ("cost", "energy_balance", "residual", "second_order_residual"):
        with pytest.raises(hj.ProblemError, match=r"^p_w is stored every 4th sample, .* without thin for p_w\.$"):
            getattr(rare.hamjl, analysis)()
    names = ("x", "w", "p_x", "p_w", "sign")
    all_rare = run.assign({name: run[name][::4].rename(time="time_4") for name in names})
    xr.testing.assert_allclose(all_rare.hamjl.cost(), run.isel(time=slice(None, None, 4)).hamjl.cost())
    xr.testing.assert_allclose(run.drop_vars("hamiltonian").hamjl.energy_balance(), run.hamjl.energy_balance())


def test_values_that_the_recipe_does_not_give_are_refused():
    """Gaps of the target that are filled in a Dataset are still there in its problem."""
    run = hj.run(recipes()["data"])
    with pytest.raises(hj.ProblemError, match=r"must be that of its values, got lagrangian .* where recipe and states"):
        (2 * run).hamjl.cost()
    for part in (run.astype(np.float32), run.fillna(0.0)):
        xr.testing.assert_allclose(part.hamjl.cost(), run.hamjl.cost(), rtol=1e-4)


def test_a_trajectory_is_pickled_after_its_analyses():
    run = hj.run(one_of(5.0))
    cost = run.hamjl.cost()
    again = pickle.loads(pickle.dumps(run))
    xr.testing.assert_identical(again, run)
    xr.testing.assert_identical(again.hamjl.cost(), cost)


def test_the_error_of_a_run_that_ended_early_is_none():
    run = hj.run(one_of(5.0))
    lost = run.assign(y=run.y.where(run.time < 1.5), z=run.z)
    assert np.isnan(lost.hamjl.tracking_error()).all()
    gaps = run.assign(z=run.z.where(run.time < 1.5))
    assert np.isfinite(gaps.hamjl.tracking_error()).all()


def test_parts_of_a_session_put_together_are_not_analysed_by_the_data_of_one():
    def data(*times: float) -> xr.DataArray:
        return xr.DataArray(np.sin(times), dims="time", coords={"time": list(times)})

    network, first = hj.Network.fully_connected(3), hj.signals.series(data(0.0, 0.5, 1.0), "linear")
    session = hj.Session(hj.Problem(network, hj.Objective(), target=first, span=(0, 1), seed=1), method=hj.Euler(0.1))
    parts = [session.advance(1.0)]
    session.feed(target=data(1.5, 2.0))
    parts.append(session.advance(2.0))
    moving = [part[["x", "w", "p_x", "p_w", "sign", "y", "z"]] for part in parts]
    both = hj.join(moving)
    with pytest.raises(hj.ProblemError, match=r"got a Dataset of 2 runs: select one"):
        both.hamjl.energy_balance()
    with pytest.raises(hj.ProblemError, match=r"from 0 to 2 and a recipe with data from 0 to 1: analyse the parts"):
        both.assign_coords(recipe=parts[0].recipe).hamjl.energy_balance()
    for part in parts:
        part.hamjl.energy_balance()
    both.hamjl.tracking_error()


def test_analyses_see_what_the_dataset_holds_now(run):
    """xarray keeps one accessor for a Dataset, whose variables may be replaced."""
    changed = run.drop_vars(["lagrangian", "hamiltonian"])  # which would say that it is not as it was
    before = changed.hamjl.cost()
    changed["p_w"] = 2 * changed.p_w
    xr.testing.assert_identical(changed.hamjl.cost(), changed.copy().hamjl.cost())
    assert float(changed.hamjl.cost()[-1]) > float(before[-1])
    changed["recipe"] = ((), changed.recipe.item().replace('"loss_weight": 3.0', '"loss_weight": 0.0'))
    assert changed.hamjl.recipe.problem.objective.loss_weight == 0.0
    assert float(changed.hamjl.cost()[-1]) == pytest.approx(float(changed.copy().hamjl.cost()[-1]))


def test_foreign_datasets_are_refused():
    with pytest.raises(hj.ProblemError, match="recipe"):
        xr.Dataset({"x": 1}).hamjl.normalized_costate()
    with pytest.raises(hj.ProblemError, match="networks"):
        hj.run(recipes()["system"]).hamjl.weights()


def test_analyses_of_one_sample_are_refused(run):
    for analysis in ("energy_balance", "residual", "tracking_error"):
        with pytest.raises(hj.ProblemError, match="two samples"):
            getattr(run.isel(time=[0]).hamjl, analysis)()


def test_analyses_go_by_name_not_by_position(run):
    shuffled = run.isel(neuron=[3, 1, 0, 2], arc=slice(None, None, -1)).transpose("arc", "neuron", "time", ...)
    xr.testing.assert_allclose(shuffled.hamjl.weights(), run.hamjl.weights())
    xr.testing.assert_allclose(shuffled.hamjl.normalized_costate(), run.hamjl.normalized_costate())
    xr.testing.assert_allclose(shuffled.hamjl.energy_balance(), run.hamjl.energy_balance())
    xr.testing.assert_allclose(shuffled.hamjl.residual(), run.hamjl.residual())
    for part in (
        run.isel(arc=slice(0, 3)),
        run.isel(time=slice(None, None, -1)),
        run.drop_vars("sign"),
        run.mean("time"),
    ):
        with pytest.raises(hj.ProblemError):
            part.hamjl.energy_balance()
    with pytest.raises(hj.ProblemError, match="one trajectory"):
        xr.concat([run, run], "repeat").hamjl.residual()


def test_the_energy_balance_leaves_out_intervals_in_which_the_sign_flips():
    run = hj.solve(random_problem(0), hj.SignFlip(every_step=True), hj.Euler(0.01), times={"every": 0.1})
    assert np.isnan(run.hamjl.energy_balance().imbalance).all()
