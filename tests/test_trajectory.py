"""Trajectories: labels, files, re-running, early ends, analyses and plots."""

import json
import pickle
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from conftest import random_problem, stiff, tight
from matplotlib.patches import Circle, Rectangle

import hamjl as hj
from hamjl import solving
from hamjl.engines import running


@pytest.fixture(scope="module")
def run() -> xr.Dataset:
    return hj.solve(random_problem(0), hj.CostateReversal(), times=101)


def test_labels(run):
    network = run.hamjl.recipe.problem.network
    assert run.w.dims == ("time", "arc")
    assert run.x.dims == run.p_x.dims == ("time", "neuron")
    assert run.y.dims == run.z.dims == ("time", "output")
    assert run.u.sel(input="u1").values == pytest.approx(0.3)
    assert tuple(run.neuron.values) == network.neurons
    assert run.arc.values[0] == f"{run.arc_source.values[0]}->{run.arc_target.values[0]}"
    for variable in run.data_vars.values():
        assert variable.attrs["long_name"]
        assert variable.attrs["units"]
    assert "divided by φ" in run.attrs["scaling"]
    xr.testing.assert_equal(run.y, run.x.sel(neuron=["x0", "x1"]).rename(neuron="output"))


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


def recipes() -> dict[str, hj.Recipe]:
    time = np.linspace(0, 2, 9)
    u = xr.DataArray(
        np.stack((np.sin(time), np.cos(time)), 1), dims=("time", "c"), coords={"time": time, "c": ["u1", "u0"]}
    )
    z = xr.DataArray(np.where(time < 1, np.nan, 0.4), dims="time", coords={"time": time})
    network = hj.Network.layered([2, 3, 1], bias=True, activation={"x0": "a/(1 + exp(-a))"}, velocity={"x3": 2.0})
    data = hj.Problem(
        network,
        hj.Objective(loss="(y - z)**4", regularizer="1 - exp(-w**2)", k=0.2, dissipation="1 + t"),
        inputs=hj.signals.series(u, "cubic"),
        target={"x3": hj.signals.series(z, "previous")},
        span=(0, 2),
        initial={"x": np.full(4, 0.1), "w": {"normal": [0, 0.5]}},
        seed=7,
    )
    patched = hj.signals.patches(
        [(0, hj.signals.cosines([(0.1, 2, 0), (0.2, 3, 1)], 0.1)), (1, hj.signals.constant(0.3))]
    )
    analytic = hj.Problem(
        hj.Network.fully_connected(3), hj.Objective.tracking(q=5, r_w=1), target=patched, span=(0, 2), seed=3
    )
    arcs = hj.Network.from_arcs([("in", "a"), ("a", "b"), ("b", "a")], inputs=["in"], outputs=["b", "a"])
    cyclic = hj.Problem(
        arcs, hj.Objective(loss="softmax_cross_entropy"), inputs=1.0, target={"b": 1.0, "a": 0.0}, span=(0, 2)
    )
    system = hj.SymbolicSystem(
        {"x": "a*x + v"}, ["v"], "(x - z)**2 + v**2", span=(0, 2), parameters={"a": 0.1}, signals={"z": z.fillna(0.1)}
    )
    return {
        "data": hj.Recipe(data, hj.CostateReversal(), hj.Adaptive("LSODA"), times=[0.0, 0.5, 2.0]),
        "analytic": hj.Recipe(analytic, hj.SignFlip(every_step=True), hj.Euler(0.01), times=30),
        "cyclic": hj.Recipe(cyclic, hj.SignFlip(radius=3.0), hj.Adaptive("RK45", rtol=1e-5), times=5),
        "stepped": hj.Recipe(data, hj.HamiltonianLearning(instantaneous=True), hj.Euler(0.01), times=20),
        "system": hj.Recipe(system, hj.Cauchy(), hj.Adaptive("DOP853")),
    }


@pytest.mark.parametrize("name", recipes())
def test_a_trajectory_can_be_run_again_from_its_file(name, tmp_path):
    run = hj.run(recipes()[name])
    assert run.attrs["status"] == "success"
    run.to_netcdf(tmp_path / "run.nc")
    stored = xr.load_dataset(tmp_path / "run.nc")
    xr.testing.assert_identical(stored, run)
    xr.testing.assert_identical(hj.run(stored.hamjl.recipe), run)


@pytest.mark.parametrize("name", recipes())
def test_problem_files_round_trip(name, tmp_path):
    recipe = recipes()[name]
    recipe.save(tmp_path / "problem.toml")
    again = hj.Recipe.load(tmp_path / "problem.toml")
    xr.testing.assert_identical(hj.run(again), hj.run(recipe))
    again.save(tmp_path / "again.toml")
    text = (tmp_path / "problem.toml").read_text()
    assert (tmp_path / "again.toml").read_text() == text.replace("problem.arrays.nc", "again.arrays.nc")


def test_recipes_of_large_networks_are_small():
    problem = hj.Problem(hj.Network.fully_connected(300), hj.Objective(), target=0.1, span=(0, 1))
    assert len(hj.Recipe(problem).packed) < 1000


def test_fixed_step_runs_are_bitwise_the_same():
    recipe = recipes()["analytic"]
    xr.testing.assert_identical(hj.run(recipe), hj.run(recipe))


def test_output_at_requested_times_only():
    problem = random_problem(0)
    whole = hj.solve(problem, method=hj.Adaptive("DOP853", rtol=1e-10, atol=1e-12), times=201)
    some = hj.solve(problem, method=hj.Adaptive("DOP853", rtol=1e-10, atol=1e-12), times=[0.01, 0.5, 1.99])
    assert some.time.values.tolist() == [0.01, 0.5, 1.99]
    np.testing.assert_allclose(some.x[1], whole.x.sel(time=0.5), atol=1e-9)
    euler = hj.solve(problem, method=hj.Euler(0.01), times=[0.1, 0.75, 2.0])
    every = hj.solve(problem, method=hj.Euler(0.01), times=10**6)
    assert every.sizes["time"] == 201
    np.testing.assert_array_equal(euler.x, every.x.sel(time=euler.time, method="nearest"))


@pytest.mark.parametrize("method", ["euler", "explicit", "implicit"])
def test_a_diverging_run_keeps_what_is_finite_and_says_so(method, engine):
    problem = random_problem(1, span=(0.0, 2000.0))
    method = {"euler": hj.Euler(0.01), "explicit": tight(engine), "implicit": stiff(engine, 1e-6, 1e-9)}[method]
    with pytest.warns(hj.RunWarning, match="left the range"):
        run = hj.solve(problem, hj.Cauchy(), method, engine=engine)
    assert run.attrs["status"] == "diverged"
    assert 0 < run.sizes["time"] < 1001
    assert run.attrs["reached"] < 2000
    for name in ("x", "w", "p_x", "p_w", "hamiltonian"):
        assert bool(np.isfinite(run[name]).all())


def test_a_singularity_is_a_divergence():
    """w'' = w³-like growth blows up in finite time."""
    problem = hj.Problem(
        hj.Network.fully_connected(1, self_loops=True),
        hj.Objective(loss="none", regularizer="double_well", k=4.0),
        span=(0, 100),
        initial={"w": 2.0},
    )
    with pytest.warns(hj.RunWarning):
        run = hj.solve(problem, hj.Cauchy(), "DOP853")
    assert run.attrs["status"] == "diverged"


def test_too_many_steps():
    with pytest.warns(hj.RunWarning, match="max_steps"):
        run = hj.solve(random_problem(0), method=hj.Adaptive("RK45", max_steps=5))
    assert run.attrs["status"] == "max_steps"
    assert 0 < run.attrs["reached"] < 2
    assert run.time[-1] <= run.attrs["reached"]


@pytest.mark.parametrize("method", [hj.Euler(0.001), hj.Adaptive("RK45")], ids=str)
def test_an_interrupted_run_returns_what_it_has(method, monkeypatch):
    @contextmanager
    def interrupting(span, progress):
        def monitor(t):
            if t > 1.0:
                raise KeyboardInterrupt

        yield monitor

    monkeypatch.setattr(solving, "_bar", interrupting)
    monkeypatch.setattr(running, "SECONDS", 0.0)
    with pytest.warns(hj.RunWarning, match="interrupted"):
        run = hj.solve(random_problem(0), method=method)
    assert run.attrs["status"] == "interrupted"
    assert 0.5 < float(run.time[-1]) < 2.0


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


@pytest.mark.parametrize(
    "text", ["{", "[1]", "3", 3, "null", '{"problem": 1}', '{"problem": {"network": []}}', "[" * 9999]
)
def test_damaged_attributes_are_refused_in_a_sentence(run, text):
    part = run.assign_coords(recipe=str(text)).assign_attrs(statistics=text)
    with pytest.raises(hj.ProblemError) as refused:
        part.hamjl.recipe  # noqa: B018
    assert len(str(refused.value)) < 300
    assert refused.value.__cause__ is None
    if not str(text).startswith("{"):
        with pytest.raises(hj.ProblemError, match="statistics"):
            part.hamjl.statistics  # noqa: B018
    assert run.drop_attrs().hamjl.statistics == {}
    with pytest.raises(hj.ProblemError, match=r"got a Dataset without: keep the coordinate recipe"):
        run.drop_vars("recipe").hamjl.recipe  # noqa: B018


def test_values_that_the_recipe_does_not_give_are_refused():
    """Gaps of the target that are filled in a Dataset are still there in its problem."""
    run = hj.run(recipes()["data"])
    with pytest.raises(hj.ProblemError, match=r"must be that of its values, got lagrangian .* where recipe and states"):
        (2 * run).hamjl.cost()
    for part in (run.astype(np.float32), run.fillna(0.0)):
        xr.testing.assert_allclose(part.hamjl.cost(), run.hamjl.cost(), rtol=1e-4)


@pytest.mark.parametrize("options", [{}, {"coords": "minimal", "compat": "override"}], ids=["stacked", "overridden"])
def test_runs_put_together_keep_their_recipes_or_are_refused(options):
    """Costs of (q = 50) by the recipe of (q = 5) would be 10 times too small."""
    runs = [hj.run(one_of(q)) for q in (5.0, 50.0)]
    both = xr.concat(runs, xr.DataArray([5.0, 50.0], dims="q", name="q"), **options)
    for run in runs:
        q = run.hamjl.recipe.problem.objective.loss_weight
        if options and q == 50.0:
            with pytest.raises(hj.ProblemError, match="must be that of its values"):
                both.sel(q=q).hamjl.cost()
        else:
            xr.testing.assert_equal(both.sel(q=q).hamjl.cost(), run.hamjl.cost())
    with pytest.raises(hj.ProblemError, match="select"):
        both.hamjl.cost()


def one_of(q: float) -> hj.Recipe:
    target = xr.DataArray(np.sin(np.arange(5.0)), dims="time", coords={"time": np.arange(5.0)})
    network = hj.Network.fully_connected(3, self_loops=True)
    problem = hj.Problem(network, hj.Objective.tracking(q=q, r_w=1.0, r=0.1), target=target, span=(0, 2), seed=1)
    return hj.Recipe(problem, times=101)


def test_recipes_of_runs_one_after_another_in_time():
    """With data signals, too; nothing of the recipe is spread over time."""
    run = hj.run(one_of(5.0))
    again = xr.concat([run.isel(time=slice(50)), run.isel(time=slice(50, None))], "time")
    xr.testing.assert_identical(again, run)
    xr.testing.assert_identical(hj.join([run.isel(time=slice(50)), run.isel(time=slice(50, None))]), run)
    for parts in ([run, run], [], run, 3, [run, run.isel(neuron=[0]).assign_coords(time=run.time + 10.0)]):
        with pytest.raises(hj.ProblemError, match="parts to join must"):
            hj.join(parts)


def test_plain_forms_are_copies():
    """What is done to them, or to the arrays they were made of, is not done to the objects."""
    times = np.linspace(0, 2, 5)
    recipe, system = replace(one_of(5.0), times=times), recipes()["system"].problem
    for made in (recipe, recipe.problem, recipe.problem.network, recipe.problem.target, system):
        before, text = made.to_dict(), made.packed
        _spoil(made.to_dict())
        assert made.packed == text
        assert repr(made.to_dict()) == repr(before)
    times[1] = 0.1
    assert recipe.times[1] == 0.5
    with pytest.raises(ValueError, match="read-only"):
        recipe.times[1] = 0.1
    initial = recipe.problem.initial | {"w": np.ones(9)}
    given = hj.Problem(recipe.problem.network, hj.Objective(), target=0.1, span=(0, 1), initial=initial)
    initial["w"][0] = 5.0
    assert given.initial["w"][0] == 1.0


def _spoil(tree):
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if isinstance(value, dict | list):
            _spoil(value)
        elif isinstance(value, xr.DataArray | np.ndarray):
            value[...] = 7.0
        else:
            tree[key] = 7


def test_equality_and_hash_are_of_what_is_stated():
    recipe = one_of(5.0)
    same, other = one_of(5.0), one_of(6.0)
    for one, like, unlike in (
        (recipe, same, other),
        (recipe.problem, same.problem, other.problem),
        (recipe.problem.target, same.problem.target, hj.signals.constant(1.0)),
        (recipe.problem.network, same.problem.network, hj.Network.fully_connected(3)),
        (recipes()["system"].problem, recipes()["system"].problem, recipe.problem),
    ):
        assert one == like
        assert hash(one) == hash(like)
        assert one != unlike
        assert len({one, like, unlike}) == 2
    arcs = [(source, target) for target in ("x0", "x1", "x2") for source in ("x0", "x1", "x2")]
    assert hj.Network.from_arcs(arcs, neurons=["x0", "x1", "x2"]) == recipe.problem.network
    assert recipe != replace(recipe, times=11)
    control = xr.DataArray(np.ones((2, 9)), {"time": [0.0, 2.0]}, ("time", "arc"))
    assert hj.Collocation(start=control) == hj.Collocation(start=control.copy())
    assert len({hj.Collocation(start=control), hj.Collocation(start=2 * control), hj.Collocation()}) == 3
    assert pickle.loads(pickle.dumps(recipe)) == recipe


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
    session.feed(targets=data(1.5, 2.0))
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


def beyond_its_formula() -> hj.Problem:
    """The logarithm of the target cos t, which has no value after t = π/2; its derivative by y is 0."""
    objective = hj.Objective(loss="(y - z)**2 + log(z)", regularizer="w**2", k=0.1)
    return hj.Problem(hj.Network.fully_connected(2), objective, target=hj.signals.cosine(1.0, 1.0), span=(0, 3), seed=0)


@pytest.mark.parametrize("method", [hj.Euler(0.1), hj.Adaptive("DOP853")], ids=str)
def test_energies_without_a_value_are_told(method, tmp_path):
    words = r"loss, lagrangian, hamiltonian \(first at t = 1.6\)"
    times = {"every": 0.1}
    with pytest.warns(hj.RunWarning, match=words):
        run = hj.solve(beyond_its_formula(), method=method, times=times)
    assert run.attrs["status"] == "success"  # it did reach the end, and x, w and their costates are numbers
    assert run.attrs["message"].startswith("the run is complete; ")
    assert "(first at t = 1.6)" in run.attrs["message"]
    assert np.isfinite(run.x).all()
    with pytest.warns(hj.RunWarning, match=words):
        stored = hj.run(beyond_its_formula(), method=method, times=times, store=tmp_path / "run.zarr")
    assert stored.attrs == run.attrs
    after = run.time > 1.65
    np.testing.assert_array_equal(np.isnan(run.hamjl.cost()), after | np.isnan(run.loss))
    for analysis in ("energy_balance", "residual", "second_order_residual", "alignment", "normalized_costate"):
        getattr(run.hamjl, analysis)()  # without warnings of NumPy's


def test_costs_of_negative_weights_are_told_and_missing_targets_are_not():
    network = hj.Network.fully_connected(2)
    weights = hj.Objective(regularizer="log(w)", k=0.01)
    problem = hj.Problem(network, weights, target=0.1, span=(0, 0.1), initial={"w": [-1.0, 1.0]})
    with pytest.warns(hj.RunWarning, match=r"for lagrangian, hamiltonian \(first at t = 0\)"):
        run = hj.solve(problem, method=hj.Euler(0.01))
    assert np.isnan(run.hamjl.cost()[1:]).all()
    late = xr.DataArray([np.nan, 0.1, np.nan], dims="time", coords={"time": [0.0, 0.04, 0.1]})
    gaps = hj.Problem(network, hj.Objective(), target=hj.signals.series(late, "previous"), span=(0, 0.1))
    assert np.isnan(hj.solve(gaps, method=hj.Euler(0.01)).z).any()


def test_initial_state_from_another_run(run):
    problem = random_problem(0, span=(2.0, 3.0))
    later = hj.Problem(
        problem.network, problem.objective, inputs=problem.inputs, target=problem.target, span=(2, 3),
        initial=run.isel(time=-1),
    )  # fmt: skip
    np.testing.assert_array_equal(hj.solve(later).w[0], run.w[-1])


def test_statistics_and_versions_are_stored(run):
    assert run.hamjl.statistics["steps"] > 0
    assert set(json.loads(run.attrs["versions"])) >= {"hamjl", "numpy", "scipy"}
    assert run.attrs["engine"] == "python"


def test_foreign_datasets_are_refused():
    with pytest.raises(hj.ProblemError, match="recipe"):
        xr.Dataset({"x": 1}).hamjl.normalized_costate()
    with pytest.raises(hj.ProblemError, match="networks"):
        hj.run(recipes()["system"]).hamjl.weights()


def test_analyses_of_one_sample_are_refused(run):
    for analysis in ("energy_balance", "residual", "tracking_error"):
        with pytest.raises(hj.ProblemError, match="two samples"):
            getattr(run.isel(time=[0]).hamjl, analysis)()


@pytest.mark.parametrize("plot", ["plot_tracking", "plot_energies", "plot_weights", "plot_network"])
def test_plots_label_their_axes_and_draw_where_told(plot, run):
    _, (left, right) = plt.subplots(1, 2)
    assert getattr(run.hamjl, plot)(ax=left) is left
    assert not right.has_data()
    alone = getattr(run.hamjl, plot)()
    assert alone is not left
    if plot != "plot_network":
        assert alone.get_xlabel() == "time"
        assert alone.get_ylabel()
        assert alone.get_legend() is not None
    plt.close("all")


def test_plots_of_unusual_networks():
    many = hj.Problem(hj.Network.fully_connected(9, outputs=8), hj.Objective(), target={"x0": 0.1}, span=(0, 1))
    run = hj.solve(many, times=3)
    for plot in ("plot_tracking", "plot_weights", "plot_network"):
        getattr(run.hamjl, plot)()
    with pytest.raises(hj.ProblemError, match="keep it"):
        run.drop_vars("w").hamjl.plot_weights()
    plt.close("all")


def values_of(ax: plt.Axes) -> list[np.ndarray]:
    """What lines of an axes show, those of its legend left out."""
    return [line.get_ydata() for line in ax.lines if len(line.get_ydata())]


def test_a_selected_output_or_arc_is_plotted(run):
    """A label that was selected leaves no dimension behind; the plot is of that one, and says of which."""
    for one in (run.isel(output=1), run.sel(output="x1")):
        ax = one.hamjl.plot_tracking()
        np.testing.assert_array_equal(values_of(ax), [run.y[:, 1], run.z[:, 1]])
        assert "x1" in ax.get_ylabel()
        assert one.drop_vars("z").hamjl.plot_tracking().lines
    arc = str(run.arc.values[2])
    ax = run.sel(arc=arc).hamjl.plot_weights()
    np.testing.assert_array_equal(values_of(ax), [run.w.sel(arc=arc)])
    assert ax.get_legend().get_texts()[0].get_text() == arc
    texts = {text.get_text() for text in run.sel(arc=arc).drop_vars("neuron").hamjl.plot_network().texts}
    assert set(arc.split("->")) <= texts
    plt.close("all")


PARTS = {
    "thinned": lambda run: run.isel(time=slice(None, None, 7)),
    "coarsened": lambda run: run.coarsen(time=10, boundary="trim").mean(),
    "interpolated": lambda run: run.interp(time=np.linspace(0, 2, 7)),
    "an output, a neuron, an input": lambda run: run.isel(output=0, neuron=3, input=1),
    "some arcs": lambda run: run.isel(arc=[5, 1]),
    "of its own samples": lambda run: run.assign(w=run.w[::10].rename(time="time_10")),
    "one sample": lambda run: run.isel(time=[3]),
    "no names": lambda run: run.drop_vars(["arc_source", "arc_target", "neuron", "output", "input"]),
    "no attributes": lambda run: run.drop_attrs(),
    "ended early": lambda run: run.where(run.time < 1.0),
}


@pytest.mark.parametrize("part", PARTS)
def test_plots_of_parts(run, part):
    for plot in ("plot_tracking", "plot_energies", "plot_weights", "plot_network"):
        assert getattr(PARTS[part](run).hamjl, plot)().has_data() or plot == "plot_network"
    assert len(PARTS[part](run).hamjl.plot_overview().axes) == 5  # and a bar of colours
    plt.close("all")


def test_plots_are_of_one_run(run):
    both = xr.concat([run, run], "repeat")
    for plot in ("plot_tracking", "plot_energies", "plot_weights", "plot_network", "plot_overview"):
        with pytest.raises(hj.ProblemError, match="'repeat' too: select along it"):
            getattr(both.hamjl, plot)()
    plt.close("all")


def test_the_network_is_drawn_at_the_sample_nearest_to_a_time(run):
    """The samples are 0.02 apart."""
    for time, title in ((None, "t = 2"), (0.509, "t = 0.5"), (0.511, "t = 0.52"), (0, "t = 0"), (2, "t = 2")):
        assert run.hamjl.plot_network(time=time).get_title() == title
    assert run.isel(time=5).hamjl.plot_network().get_title() == "t = 0.1"
    assert run.where(run.time < 1.0).hamjl.plot_network().get_title() == "t = 0.98"
    for part, time, words in ((run, -1, "0 to 2, got -1"), (run, np.nan, "finite"), (run.isel(time=5), 0.1, "omit it")):
        with pytest.raises(hj.ProblemError, match=words):
            part.hamjl.plot_network(time=time)
    plt.close("all")


def test_one_bar_of_colours_for_all_that_is_drawn_on_the_same_axes(run):
    _, ax = plt.subplots()
    for time in (0.0, 1.0, 2.0):
        ax.clear()
        run.hamjl.plot_network(ax, time)
        assert len(ax.figure.axes) == 2
    largest = float(abs(run.w[-1]).max())
    assert ax.figure.axes[1].get_ylim()[1] == pytest.approx(largest)
    plt.close("all")


def tracker(outputs: int, neurons: int = 6) -> xr.Dataset:
    network = hj.Network.fully_connected(neurons, outputs=outputs)
    target = {name: 0.1 * k for k, name in enumerate(network.outputs)}
    problem = hj.Problem(network, hj.Objective(), target=target, span=(0, 1), seed=0)
    return hj.solve(problem, method=hj.Euler(0.1))


@pytest.mark.parametrize(("outputs", "neurons"), [(1, 6), (3, 6), (6, 6), (20, 20), (1, 50)])
def test_legends_leave_the_curves_their_room(outputs, neurons):
    figure = tracker(outputs, neurons).hamjl.plot_overview()
    figure.draw_without_rendering()
    for ax in figure.axes[:3]:
        legend, box = ax.get_legend().get_window_extent(), ax.get_window_extent()
        assert legend.height < 0.2 * box.height
        assert legend.width < 1.15 * box.width
        assert box.width > 0.36 * figure.bbox.width
    plt.close("all")


def layered(*sizes: int, **options) -> xr.Dataset:
    network = hj.Network.layered(sizes, **options)
    inputs = {f"u{k}": 0.1 for k in range(sizes[0])}
    target = dict.fromkeys(network.outputs, 0.1)
    problem = hj.Problem(network, hj.Objective(), inputs=inputs, target=target, span=(0, 1), seed=0)
    return hj.solve(problem, method=hj.Euler(0.5))


CROWDED = {
    "2-8-1": lambda: layered(2, 8, 1),
    "2-8-1 with bias": lambda: layered(2, 8, 1, bias=True),
    "64-16-10": lambda: layered(64, 16, 10),
    "50 fully connected": lambda: tracker(1, 50),
    "6 fully connected": lambda: tracker(6),
}


@pytest.mark.parametrize("network", CROWDED)
def test_crowded_networks_are_readable(network):
    """Neither vertices nor their names lie on one another, and no name is too small."""
    ax = CROWDED[network]().hamjl.plot_network()
    ax.figure.draw_without_rendering()
    vertices = [patch for patch in ax.patches if isinstance(patch, Circle | Rectangle)]
    for one, other in combinations(vertices, 2):
        apart = np.hypot(*np.subtract(one.get_center(), other.get_center()))
        radii = [patch.get_width() / 2 for patch in (one, other)]
        assert apart == 0 or apart > sum(radii)  # a ring is around its circle
    assert ax.texts
    for text in ax.texts:
        assert text.get_fontsize() > 5
    for one, other in combinations(ax.texts, 2):
        if one.get_rotation() or other.get_rotation():
            places = ax.transData.transform([one.xy, other.xy])
            assert np.hypot(*(places[0] - places[1])) > one.get_fontsize() * ax.figure.dpi / 72
        else:
            assert not one.get_window_extent().overlaps(other.get_window_extent())
    plt.close("all")


def test_an_overview_of_a_system():
    system = hj.run(recipes()["system"])
    figure = system.hamjl.plot_overview()
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["state x", "control v (1/time)", "cost per unit of time", "costate p/φ (cost)"]
    np.testing.assert_array_equal(values_of(figure.axes[0]), [system.x[:, 0]])
    assert len(system[["v"]].hamjl.plot_overview().axes) == 1
    with pytest.raises(hj.ProblemError, match="got no variables"):
        system[[]].hamjl.plot_overview()
    plt.close("all")


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


@pytest.mark.parametrize(
    ("what", "names", "got"),
    [
        ("target", ["x0", "x2"], "x0"),  # neurons, but no outputs
        ("target", ["x3", "x0"], "x0"),  # one of them an output
        ("target", ["x3", "next"], "next"),
        ("target", ["u0", "u1"], "u0"),
        ("inputs", ["u1", "x0"], "x0"),
        ("inputs", ["bias", "u0"], "bias"),
    ],
)
def test_channels_named_after_other_vertices_are_refused(what, names, got):
    network = hj.Network.layered([2, 3, 2], bias=True)
    data = xr.DataArray(np.zeros((2, 2)), dims=("time", "channel"), coords={"time": [0.0, 1.0], "channel": names})
    given = {"inputs": {"u0": 0.1, "u1": 0.2}} | {what: data}
    with pytest.raises(hj.ProblemError, match=f"named after vertices.*got '{got}'"):
        hj.Problem(network, hj.Objective(), span=(0, 1), **given)


def test_the_one_channel_of_another_vertex_is_refused():
    data = xr.DataArray(np.zeros((2, 1)), dims=("time", "neuron"), coords={"time": [0.0, 1.0], "neuron": ["x1"]})
    with pytest.raises(hj.ProblemError, match=r"named after vertices must be \['x0'\], got 'x1'"):
        hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=data, span=(0, 1))


def test_channels_with_names_of_their_own_go_by_order():
    time, values = [0.0, 1.0], np.array([[1.0, 2.0], [3.0, 4.0]])
    data = xr.DataArray(values, dims=("time", "column"), coords={"time": time, "column": ["now", "next"]})
    problem = hj.Problem(hj.Network.fully_connected(3, outputs=["x2", "x0"]), hj.Objective(), target=data, span=(0, 1))
    z = hj.solve(problem, times=2).z
    np.testing.assert_array_equal(z.sel(output="x2"), values[:, 0])
    np.testing.assert_array_equal(z.sel(output="x0"), values[:, 1])


def test_initial_states_go_by_name(run):
    problem = random_problem(0)
    same = hj.Problem(
        problem.network, problem.objective, inputs=problem.inputs, target=problem.target, span=(0, 1),
        initial=run.isel(time=-1, neuron=[2, 0, 1, 3]),
    )  # fmt: skip
    np.testing.assert_array_equal(same.initial_state()["x"], run.x[-1])
    other = hj.Network.from_adjacency(problem.network.matrix(np.ones(12))[:, ::-1] + 1, outputs=2)
    with pytest.raises(hj.ProblemError, match="arcs"):
        hj.Problem(other, problem.objective, inputs=problem.inputs, span=(0, 1), initial=run.isel(time=-1))


def test_a_problem_keeps_its_own_copy_of_data():
    data = xr.DataArray([0.0, 1.0, 0.0], dims="time", coords={"time": [0.0, 0.5, 1.0]})
    weights = np.ones(2)
    problem = hj.Problem(
        hj.Network.fully_connected(2), hj.Objective(), target=data, span=(0, 1), initial={"w": weights}
    )
    before = hj.solve(problem, times=5)
    data[:], weights[:] = 5.0, 7.0
    xr.testing.assert_identical(hj.solve(problem, times=5), before)
    xr.testing.assert_identical(hj.run(before.hamjl.recipe), before)


def test_a_numpy_flag_is_a_flag():
    problem = hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=0.1, span=(0, 1))
    run = hj.solve(problem, hj.SignFlip(every_step=np.True_), hj.Euler(0.1))
    assert run.sign.values.tolist() == [1.0, -1.0] * 5 + [1.0]


def test_euler_saves_its_last_step():
    problem = hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=0.1, span=(0, 25.01))
    for times in (None, 7):
        run = hj.solve(problem, method=hj.Euler(0.01), times=times)
        assert float(run.time[-1]) == pytest.approx(25.01)
        assert run.attrs["reached"] == pytest.approx(25.01)


def test_a_run_by_whole_steps_does_not_claim_the_end_of_its_span():
    problem = hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=0.1, span=(0, 1))
    run = hj.solve(problem, method=hj.Euler(0.3))
    assert (run.attrs["status"], run.attrs["reached"]) == ("success", pytest.approx(0.9))
    assert run.attrs["message"] == "the run is complete"


@pytest.mark.parametrize("solver", ["auto", "BDF", "DOP853"])
def test_breakpoints_equal_but_for_rounding_are_one(solver):
    def target(times):
        data = xr.DataArray([0.0, 1.0, 0.5, 0.5], dims="time", coords={"time": times})
        return hj.signals.series(data, "previous")

    network = hj.Network.fully_connected(3, outputs=2)
    both = {"x0": target([0, 0.3, 0.7, 1]), "x1": target([0, 0.1 * 3, 0.1 * 7, 1])}
    run = hj.solve(hj.Problem(network, hj.Objective(), target=both, span=(0, 1)), method=solver)
    assert run.attrs["status"] == "success"
    assert run.hamjl.statistics["restarts"] == 3


def test_large_layered_limits_run():
    problem = hj.Problem(
        hj.Network.layered([20, 60, 60, 5]),
        hj.Objective(dissipation=1.0),
        inputs={f"u{k}": 0.1 for k in range(20)},
        target={"x120": 0.2},
        span=(0, 0.1),
        initial={"w": {"normal": [0, 0.1]}},
    )
    assert hj.solve(problem, hj.BackpropLimit(), times=3).attrs["method"] == "DOP853"
    with pytest.raises(hj.EngineError, match="full"):
        hj.solve(problem, hj.BackpropLimit(), "BDF")


def test_labelled_initial_values_go_by_their_labels():
    problem = random_problem(0)
    state = hj.solve(problem, method=hj.Euler(0.01)).isel(time=-1)
    shuffled = {"x": state.x[::-1], "w": state.w[::-1]}
    given = hj.Problem(
        problem.network, problem.objective, inputs=problem.inputs, target=problem.target, span=(0, 1), initial=shuffled
    )
    np.testing.assert_array_equal(given.initial_state()["w"], state.w)
    np.testing.assert_array_equal(given.initial_state()["x"], state.x)
    with pytest.raises(hj.ProblemError, match="other labels"):
        hj.Problem(
            problem.network, problem.objective, inputs=problem.inputs, target=problem.target, span=(0, 1),
            initial={"w": state.w.assign_coords(arc=state.arc.values + "?")},
        )  # fmt: skip


def test_the_energy_balance_leaves_out_intervals_in_which_the_sign_flips():
    run = hj.solve(random_problem(0), hj.SignFlip(every_step=True), hj.Euler(0.01), times={"every": 0.1})
    assert np.isnan(run.hamjl.energy_balance().imbalance).all()
