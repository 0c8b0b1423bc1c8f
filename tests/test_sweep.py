"""Sweeps: every member is the run it stands for, wherever it is computed, and a failed one is a label."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import xarray as xr
from conftest import posix, random_problem

import hamjl as hj
from hamjl.errors import RunWarning

module = sys.modules["hamjl.sweep"]
OVER = {"q": [1.0, 30.0], "c": [0.5, 2.0], "seed": range(3)}
EVERY = {"every": 0.5}


def problem(q=3.0, c=1.0, seed=0) -> hj.Problem:
    return hj.Problem(
        hj.Network.layered([1, 3, 1], bias=True, velocity=c),
        hj.Objective(loss_weight=q, k=0.1, dissipation=1.0),
        inputs=hj.signals.cosine(1.0, 2.0),
        target=0.3,
        span=(0, 2),
        seed=seed,
    )


def test_members_are_the_runs_they_stand_for():
    swept = hj.sweep(problem(), OVER, method=hj.Euler(0.01), times=EVERY, workers=1)
    assert swept.w.dims == ("q", "c", "seed", "time", "arc")
    assert swept.w.shape[:4] == (2, 2, 3, 5)
    assert (swept.status == "success").all()
    for q in OVER["q"]:
        for c in OVER["c"]:
            for seed in OVER["seed"]:
                alone = hj.run(problem(q, c, seed), method=hj.Euler(0.01), times=EVERY)
                member = swept.sel(q=q, c=c, seed=seed)
                for name in alone.data_vars:
                    np.testing.assert_array_equal(member[name], alone[name], err_msg=str(name))


def test_analyses_of_a_sweep_and_its_members():
    swept = hj.sweep(problem(), {"q": [1.0, 30.0]}, method=hj.Euler(0.01), times=EVERY, workers=1)
    alone = hj.run(problem(30.0), method=hj.Euler(0.01), times=EVERY)
    for one in (swept.hamjl.tracking_error().isel(q=1), swept.isel(q=1).hamjl.tracking_error()):
        np.testing.assert_array_equal(one, alone.hamjl.tracking_error())
    for one in (swept.hamjl.weights().isel(q=1), swept.isel(q=1).hamjl.weights()):
        np.testing.assert_array_equal(one, alone.hamjl.weights())
    for analysis in ("cost", "energy_balance", "alignment"):
        expected = getattr(alone.hamjl, analysis)()
        got = getattr(swept.isel(q=1).hamjl, analysis)()
        for name in expected if isinstance(expected, xr.Dataset) else [...]:
            np.testing.assert_array_equal(got[name], expected[name])
    assert swept.isel(q=1).hamjl.recipe == alone.hamjl.recipe
    with pytest.raises(hj.ProblemError, match="Dataset of 2 runs: select one"):
        swept.hamjl.cost()


def test_a_function_of_the_parameters_and_paths_into_the_recipe():
    options = {"method": hj.Euler(0.01), "times": EVERY, "workers": 1}
    by_symbol = hj.sweep(problem(), OVER, **options)
    by_function = hj.sweep(problem, OVER, **options)
    xr.testing.assert_identical(by_symbol, by_function)
    paths = {"problem.objective.loss_weight": [1.0, 30.0], "velocity": [0.5, 2.0], "problem.seed": [0, 1, 2]}
    by_path = hj.sweep(problem(), paths, **options)
    np.testing.assert_array_equal(by_path.w, by_symbol.w)
    law = hj.sweep(problem(), {"frequency": [0.5, 1.0]}, hj.SignFlip(frequency=2.0), **options)
    expected = hj.run(problem(), hj.SignFlip(frequency=1.0), hj.Euler(0.01), times=EVERY)
    np.testing.assert_array_equal(law.w.sel(frequency=1.0), expected.w)


def test_processes_give_identical_numbers():
    options = {"method": "RK45", "times": EVERY}
    xr.testing.assert_identical(
        hj.sweep(problem(), OVER, workers=2, **options), hj.sweep(problem(), OVER, workers=1, **options)
    )


@pytest.mark.filterwarnings("ignore")  # of the cluster itself
def test_a_cluster_gives_identical_numbers():
    distributed = pytest.importorskip("distributed")
    options = {"method": "RK45", "times": EVERY}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        swept = hj.sweep(problem(), OVER, client=client, **options)
    xr.testing.assert_identical(swept, hj.sweep(problem(), OVER, workers=1, **options))


@pytest.mark.julia
def test_threads_of_julia_give_the_numbers_of_runs(julia):
    swept = hj.sweep(problem(), OVER, method=hj.Euler(0.01), times=EVERY, engine="julia")
    assert swept.attrs["engine"] == "julia"
    alone = hj.run(problem(30.0, 2.0, 1), method=hj.Euler(0.01), times=EVERY, engine="julia")
    np.testing.assert_array_equal(swept.w.sel(q=30.0, c=2.0, seed=1), alone.w)


def test_a_member_that_diverges_is_labelled():
    unstable = random_problem(1, span=(0, 400))
    over = {"theta": [0.7, 30.0]}
    swept = hj.sweep(unstable, over, hj.Cauchy(), hj.Euler(0.01), times=101, workers=1)
    with pytest.warns(RunWarning):
        alone = hj.run(unstable, hj.Cauchy(), hj.Euler(0.01), times=101)
    member = swept.sel(theta=0.7)
    assert str(member.status.values) == "diverged"
    rows = alone.sizes["time"]
    np.testing.assert_array_equal(member.w[:rows], alone.w)
    assert bool(member.w[rows:].isnull().all())


def test_a_member_that_cannot_be_run_is_labelled():
    """An undamped cycle has no equilibrium to start from."""
    network = hj.Network.fully_connected(2, self_loops=True, activation="a")
    cyclic = hj.Problem(network, hj.Objective(), target=0.1, span=(0, 1), initial={"x": 1.0, "w": 0.5})
    laws = {"law": ["backprop_limit", "costate_reversal"]}
    swept = hj.sweep(lambda law: hj.Recipe(cyclic, law, hj.Adaptive("RK45")), laws, workers=1)
    assert swept.status.values.tolist() == ["failed", "success"]
    assert "no reachable solution" in str(swept.message.values[0])
    assert bool(swept.w[0].isnull().all())


def test_a_member_that_cannot_be_built_is_labelled(tmp_path):
    def build(c):
        if c < 0:
            raise hj.ProblemError("too low.")
        return problem(c=c)

    options = {"method": hj.Euler(0.01), "times": EVERY, "workers": 1}
    alone = hj.run(problem(c=1.0), method=hj.Euler(0.01), times=EVERY)
    for given, told in ((problem(), "velocity must be"), (build, "too low.")):
        for _ in range(2):  # the second time out of the store
            swept = hj.sweep(given, {"c": [-1.0, 1.0]}, store=tmp_path / told, **options)
            assert swept.status.values.tolist() == ["failed", "success"]
            assert told in str(swept.message.values[0])
            assert bool(swept.w[0].isnull().all())
            np.testing.assert_array_equal(swept.w[1], alone.w)


def test_a_sweep_takes_up_the_rest(tmp_path, monkeypatch):
    options = {"method": hj.Euler(0.01), "times": EVERY, "workers": 1}
    compute, calls = module.compute, []

    def stopping(*packed):
        calls.append(packed)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return compute(*packed)

    monkeypatch.setattr(module, "compute", stopping)
    with pytest.raises(KeyboardInterrupt):
        hj.sweep(problem(), OVER, store=tmp_path / "sweep", **options)
    swept = hj.sweep(problem(), OVER, store=tmp_path / "sweep", **options)
    assert len(calls) == 6 + 7  # five were kept
    monkeypatch.undo()
    xr.testing.assert_identical(swept, hj.sweep(problem(), OVER, **options))
    with pytest.raises(hj.ProblemError, match="another"):
        hj.sweep(problem(), OVER | {"q": [1.0, 31.0]}, store=tmp_path / "sweep", **options)


LONG = """
import hamjl as hj
if __name__ == "__main__":
    p = hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=0.1, span=(0, 2))
    hj.sweep(p, {"method.step": [0.1, 1e-7, 0.2]}, method=hj.Euler(0.1), times=2, workers=WORKERS, store="sweep")
"""


@posix
@pytest.mark.parametrize(("workers", "finished"), [(1, [0]), (2, [0, 2])])
def test_ctrl_c_stops_a_sweep_and_keeps_what_is_finished(workers, finished, tmp_path):
    """As from a terminal, to all of its processes; the second member would take minutes."""
    (tmp_path / "script.py").write_text(LONG.replace("WORKERS", str(workers)))
    process = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    files = [tmp_path / "sweep" / f"member-{k:06d}.nc" for k in finished]
    try:
        while not all(file.exists() for file in files):
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=10)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert told.splitlines()[-1] == "KeyboardInterrupt"
    assert told.count("Traceback") == 1  # not one of each process
    assert sorted((tmp_path / "sweep").glob("member*")) == files


def test_members_that_were_not_finished_are_computed_again(tmp_path):
    options = {"method": hj.Euler(0.01), "times": EVERY, "workers": 1, "store": tmp_path / "sweep"}
    over = {"seed": range(4)}
    whole = hj.sweep(problem(), over, **options)
    half, cut, foreign, kept = sorted((tmp_path / "sweep").glob("member*"))
    member = xr.load_dataset(half)
    member.isel(time=[0]).assign_attrs(status="interrupted").to_netcdf(half)
    cut.write_bytes(cut.read_bytes()[:1000])
    xr.Dataset({"a": 1}).to_netcdf(foreign)
    before = kept.stat().st_mtime_ns
    xr.testing.assert_identical(hj.sweep(problem(), over, **options), whole)
    assert xr.load_dataset(half).attrs["status"] == "success"
    assert kept.stat().st_mtime_ns == before


def test_a_script_without_a_guard_is_told(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import hamjl as hj\n"
        "p = hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=0.1, span=(0, 1))\n"
        "hj.sweep(p, {'seed': [0, 1]}, method=hj.Euler(0.1), workers=2)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode != 0
    assert "__main__" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({}, "at least one parameter"),
        ({"q": []}, "at least one parameter"),
        ({"q": 10}, r"must be a list, got q=10"),
        ({"loss": "abc"}, r"must be a list, got loss='abc'"),
        ({"speed": [1.0]}, "one place"),
        ({"problem.net.velocity": [1.0]}, "no 'net'"),
        ({"problem.network.speed": [1.0]}, "known name, got 'speed'"),
        ({"c": [-1.0]}, "velocity"),
        ({"q": [1.0, 2.0], "problem.objective.loss_weight": [5.0, 6.0]}, "different places, got 'q' and"),
        ({"law.name": ["cauchy"], "law": ["cauchy"]}, "different places"),
    ],
)
def test_wrong_parameters(over, message):
    with pytest.raises(hj.ProblemError, match=message):
        hj.sweep(problem(), over, method=hj.Euler(0.1))


def test_members_have_the_same_samples():
    with pytest.raises(hj.ProblemError, match="same samples"):
        hj.sweep(problem(), {"method.step": [0.1, 0.3]}, method=hj.Euler(0.1), workers=1)


@pytest.fixture
def refused(monkeypatch):
    """Expect an error before any member is computed."""
    monkeypatch.setattr(module, "compute", None)

    def check(message, given, over, **options):
        with pytest.raises(hj.ProblemError, match=message):
            hj.sweep(given, over, method=hj.Euler(0.1), workers=1, **options)

    return check


def test_members_are_of_one_network(refused):
    """Two graphs of two neurons and two arcs."""

    def ring(back):
        present = [[0, 1], [1, 0]] if back else [[1, 0], [1, 0]]
        return hj.Problem(hj.Network.from_adjacency(present, outputs=1), hj.Objective(), target=0.1, span=(0, 1))

    refused("one network", ring, {"back": [False, True]})


@pytest.mark.parametrize("name", ["time", "w", "x", "neuron", "arc", "status", "message", "sign", "arc_source"])
def test_a_parameter_is_not_named_like_a_variable(name, refused):
    refused(f"variable, got '{name}'", lambda **given: problem(), {name: [1.0, 2.0]})


@pytest.mark.parametrize("times", ["abc", float("nan"), {1.0, 2.0}, 10.9, [0.0, float("nan")], 1])
def test_wrong_times(times, tmp_path, refused):
    refused("times must", problem(), {"seed": [0, 1]}, times=times)
    with pytest.raises(hj.ProblemError, match="times must"):
        hj.Recipe(problem(), times=times).save(tmp_path / "problem.toml")


def test_a_wrong_function_or_client(refused):
    refused("by name, got seed", lambda sead: problem(), {"seed": [0, 1]})
    pytest.importorskip("distributed")
    refused(r"distributed\.Client, got 5", problem(), {"seed": [0, 1]}, client=5)


PARENT = """
import sys; sys.path.insert(0, sys.argv[1])
import hamjl as hj
from conftest import posix, random_problem
if __name__ == "__main__":
    hj.sweep(random_problem(1, span=(0, 1e5)), {"seed": [1, 2, 3, 4]}, method=hj.Euler(0.01), times=3, workers=2)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="children are listed there on Linux")
def test_workers_end_with_the_process_that_started_them(tmp_path):
    """Point 20: soon, however it ended and whatever they are in the middle of."""
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", os.path.dirname(__file__)])
    listed, workers, deadline = f"/proc/{parent.pid}/task/{parent.pid}/children", [], time.monotonic() + 120
    while len(workers) < 2 and time.monotonic() < deadline:  # beside the tracker of resources
        time.sleep(0.5)
        with open(listed) as file:
            children = file.read().split()
        workers = [pid for pid in children if "spawn_main" in commandline(pid)]
    time.sleep(8.0)  # until they are at work
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while (left := [pid for pid in workers if "spawn_main" in commandline(pid)]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert len(workers) == 2
    assert left == []


def commandline(pid: str) -> str:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return file.read()
    except OSError:
        return ""
