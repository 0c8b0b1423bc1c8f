"""What is stated: plain forms, files and recipes that are run again; channels and initial states by name."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from conftest import one_of, random_problem, recipes

import hamjl as hj


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


def test_initial_state_from_another_run(run):
    problem = random_problem(0, span=(2.0, 3.0))
    later = hj.Problem(
        problem.network, problem.objective, inputs=problem.inputs, target=problem.target, span=(2, 3),
        initial=run.isel(time=-1),
    )  # fmt: skip
    np.testing.assert_array_equal(hj.solve(later).w[0], run.w[-1])


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
    other = hj.Network.from_arcs([("u0", "y0"), ("u1", "y1")], inputs=["u0", "u1"])
    with pytest.raises(hj.ProblemError, match="other labels"):
        hj.Problem(other, hj.Objective(), inputs=problem.inputs, span=(0, 1), initial=run.isel(time=-1))


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
