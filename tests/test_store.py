"""Stored runs: what is committed is never lost, and a run goes on as if nothing had happened."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from conftest import random_problem

import hamjl as hj
from hamjl import store as store_module
from hamjl.store import create

EVERY = {"every": 0.02}
CHILD = """
import sys, hamjl as hj
recipe = hj.open(sys.argv[1]).hamjl.recipe
warm = hj.Session(recipe.problem, recipe.law, recipe.method, engine=recipe.engine)
warm.advance(recipe.problem.span[0] + 0.001)  # imports and compilers first, so that what follows is the run
print("go", flush=True)
hj.resume(sys.argv[1], progress=False)
"""


def problem(stop: float = 4.0) -> hj.Problem:
    return random_problem(3, span=(0.0, stop))


def method(engine: str, kind: str) -> hj.Method:
    """A method of each kind that runs for a second or more."""
    if kind == "euler":
        return hj.Euler(1e-4 if engine == "python" else 1e-6)
    return hj.Adaptive({"python": "BDF", "julia": "FBDF"}[engine], rtol=1e-9, atol=1e-11)


def assert_same_values(got: xr.Dataset, expected: xr.Dataset) -> None:
    assert got.sizes["time"] == expected.sizes["time"]
    for name in expected.data_vars:
        if name in ("x", "w", "p_x", "p_w", "sign"):
            np.testing.assert_array_equal(got[name], expected[name], err_msg=str(name))
        else:  # computed chunk by chunk: sums in another order
            np.testing.assert_allclose(got[name], expected[name], rtol=1e-12, atol=1e-12, err_msg=str(name))


@pytest.mark.parametrize("solver", ["Euler", "RK45", "DOP853", "LSODA", "BDF", "Radau", "auto"])
def test_a_stored_run_is_the_run(solver, tmp_path):
    chosen = hj.Euler(0.01) if solver == "Euler" else hj.Adaptive(solver)
    expected = hj.run(problem(), method=chosen, times=EVERY)
    got = hj.run(problem(), method=chosen, times=EVERY, store=tmp_path / "run.zarr", chunk=17)
    assert_same_values(got, expected)
    xr.testing.assert_identical(got.coords.to_dataset(), expected.coords.to_dataset())
    assert got.attrs == expected.attrs
    assert got.chunksizes["time"][:2] == (17, 17)
    balances = [ds.hamjl.energy_balance().imbalance for ds in (got, expected)]
    np.testing.assert_allclose(*balances, atol=1e-12)
    assert xr.open_zarr(tmp_path / "run.zarr", consolidated=False).sizes["time"] == expected.sizes["time"]


def test_a_store_is_copied_to_a_netcdf_file_without_a_warning(tmp_path):
    got = hj.run(problem(), method=hj.Euler(0.01), times=EVERY, store=tmp_path / "run.zarr", float32=["w"])
    got.to_netcdf(tmp_path / "run.nc")
    xr.testing.assert_identical(xr.load_dataset(tmp_path / "run.nc"), got.load())


def test_on_each_engine_a_stored_run_is_the_run(engine, tmp_path):
    expected = hj.run(problem(), "cauchy", hj.Euler(0.01), engine=engine)
    got = hj.run(problem(), "cauchy", hj.Euler(0.01), engine=engine, store=tmp_path / "run.zarr", chunk=30)
    assert_same_values(got, expected)
    assert got.attrs["engine"] == engine


def test_thinned_variables_and_single_precision(tmp_path):
    options = {"thin": {"w": 10, "p_w": 4}, "float32": ["w"], "chunk": 15}
    expected = hj.run(problem(), method=hj.Euler(0.01), times=EVERY)
    got = hj.run(problem(), method=hj.Euler(0.01), times=EVERY, store=tmp_path / "run.zarr", **options)
    assert got.w.dims == ("time_10", "arc")
    assert got.p_w.dims == ("time_4", "arc")
    assert got.w.dtype == np.float32
    np.testing.assert_array_equal(got.w, expected.w[::10].astype(np.float32))
    np.testing.assert_array_equal(got.p_w, expected.p_w[::4])
    np.testing.assert_array_equal(got.time_10, expected.time[::10])
    np.testing.assert_array_equal(got.x, expected.x)


@pytest.mark.parametrize("kind", ["euler", "implicit"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(engine, kind, tmp_path):
    """Some SIGKILLs at random moments; `benchmarks/kill.py` does it more often."""
    store, rng = tmp_path / "run.zarr", np.random.default_rng(0)
    recipe = hj.Recipe(problem(10.0), method=method(engine, kind), times={"every": 0.01}, engine=engine)
    create(recipe, store, chunk=10)
    expected = hj.run(recipe)
    kills, latest = {"python": (6, 0.5), "julia": (3, 1.5)}[engine]  # Julia takes its time to start
    length, killed = 0, 0
    for _ in range(kills):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(store)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(rng.uniform(0.1, latest))
        child.kill()
        killed += child.wait() == -signal.SIGKILL
        child.stdout.close()
        with hj.open(store) as found:
            assert found.sizes["time"] >= length
            length = found.sizes["time"]
            np.testing.assert_array_equal(found.w, expected.w[:length])
    assert killed >= 2
    assert length > 0
    got = hj.resume(store)
    assert got.attrs["status"] == "success"
    if kind == "euler":
        assert_same_values(got, expected)
    else:
        np.testing.assert_allclose(got.w, expected.w, rtol=1e-7, atol=1e-9)
        statistics = [json.loads(ds.attrs["statistics"]) for ds in (got, expected)]
        assert statistics[0]["steps"] == statistics[1]["steps"]  # no step more: the controller went on
        assert statistics[0]["restarts"] == statistics[1]["restarts"]


def test_a_commit_without_new_samples(tmp_path, monkeypatch):
    monkeypatch.setattr(store_module, "PATIENCE", 0.0)  # commits long before the second sample
    chosen = {"method": hj.Euler(1e-4), "times": [0.0, 4.0]}
    found = hj.run(problem(), **chosen, store=tmp_path / "run.zarr")
    assert_same_values(found, hj.run(problem(), **chosen))


@pytest.mark.parametrize("solver", ["Euler", "BDF"])
def test_what_there_is_of_a_chunk_is_committed_in_time(solver, tmp_path, monkeypatch):
    """With no patience at all there is a commit after every slice of an engine's work."""
    chosen = hj.Euler(1e-4) if solver == "Euler" else hj.Adaptive("BDF", rtol=1e-9, atol=1e-11)
    expected = hj.run(problem(4.0), method=chosen, times=401)
    lengths, write = [], store_module.write_record
    monkeypatch.setattr(store_module, "PATIENCE", 0.0)
    monkeypatch.setattr(
        store_module, "write_record", lambda path, record: (lengths.append(record["length"]), write(path, record))
    )
    got = hj.run(problem(4.0), method=chosen, times=401, store=tmp_path / "run.zarr", chunk=1000)
    assert len(set(lengths)) > 3
    assert lengths == sorted(lengths)
    assert_same_values(got, expected)


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: shutil.rmtree(store / "time" / "c"),
        lambda store: (store / "w" / "c" / "1" / "0").unlink(),
        lambda store: (store / "z" / "c" / "0" / "0").unlink(),
        lambda store: (store / "loss" / "c" / "2").unlink(),
        lambda store: (store / "x" / "zarr.json").write_text("{"),
        lambda store: (store / "run" / "commit.json").write_text("5"),
        lambda store: (store / "run" / "recipe.json").unlink(),
        lambda store: change(store, length=10**6),
        lambda store: change(store, statistics="{"),
        lambda store: change(store, state={}),
        lambda store: change(store, chunk=0),
        lambda store: change(store, length=4),
    ],
)
def test_a_damaged_store_is_refused(damage, tmp_path):
    store = tmp_path / "run.zarr"
    hj.run(problem(), method=hj.Euler(0.01), times=EVERY, store=store, chunk=10)
    damage(store)
    for opened in (hj.open, hj.resume):
        with pytest.raises(hj.ProblemError, match=r"must be whole|must be there|must exist"):
            opened(store)


def change(store, **fields):
    record = store / "run" / "commit.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | fields))


def test_another_process_reads_a_consistent_prefix_at_any_time(tmp_path):
    store = tmp_path / "run.zarr"
    recipe = hj.Recipe(problem(6.0), method=hj.Euler(1e-4), times={"every": 0.01})
    create(recipe, store, chunk=20, thin={"w": 5})
    expected = hj.run(recipe)
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(store)], stdout=subprocess.DEVNULL)
    seen: list[int] = []
    while child.poll() is None:
        with hj.open(store) as found:
            seen.append(found.sizes["time"])
            for name in ("x", "w", "hamiltonian", "time"):
                part = expected[name][: seen[-1] : 5 if name == "w" else 1]
                np.testing.assert_allclose(found[name], part, rtol=1e-12, atol=1e-12)
    assert child.returncode == 0
    assert sorted(seen) == seen
    assert len(set(seen)) > 5


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_commit_and_stop(number, tmp_path):
    store = tmp_path / "run.zarr"
    recipe = hj.Recipe(problem(8.0), method=hj.Euler(1e-4), times={"every": 0.01})
    create(recipe, store, chunk=800)  # no chunk is full before
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", CHILD, str(store)], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    time.sleep(0.8)
    child.send_signal(number)
    assert child.wait(timeout=20) == 0
    child.stdout.close()
    found = hj.open(store)
    assert found.attrs["status"] == "interrupted"
    assert 0 < found.sizes["time"] < 801
    assert_same_values(hj.resume(store), hj.run(recipe))


def test_a_store_of_another_recipe_is_refused(tmp_path):
    store = tmp_path / "run.zarr"
    recipe = hj.Recipe(problem(), method=hj.Euler(0.01))
    hj.run(recipe, store=store)
    with pytest.raises(hj.ProblemError, match="another"):
        hj.resume(store, hj.Recipe(problem(), method=hj.Euler(0.02)))
    with pytest.raises(hj.ProblemError, match="must not exist"):
        hj.run(recipe, store=store)
    xr.testing.assert_identical(hj.resume(store, recipe), hj.open(store))


def test_one_process_writes(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    store = tmp_path / "run.zarr"
    create(hj.Recipe(problem(), method=hj.Euler(0.01)), store)
    with (store / "run" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(hj.ProblemError, match="another one writes"):
            hj.resume(store)


FULL = """
import resource, signal, sys, hamjl as hj
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    hj.resume(sys.argv[1])
except hj.HamjlError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_full_disk_ends_the_run_with_one_sentence(tmp_path):
    """A limit on the size of files stands for the disk: the record, which holds the Newton matrix, outgrows it."""
    store = tmp_path / "run.zarr"
    recipe = hj.Recipe(problem(), method=hj.Adaptive("BDF"), times=EVERY)
    create(recipe, store, chunk=40)
    limit = str((store / "run" / "recipe.json").stat().st_size // 4)
    done = subprocess.run([sys.executable, "-c", FULL, str(store), limit], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "must be writable" in done.stdout
    assert done.stdout.count("\n") == 1
    assert_same_values(hj.resume(store), hj.run(recipe))


def test_a_store_that_disappears_ends_the_run_with_one_sentence(tmp_path, monkeypatch):
    store, moved = tmp_path / "run.zarr", tmp_path / "moved.zarr"
    recipe = hj.Recipe(problem(), method=hj.Euler(0.01), times=EVERY)
    create(recipe, store, chunk=20)
    from hamjl import store as module

    write, written = module.write_record, []

    def then_move(path: Path, record: dict) -> None:
        write(path, record)
        written.append(record["length"])
        if len(written) == 3:
            store.rename(moved)

    monkeypatch.setattr(module, "write_record", then_move)
    with pytest.raises(hj.ProblemError, match=r"gone.*committed up to t = "):
        hj.resume(store)
    monkeypatch.undo()
    assert not store.exists()
    assert hj.open(moved).sizes["time"] == written[-1] == 60
    assert_same_values(hj.resume(moved), hj.run(recipe))


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_permission_lost(tmp_path):
    store = tmp_path / "run.zarr"
    create(hj.Recipe(problem(), method=hj.Euler(0.01)), store)
    (store / "run").chmod(0o500)
    with pytest.raises(hj.ProblemError, match="must be writable"):
        hj.resume(store)
    (store / "run").chmod(0o700)
    assert hj.resume(store).attrs["status"] == "success"


def test_a_diverging_run_keeps_what_is_finite(tmp_path):
    store = tmp_path / "run.zarr"
    with pytest.warns(hj.RunWarning, match="left the range"):
        got = hj.run(random_problem(1, span=(0, 2000)), "cauchy", hj.Euler(0.01), store=store, chunk=50)
    assert got.attrs["status"] == "diverged"
    assert 0 < got.sizes["time"] < 1001
    assert bool(np.isfinite(got.w).all())
    with pytest.warns(hj.RunWarning, match="has ended"):
        assert hj.resume(store).attrs["status"] == "diverged"


def test_log_lines_are_json(tmp_path):
    hj.run(problem(), method=hj.Euler(0.01), store=tmp_path / "run.zarr", log=tmp_path / "log.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {"at", "t", "end", "rate", "remaining", "loss"} <= set(lines[0])
    assert lines[-1]["t"] == lines[-1]["end"] == 4.0
    assert lines[-1]["status"] == "success"


@pytest.mark.parametrize("times", [None, 57, EVERY, [0.0, 0.3, 1.7, 4.0]], ids=str)
@pytest.mark.parametrize("chosen", [hj.Euler(0.02), hj.Adaptive("RK45")], ids=["euler", "adaptive"])
def test_samples_a_part_at_a_time_are_the_samples(times, chosen):
    from hamjl.sampling import sampling

    found = sampling((0.0, 4.0), chosen, times)
    whole = found.all()
    parts = [found[k : k + 7] for k in range(0, len(found), 7)]
    for at in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[at] for part in parts]), whole[at])
    if times == 57 and isinstance(chosen, hj.Adaptive):
        np.testing.assert_array_equal(whole[0], np.linspace(0.0, 4.0, 57))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 0}, "chunk must be a whole number"),
        ({"thin": {"weights": 2}}, "variable to be stored"),
        ({"float32": ["q"]}, "variable to be stored"),
        ({"save_every": -1.0}, "save_every must be a positive"),
        ({"save_every": 0.015}, "whole steps"),
        ({"save_every": 0.1, "times": 3}, "got both"),
        ({"float32": 1}, "list of variables"),
        ({"float32": "w"}, "list of variables"),
        ({"thin": {"w": 10**9}}, "common multiple"),
        ({"store": 5}, "must be a path"),
    ],
)
def test_wrong_options(options, message, tmp_path):
    with pytest.raises(hj.ProblemError, match=message):
        hj.run(problem(), method=hj.Euler(0.01), **{"store": tmp_path / "run.zarr"} | options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_store(tmp_path):
    with pytest.raises(hj.ProblemError, match="store of hamjl's"):
        hj.open(tmp_path)
    with pytest.raises(hj.ProblemError, match="go with a store"):
        hj.run(problem(), chunk=10)


def test_a_bar_says_rate_time_and_loss(monkeypatch, capsys):
    from hamjl.progress import reporting

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with reporting((0.0, 20.0), True) as report:
        for k in range(15):
            time.sleep(0.1)
            report(0.5 * k, lambda: 0.125)
    shown = capsys.readouterr().err
    assert "loss 0.125" in shown
    assert "units/s" in shown
    assert "of 20" in shown
