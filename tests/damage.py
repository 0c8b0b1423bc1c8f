"""Damaged and forged checkpoints and stores: what hamjl makes of them is the truth or one sentence of its own.

    python tests/damage.py --count 2000 --seed 1

Of each case it is counted whether it was refused, or taken. Never may there be a foreign traceback, a wrong number that
nobody forged, code of the file that runs, a file outside that changes, more than 5 s of work, or more than 1 GB.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from conftest import random_problem

import hamjl as hj
from hamjl import store as store_module
from hamjl.store import create

SECONDS, BYTES = 5.0, 2**30  # for each case
HANG = 120  # seconds of waiting
METHODS = [hj.Euler(0.01), *(hj.Adaptive(name) for name in ("RK45", "DOP853", "LSODA", "BDF", "Radau", "auto"))]
KINDS = "flip", "flip a chunk", "cut", "scribble", "remove", "folder", "link", "pipe", "forge", "metadata", "pickle"
ODD = [
    *(None, True, 0, -1, 1, 2, 1e300, -1e300, 1e-300, float("nan"), float("inf"), 2**31, 2**63, 10**400, "", "x", "7"),
    *([], [[]], {}, {"a": 1}, [None], "\x1b[31m", "../../etc", "float64", "object", "success", "running", "diverged"),
    {"$array": "AAAA", "dtype": "O", "shape": [1]},
    {"$array": "", "dtype": "<f8", "shape": [0]},
    {"$array": "AAAAAAAA8D8=", "dtype": "<f8", "shape": [1]},
    {"$array": "AAAAAAAA8D8=", "dtype": "<f8", "shape": [10**9]},
    {"$array": "AAAAAA==", "dtype": "<i4", "shape": [1]},
]


# -- what is damaged ---------------------------------------------------------------------------------------------------
def _data() -> hj.Problem:
    t = np.arange(0.0, 3.0, 0.25)
    values = xr.DataArray(np.sin(t), dims="time", coords={"time": t})
    network = hj.Network.fully_connected(3, inputs=1)
    return hj.Problem(network, hj.Objective(dissipation=1.0), inputs=values, target={"x0": values}, span=(0, 2))


def _recipes() -> list[hj.Recipe]:
    system = hj.SymbolicSystem({"x": "v - x", "y": "x"}, ["v"], "x**2 + v**2", span=(0, 2), initial={"x": 1.0})
    problems = [random_problem(3), random_problem(1, acyclic=True), system, _data()]
    laws = [hj.CostateReversal(), hj.SignFlip(frequency=0.7), hj.SignFlip(radius=5.0), hj.Cauchy()]
    made = [hj.Recipe(problem, law, method) for problem in problems for law in laws for method in METHODS]
    return made + [hj.Recipe(random_problem(1, acyclic=True), hj.BackpropLimit(), method) for method in METHODS]


def prepare(folder: Path) -> None:
    """Sound checkpoints and stores, and a file outside that must stay as it is."""
    rng = np.random.default_rng(0)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "stores").mkdir()
    recipes = _recipes()
    for k in rng.choice(len(recipes), 40, replace=False):
        session = hj.Session(recipes[k].problem, recipes[k].law, recipes[k].method)
        session.advance(0.5 * (k % 2), 5)
        session.checkpoint(folder / "checkpoints" / f"{k}.json")
    options: list[dict[str, Any]] = [{"chunk": 5}, {"chunk": 7, "thin": {"p_x": 2}, "float32": ["x"]}]
    for k in rng.choice(len(recipes), 12, replace=False):
        recipe = hj.Recipe(recipes[k].problem, recipes[k].law, recipes[k].method, times={"every": 0.1})
        stopped = _Stopped(recipe, folder / "stores" / str(k), options[k % 2], after=int(rng.integers(1, 5)))
        stopped.run()


class _Stopped:
    """A stored run that is killed, as it were, after some commits; some are never."""

    def __init__(self, recipe: hj.Recipe, path: Path, options: dict[str, Any], after: int) -> None:
        self.recipe, self.path, self.options, self.after = recipe, path, options, after

    def run(self) -> None:
        create(self.recipe, self.path, **self.options)
        write, left = store_module.write_record, [self.after]

        def counted(path: Path, record: dict[str, Any]) -> None:
            write(path, record)
            left[0] -= 1
            if left[0] == 0:
                raise hj.ProblemError("stopped")

        store_module.write_record = counted
        try:
            hj.resume(self.path, progress=False)
        except hj.ProblemError:
            pass
        finally:
            store_module.write_record = write


# -- how ---------------------------------------------------------------------------------------------------------------
def flip(path: Path, rng: np.random.Generator) -> None:
    """Turn one bit of a file."""
    content = bytearray(path.read_bytes())
    if content:
        content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))


def cut(path: Path, rng: np.random.Generator) -> None:
    """Keep the start of a file."""
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(len(content) + 1))])


def scribble(path: Path, rng: np.random.Generator) -> None:
    """Write some bytes into a file."""
    content, more = path.read_bytes(), rng.bytes(int(rng.integers(1, 40)))
    at = int(rng.integers(len(content) + 1))
    path.write_bytes(content[:at] + more + content[at + len(more) :])


def forge(path: Path, rng: np.random.Generator) -> None:
    """Change a record or metadata as JSON, and make its checksum right."""
    table = json.loads(path.read_text())
    known = table.pop("sha256", None)
    for _ in range(int(rng.integers(1, 3))):
        change(table, rng)
    if known is not None:
        table["sha256"] = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(table))


def change(tree: Any, rng: np.random.Generator) -> None:
    """Replace, remove, add or move something in a tree of tables and lists."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key, value in list(node.items() if isinstance(node, dict) else enumerate(node)):
            places.append((node, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(tree)
    if not places:
        return
    node, key = places[int(rng.integers(len(places)))]
    other, place = places[int(rng.integers(len(places)))]
    kind, value = int(rng.integers(6)), node[key]
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node["extra"] = copy.deepcopy(value)
    elif kind == 2:
        node[key] = copy.deepcopy(other[place])
    elif kind == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        node[key] = value * int(rng.integers(-3, 4)) + int(rng.integers(-2, 3))
    elif kind == 4 and isinstance(value, dict) and "$array" in value:
        _change_array(value, rng)
    else:
        node[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])


def _change_array(table: dict[str, Any], rng: np.random.Generator) -> None:
    """Other numbers of the same type and shape."""
    from base64 import b64decode, b64encode

    values = np.frombuffer(b64decode(table["$array"]), table["dtype"]).copy()
    if values.size:
        odd = [0, -1, 1, 1000, 2**30] if values.dtype.kind in "iu" else [0, np.nan, np.inf, 1e300, -1e-300, 1e9]
        values[rng.integers(values.size, size=int(rng.integers(1, 4)))] = odd[int(rng.integers(len(odd)))]
    table["$array"] = b64encode(values.tobytes()).decode()


class _Bomb:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def pickled(metadata: Path, outside: Path) -> None:
    """Make an array one of objects, whose chunks are unpickled."""
    table = json.loads(metadata.read_text())
    table["codecs"] = [{"name": "numcodecs.pickle", "configuration": {"protocol": 5}}]
    table["data_type"] = ["variable_length_bytes", "object", "float64"][len(metadata.parent.name) % 3]
    metadata.write_text(json.dumps(table))
    for chunk in filter(Path.is_file, (metadata.parent / "c").rglob("*")):
        chunk.write_bytes(pickle.dumps(_Bomb(str(outside / "ran"))))


def damage_store(store: Path, outside: Path, rng: np.random.Generator) -> str:
    """Damage a store in one way, whose name is returned."""
    files = sorted(path for path in store.rglob("*") if path.is_file())
    file = files[int(rng.integers(len(files)))]
    chunks = [path for path in files if path.parent.name == "c" or path.parent.parent.name == "c"]
    metadata = [path for path in files if path.name == "zarr.json"]
    kind = [
        "flip",
        "flip a chunk",
        "cut",
        "scribble",
        "remove",
        "folder",
        "link",
        "pipe",
        "forge",
        "metadata",
        "pickle",
    ][int(rng.integers(11))]
    if kind == "flip":
        flip(file, rng)
    elif kind == "flip a chunk":
        flip(chunks[int(rng.integers(len(chunks)))] if chunks else file, rng)
    elif kind == "cut":
        cut(file, rng)
    elif kind == "scribble":
        scribble(file, rng)
    elif kind in ("remove", "folder", "link", "pipe"):
        part = [path for path in (file, *file.parents) if path not in (store, *store.parents)]
        gone = part[int(rng.integers(len(part)))]
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        if kind == "folder":
            gone.mkdir()
        elif kind == "pipe":
            os.mkfifo(gone)
        elif kind == "link":
            gone.symlink_to(outside / "precious")
    elif kind == "forge":
        forge(store / "run" / "commit.json", rng)
    elif kind == "metadata":
        forge(metadata[int(rng.integers(len(metadata)))], rng)
    else:
        pickled(metadata[int(rng.integers(len(metadata)))], outside)
    return kind


# -- one case ----------------------------------------------------------------------------------------------------------
def use_checkpoint(path: Path) -> None:
    """All that a session is good for."""
    session = hj.Session.restore(path)
    session.state.load()
    session.advance(session.time + 0.05, 3, progress=False)
    session.checkpoint()


def use_store(path: Path, sound: xr.Dataset | None) -> None:
    """Read and go on; ArithmeticError where numbers are wrong that nobody forged."""
    from hamjl.cli import _summary

    for ask in (hj.open, lambda path: hj.resume(path, progress=False)):
        found = ask(path).load()
        if sound is not None and not found.identical(sound.isel({d: slice(found.sizes[d]) for d in _times(found)})):
            same = all(np.array_equal(found[n], sound[n][: len(found[n])], equal_nan=True) for n in found.data_vars)
            if not same or found.hamjl.recipe != sound.hamjl.recipe:
                raise ArithmeticError("wrong numbers")
        _summary(found)
        found.hamjl.recipe  # noqa: B018


def _times(ds: xr.Dataset) -> list[str]:
    return [str(dim) for dim in ds.dims if str(dim).startswith("time")]


def outcome(use: Callable[[], None]) -> tuple[str, str]:
    """How one case ended, and what there is to say of it."""

    def hang(*_: Any) -> None:
        raise TimeoutError("it hangs")

    signal.signal(signal.SIGALRM, hang)
    signal.alarm(HANG)
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        use()
        found = "taken", ""
    except hj.HamjlError as error:
        found = ("refused", str(error)) if "\n" not in str(error) else ("foreign", str(error))
    except BaseException:
        found = "foreign", traceback.format_exc()
    finally:
        signal.alarm(0)
    if time.process_time() - began > SECONDS:
        found = "slow", f"{time.process_time() - began:.1f} s: {found}"
    if 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) > BYTES:
        found = "large", str(found)
    return found


def batch(folder: str, kind: str, seeds: list[int]) -> list[tuple[str, str, int, str]]:
    """Some cases in this process: (what was done, how it ended, seed, what there is to say)."""
    warnings.simplefilter("ignore")
    base, found = Path(folder), []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        with tempfile.TemporaryDirectory() as place:
            work, outside = Path(place, "inside"), Path(place, "outside")
            outside.mkdir()
            (outside / "precious").write_text("mine")
            work.mkdir()
            done, use = (_checkpoint if kind == "checkpoints" else _store)(base / kind, work, outside, rng)
            ended, words = outcome(use)
            if sorted(os.listdir(outside)) != ["precious"] or (outside / "precious").read_text() != "mine":
                ended = "outside"
            if len(os.listdir(work)) > 1:
                ended = "stray"
            found.append((f"{kind}: {done}", ended, seed, words))
    return found


def _checkpoint(base: Path, work: Path, outside: Path, rng: np.random.Generator) -> tuple[str, Callable[[], None]]:
    bases = sorted(base.iterdir())
    path = Path(shutil.copy(bases[int(rng.integers(len(bases)))], work / "c.json"))
    how = [flip, cut, scribble, *[forge] * 9][int(rng.integers(12))]
    how(path, rng)
    return how.__name__, lambda: use_checkpoint(path)


def _store(base: Path, work: Path, outside: Path, rng: np.random.Generator) -> tuple[str, Callable[[], None]]:
    bases = sorted(base.iterdir())
    chosen = bases[int(rng.integers(len(bases)))]
    path = Path(shutil.copytree(chosen, work / "s.zarr"))
    done = damage_store(path, outside, rng)
    sound = hj.run(hj.open(chosen).hamjl.recipe, progress=False) if "flip a chunk" in done else None
    if sound is not None:
        sound = hj.resume(shutil.copytree(chosen, outside.parent / "sound"), progress=False).load()
    return done, lambda: use_store(path, sound)


def campaign(count: int, seed: int, folder: Path, workers: int = 2) -> tuple[Counter[tuple[str, str]], list[str]]:
    """The counts of (what was done, how it ended), and what must not be."""
    prepare(folder)
    counts: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    kinds = [("checkpoints", k) for k in range(seed, seed + count // 2)]
    kinds += [("stores", k) for k in range(seed, seed + count - count // 2)]
    parts = [kinds[k : k + 25] for k in range(0, len(kinds), 25)]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        futures = [
            pool.submit(batch, str(folder), kind, [k for which, k in part if which == kind])
            for part in parts
            for kind in ("checkpoints", "stores")
            if any(which == kind for which, _ in part)
        ]
        for future in futures:
            try:
                results = future.result()
            except BrokenProcessPool:
                bad.append("a process crashed")
                counts["?", "crash"] += 1
                continue
            for done, ended, k, words in results:
                counts[done, ended] += 1
                if ended not in ("taken", "refused"):
                    bad.append(f"{done}, seed {k}: {ended}: {words}")
    return counts, bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        counts, bad = campaign(options.count, options.seed, Path(folder) / "sound")
    for (done, ended), number in sorted(counts.items()):
        print(f"{number:6} {done:28} {ended}")
    print(f"{sum(counts.values()):6} cases, {len(bad)} that must not be")
    for words in bad[:20]:
        print("-" * 100, words, sep="\n")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
