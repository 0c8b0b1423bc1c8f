"""Stored runs: what is committed is never lost, and a run goes on as if nothing had happened."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from base64 import b64decode, b64encode
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from conftest import posix, random_problem

import hamjl as hj
from hamjl import files
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


def saved(store: Path) -> int:
    with hj.open(store) as found:
        return found.sizes["time"]


@posix
@pytest.mark.parametrize("kind", ["euler", "implicit"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(engine, kind, tmp_path):
    """SIGKILLs at random moments, every second one after something was committed; `benchmarks/kill.py` has more."""
    store, rng = tmp_path / "run.zarr", np.random.default_rng(0)
    recipe = hj.Recipe(problem(10.0), method=method(engine, kind), times={"every": 0.01}, engine=engine)
    create(recipe, store, chunk=10)
    expected = hj.run(recipe)
    kills, latest = {"python": (6, 0.5), "julia": (3, 1.5)}[engine]  # Julia takes its time to start
    length, killed = 0, 0
    for k in range(kills):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(store)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        child.stdout.readline()
        while k % 2 and child.poll() is None and saved(store) == length:
            time.sleep(0.01)
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


def forge(store, **fields):
    """Change the record as somebody would who knows hamjl: with its checksum."""
    record = store / "run" / "commit.json"
    table = {name: value for name, value in json.loads(record.read_text()).items() if name != "sha256"} | fields
    table["sha256"] = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    record.write_text(json.dumps(table))


@pytest.mark.parametrize(
    "fields",
    [
        {"length": 10**6},
        {"length": -1},
        {"length": 100},
        {"length": True},
        {"time": "now"},
        {"time": 3.0},
        {"reached": 10**400},
        {"status": "fine"},
        {"engine": 5},
        {"chunk": 10**12},
        {"chunk": 0},
        {"thin": {"w": 0}},
        {"thin": [1]},
        {"thin": {"w": 2}},
        {"float32": "x"},
        {"float32": ["x"]},
        {"statistics": "[]"},
        {"statistics": "x"},
        {"state": None},
        {"state": {}},
        {"state": []},
        {"state": {"y": 1.0, "steps": 3, "sign": 1.0, "guess": 0.0}},
        {"message": None},
        {"attributes": "0"},
        {"recipe": "0"},
        {"format": 3},
        {"more": 1},
    ],
    ids=str,
)
def test_a_forged_record_is_refused(fields, tmp_path):
    """Point 7: with a checksum that is right."""
    store = stopped(tmp_path / "run.zarr")
    forge(store)
    assert hj.open(store).sizes["time"] == 60
    forge(store, **fields)
    with pytest.raises(hj.ProblemError, match=r"must be whole|must be there|must take") as caught:
        hj.resume(store)
    assert "\n" not in str(caught.value)


@pytest.mark.julia
@pytest.mark.parametrize("method", [hj.Euler(0.01), hj.Adaptive("FBDF")], ids=str)
def test_a_forged_record_of_a_julia_run_is_refused(method, julia, tmp_path):
    """Point 7: with a checksum that is right."""
    store = stopped(tmp_path / "run.zarr", julia, method)
    kept = json.loads((store / "run" / "commit.json").read_text())["state"]
    damaged = np.frombuffer(b64decode(kept["numbers"]["$array"]), "<f8").copy()
    damaged[0] = -1.0
    forged = kept["numbers"] | {"$array": b64encode(damaged.tobytes()).decode()}
    for state in ({}, {"y": 1.0}, kept | {"numbers": kept["y"]}, kept | {"numbers": forged}, kept | {"solver": None}):
        forge(store, state=state)
        with pytest.raises(hj.ProblemError, match="must be whole") as caught:
            hj.resume(store)
        assert "\n" not in str(caught.value)
    forge(store, state=kept)
    assert hj.resume(store).status == "success"


def stopped(store: Path, engine: str = "auto", method: hj.Method | None = None, **options) -> Path:
    """A stored run that a killed process has left after three commits of twenty samples."""
    recipe = hj.Recipe(problem(), method=method or hj.Euler(0.01), times=EVERY, engine=engine)
    create(recipe, store, chunk=20, **options)
    write, written = store_module.write_record, []

    def then_stop(path: Path, record: dict) -> None:
        write(path, record)
        written.append(path)
        if len(written) == 3:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "write_record", then_stop)
        with pytest.raises(KeyboardInterrupt):
            hj.resume(store)
    return store


@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "numcodecs.pickle", "configuration": {}}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "blosc", "configuration": {}}]},
        {"codecs": [{"name": "sharding_indexed", "configuration": {}}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "zstd"}]},
        {"data_type": "int64"},
        {"data_type": {"name": "numpy.datetime64", "configuration": {}}},
        {"data_type": "object"},
        {"storage_transformers": [{"name": "x"}]},
        {"shape": [10**9, 5]},
        {"shape": [59, 4]},
        {"shape": "x"},
        {"zarr_format": 2},
        {"node_type": "group"},
        {"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [10**9, 4]}}},
        {"more": 1},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", ["x", "neuron", "added"])
def test_a_store_with_arrays_of_another_kind_is_refused_before_they_are_read(name, change, tmp_path):
    """Point 1: whatever is in the store, be it used or not."""
    store = stopped(tmp_path / "run.zarr")
    metadata = store / ("x" if name == "added" else name) / "zarr.json"
    table = json.loads(metadata.read_text()) | change
    if name == "added":
        metadata = store / name / "zarr.json"
        metadata.parent.mkdir()
    if name == "x" or not ({"shape", "chunk_grid"} & set(change) and isinstance(table["shape"], list)):
        metadata.write_text(json.dumps(table))
        for ask in (hj.open, hj.resume):
            with pytest.raises(hj.ProblemError, match="must be whole"):
                ask(store)


def test_metadata_put_together_are_looked_at_too(tmp_path):
    """Point 1: Zarr would take those of the group for those of its arrays."""
    import zarr

    store = stopped(tmp_path / "run.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that others may not know it
        zarr.consolidate_metadata(store)
    assert hj.open(store).sizes["time"] == 60
    table = json.loads((store / "zarr.json").read_text())
    table["consolidated_metadata"]["metadata"]["x"]["codecs"] = [{"name": "numcodecs.pickle"}]
    (store / "zarr.json").write_text(json.dumps(table))
    with pytest.raises(hj.ProblemError, match=r"must be whole.*codecs"):
        hj.open(store)


@posix
@pytest.mark.parametrize(
    "link", ["run/lock", "run/commit.json", "run/recipe.json", "run/.commit.json.part", "x", "w/c/0/0"]
)
def test_a_store_with_links_is_refused_and_nothing_is_written_through_them(link, tmp_path):
    """Point 2: to a file or folder that holds the same, or nothing."""
    store, outside = stopped(tmp_path / "run.zarr"), tmp_path / "outside"
    place = store / link
    if place.exists():
        place.rename(outside)
    else:
        outside.write_text("mine")
    place.symlink_to(outside)
    before = {path: path.read_bytes() for path in (outside, *outside.rglob("*")) if path.is_file()}
    with pytest.raises(hj.ProblemError, match="is a link"):
        hj.resume(store)
    assert before == {path: path.read_bytes() for path in (outside, *outside.rglob("*")) if path.is_file()}


@posix
def test_a_link_to_a_store_is_the_store(tmp_path):
    store = stopped(tmp_path / "run.zarr")
    (tmp_path / "latest.zarr").symlink_to(store)
    assert hj.resume(tmp_path / "latest.zarr").attrs["status"] == "success"


def test_parts_of_records_are_made_where_nobody_can_have_put_a_link(tmp_path):
    """Point 2: the name of a part is not known before, nor is its folder anybody else's."""
    from hamjl.files import beside

    with beside(tmp_path / "record.json") as folder:
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o700
    assert list(tmp_path.iterdir()) == []


def test_a_store_opened_by_a_relative_name_can_be_read_from_elsewhere(tmp_path, monkeypatch):
    """Point 10."""
    monkeypatch.chdir(tmp_path)
    expected = hj.run(problem(), method=hj.Euler(0.01), times=EVERY)
    found = hj.run(problem(), method=hj.Euler(0.01), times=EVERY, store="run.zarr", chunk=20)
    opened = hj.open("run.zarr")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert_same_values(found, expected)
    assert_same_values(opened, expected)
    np.testing.assert_array_equal(opened.w[7, 2], expected.w[7, 2])  # of single samples, and of some
    np.testing.assert_array_equal(opened.w[[3, 50, 41]], expected.w[[3, 50, 41]])


@pytest.mark.parametrize("how", ["moved", "deleted", "one chunk"])
def test_a_chunk_that_is_gone_is_an_error_when_it_is_read(how, tmp_path):
    """Point 10: not NaN."""
    store = stopped(tmp_path / "run.zarr")
    found = hj.open(store)
    if how == "one chunk":
        (store / "w" / "c" / "1" / "0").unlink()
        assert bool(np.isfinite(found.w[:20]).all())
    else:
        store.rename(tmp_path / "moved.zarr") if how == "moved" else shutil.rmtree(store)
    with pytest.raises(hj.ProblemError, match=r"chunks of a store must be there as they were written, got .*/w/c/"):
        found.w[20:40].load()
    with pytest.raises(hj.ProblemError, match="chunks of a store"):
        found.to_netcdf(tmp_path / "copy.nc")


def test_every_turned_bit_of_a_chunk_is_found(tmp_path):
    """Point 11: eight bits of each of many bytes; `benchmarks/kill.py` turns more of them."""
    store, rng = stopped(tmp_path / "run.zarr"), np.random.default_rng(0)
    found = hj.open(store)
    chunk = store / "w" / "c" / "1" / "0"
    content = chunk.read_bytes()
    for at in rng.integers(len(content), size=60):
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(rng.integers(8))
        chunk.write_bytes(bytes(damaged))
        with pytest.raises(hj.ProblemError, match=r"chunks of a store .*/w/c/1/0"):
            found.w[25].load()
    chunk.write_bytes(content)
    assert bool(np.isfinite(found.w).all())


def test_a_run_does_not_go_on_with_a_damaged_chunk(tmp_path):
    store = stopped(tmp_path / "run.zarr", thin={"p_w": 3})  # of which a third is there of a chunk
    forge(store, length=50, time=0.98)
    chunk = store / "p_w" / "c" / "2" / "0"
    content = bytearray(chunk.read_bytes())
    content[40] ^= 1
    chunk.write_bytes(bytes(content))
    with pytest.raises(hj.ProblemError):
        hj.resume(store)


def test_stores_of_before_there_were_checksums_are_read_and_gone_on_with(tmp_path):
    """Point 11: no checksum in their chunks, nor one of their attributes in the record."""
    import zarr

    store = stopped(tmp_path / "run.zarr")
    group = zarr.open_group(store, mode="r+")
    for name in [name for name, array in group.arrays() if array.dtype.kind == "f"]:
        old = group[name]
        values, attrs, chunks, dims = old[:], dict(old.attrs), old.chunks, old.metadata.dimension_names
        shutil.rmtree(store / name)
        new = group.create_array(
            name, shape=values.shape, chunks=chunks, dtype="float64", dimension_names=dims, fill_value=np.nan
        )
        new.attrs.update(attrs)
        with zarr.config.set({"array.write_empty_chunks": True}):
            zarr.open_array(store / name, mode="r+")[:] = values
    record = store / "run" / "commit.json"
    table = json.loads(record.read_text())
    del table["attributes"]
    record.write_text(json.dumps(table))
    forge(store)
    assert hj.open(store).sizes["time"] == 60
    expected = hj.run(problem(), method=hj.Euler(0.01), times=EVERY)
    assert_same_values(hj.resume(store), expected)


def test_turned_bits_outside_of_the_chunks_are_found_or_mean_nothing(tmp_path):
    """Point 11: recipe, attributes and metadata."""
    store, rng = stopped(tmp_path / "run.zarr"), np.random.default_rng(1)
    sound = hj.open(store).load()
    files = [path for path in store.rglob("*") if path.is_file() and path.stat().st_size and "c" not in path.parts]
    refused = 0
    for _ in range(60):
        path = files[rng.integers(len(files))]
        content = path.read_bytes()
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(damaged))
        try:
            xr.testing.assert_identical(hj.open(store).load(), sound)
        except hj.ProblemError:
            refused += 1
        path.write_bytes(content)
    assert refused > 20


def test_resuming_deletes_what_zarr_left_and_nothing_of_the_users(tmp_path):
    """Point 20."""
    store = stopped(tmp_path / "run.zarr")
    left = [store / "w" / "c" / "0" / f"0.{'0a' * 16}.partial", store / "w" / f"zarr.{'1b' * 16}.partial"]
    mine = [store / "notes.partial", store / "w" / "c" / "0.partial", store / "run" / "a.b.partial"]
    for path in (*left, *mine):
        path.write_text("x")
    hj.resume(store)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in mine)


@posix
def test_what_killed_processes_left_half_written_goes_with_the_next_file(tmp_path):
    """Point 20: parts that nobody holds; those that somebody is writing stay, and so does what is not ours."""
    script = (
        "import sys, time; from pathlib import Path; from hamjl.files import beside\n"
        "with beside(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'part.nc').write_text('x'); print('ready', flush=True); time.sleep(60)"
    )
    children = []
    for _ in range(2):
        children.append(subprocess.Popen([sys.executable, "-c", script, tmp_path / "x.nc"], stdout=subprocess.PIPE))
        assert children[-1].stdout.readline() == b"ready\n"
    children[0].kill()
    children[0].wait()
    (tmp_path / ".hamjl-notes").write_text("mine")
    parts = sorted(path for path in tmp_path.iterdir() if path.is_dir())
    assert len(parts) == 2
    for path in tmp_path.iterdir():
        os.utime(path, (1e9, 1e9))
    hj.run(problem(), method=hj.Euler(0.1), store=tmp_path / "run.zarr")
    assert sum(part.exists() for part in parts) == 1
    assert (tmp_path / ".hamjl-notes").exists()
    children[1].kill()
    for child in children:
        child.wait()
        child.stdout.close()


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


@posix
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


@posix
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


@posix
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


class Msvcrt(ModuleType):
    """What Windows has for locks: a second handle on the bytes that one holds is refused."""

    LK_NBLCK = 2

    def __init__(self) -> None:
        super().__init__("msvcrt")
        self.held: list[tuple[int, int]] = []

    def locking(self, handle: int, mode: int, count: int) -> None:
        assert (mode, count) == (self.LK_NBLCK, 1)
        inode = os.fstat(handle).st_ino
        if any(other == inode for _, other in self.held):
            raise OSError(36, "resource deadlock avoided")
        self.held.append((handle, inode))


def test_one_process_writes_on_windows_too(tmp_path, monkeypatch):
    store = tmp_path / "run.zarr"
    create(hj.Recipe(problem(), method=hj.Euler(0.01)), store)
    locks = Msvcrt()
    monkeypatch.setitem(sys.modules, "msvcrt", locks)
    monkeypatch.setattr("hamjl.files.sys", SimpleNamespace(platform="win32"))
    handle = os.open(store / "run" / "lock", os.O_RDWR | os.O_CREAT)
    files.lock(handle)
    with pytest.raises(hj.ProblemError, match="another one writes"):
        hj.resume(store)
    locks.held.clear()
    os.close(handle)
    assert hj.resume(store).attrs["status"] == "success"
