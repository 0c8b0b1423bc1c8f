"""Runs: labels, samples, and how they end."""

import json
from contextlib import contextmanager

import numpy as np
import pytest
import xarray as xr
from conftest import random_problem, recipes, stiff, tight

import hamjl as hj
from hamjl import solving
from hamjl.engines import running


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


def test_statistics_and_versions_are_stored(run):
    assert run.hamjl.statistics["steps"] > 0
    assert set(json.loads(run.attrs["versions"])) >= {"hamjl", "numpy", "scipy"}
    assert run.attrs["engine"] == "python"


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


FEW = hj.Adaptive("RK45", max_steps=5)
CALLS = {
    "solve": lambda problem, folder: hj.solve(problem, method=FEW),
    "run": lambda problem, folder: hj.run(problem, method=FEW),
    "store": lambda problem, folder: hj.run(problem, method=FEW, store=folder / "run.zarr"),
    "resume": lambda problem, folder: hj.resume(folder / "run.zarr"),
    "session": lambda problem, folder: hj.Session(problem, method=FEW).advance(2.0),
    "compare": lambda problem, folder: hj.compare(problem, [("boundary_value", hj.Collocation(max_iterations=1))]),
    "state": lambda problem, folder: hj.Session(problem).state,
    "targets": lambda problem, folder: hj.Session(problem).feed(targets={}),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_warning_points_at_the_users_line(name, tmp_path):
    problem, call = random_problem(0), CALLS[name]
    if name == "resume":
        with pytest.warns(hj.RunWarning):
            CALLS["store"](problem, tmp_path)
    with pytest.warns((hj.RunWarning, DeprecationWarning)) as told:
        call(problem, tmp_path)
    assert {(one.filename, one.lineno) for one in told} == {(__file__, call.__code__.co_firstlineno)}
