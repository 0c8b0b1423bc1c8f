"""Damaged and forged checkpoints and stores, as cases of `fuzz.py`.

What hamjl makes of them is the truth or one sentence of its own: never a wrong number that nobody forged, code of the
file that runs, a file outside that changes, or one left behind.
"""

from __future__ import annotations

import atexit
import copy
import hashlib
import json
import os
import pickle
import random
import shutil
import tempfile
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from conftest import random_problem

import hamjl as hj
from hamjl import store as store_module
from hamjl.cli import _summary
from hamjl.store import create

METHODS = [hj.Euler(0.01), *(hj.Adaptive(name) for name in ("RK45", "DOP853", "LSODA", "BDF", "Radau", "auto"))]
KINDS = (
    "nothing",
    "nothing",
    "nothing",
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
)
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


@lru_cache(maxsize=1)
def prepared() -> Path:
    """A folder of sound checkpoints and stores, for this process."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    (folder / "checkpoints").mkdir()
    (folder / "stores").mkdir()
    recipes = _recipes()
    for k in rng.choice(len(recipes), 40, replace=False):
        session = hj.Session(recipes[k].problem, recipes[k].law, recipes[k].method)
        session.advance(0.5 * (k % 2), 5)
        session.checkpoint(folder / "checkpoints" / f"{k}.json")
    options: list[dict[str, Any]] = [{"chunk": 5}, {"chunk": 7, "thin": {"p_x": 2}, "float32": ["x"]}]
    for k in rng.choice(len(recipes), 12, replace=False):
        recipe = hj.Recipe(recipes[k].problem, recipes[k].law, recipes[k].method, times={"every": 0.1})
        create(recipe, folder / "stores" / str(k), **options[k % 2])
        _go_on(folder / "stores" / str(k), int(rng.integers(1, 5)))
    return folder


def made_ready() -> None:
    """Make what cases start from, and go through all that they do once."""
    for base in sorted((prepared() / "stores").iterdir()):
        whole(base)
    for base in sorted((prepared() / "checkpoints").iterdir())[:5]:
        use(base)


def _go_on(store: Path, commits: int) -> None:
    """Go on with a stored run that is killed, as it were, after some commits, if it does not end before."""
    write, left = store_module.write_record, [commits]

    def counted(path: Path, record: dict[str, Any]) -> None:
        write(path, record)
        left[0] -= 1
        if left[0] == 0:
            raise hj.ProblemError("stopped")

    store_module.write_record = counted
    try:
        hj.resume(store, progress=False)
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
    kind = KINDS[int(rng.integers(len(KINDS)))]
    if kind == "nothing":
        pass
    elif kind == "flip":
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


# -- cases ------------------------------------------------------------------------------------------------------------
def checkpoint_case(rng: random.Random, folder: Path) -> None:
    """A damaged or forged checkpoint, and all that a session is good for."""
    numbers = np.random.default_rng(rng.getrandbits(64))
    bases = sorted((prepared() / "checkpoints").iterdir())
    path = Path(shutil.copy(bases[int(numbers.integers(len(bases)))], folder / "c.json"))
    how = [flip, cut, scribble, *[forge] * 9, *[None] * 4][int(numbers.integers(16))]
    if how is not None:
        how(path, numbers)
    use(path)


def use(path: Path) -> None:
    """All that a session is good for."""
    session = hj.Session.restore(path)
    session.present().load()
    session.advance(session.time + 0.05, 3, progress=False)
    session.checkpoint()


def store_case(rng: random.Random, folder: Path) -> None:
    """A damaged or forged store, read and gone on with; where a bit was turned, numbers are the same or refused."""
    numbers = np.random.default_rng(rng.getrandbits(64))
    bases = sorted((prepared() / "stores").iterdir())
    base = bases[int(numbers.integers(len(bases)))]
    outside, store = folder / "outside", Path(shutil.copytree(base, folder / "s.zarr"))
    outside.mkdir()
    (outside / "precious").write_text("mine")
    done = damage_store(store, outside, numbers)
    try:
        for ask in (hj.open, partial(hj.resume, progress=False)):
            found = ask(store).load()
            if done in ("nothing", "flip", "flip a chunk"):
                sound = whole(base)
                for name in found.data_vars:
                    assert np.array_equal(found[name], sound[name][: len(found[name])], equal_nan=True), "wrong numbers"
            _summary(found)
            assert found.hamjl.recipe.problem is not None
    finally:
        assert os.listdir(outside) == ["precious"], "something was written outside, or ran"
        assert (outside / "precious").read_text() == "mine", "a file outside was changed"
        assert sorted(os.listdir(folder)) == ["outside", "s.zarr"], "something was left behind"


@lru_cache
def whole(base: Path) -> xr.Dataset:
    """A sound store to the end of its run."""
    with tempfile.TemporaryDirectory() as place:
        return hj.resume(shutil.copytree(base, Path(place, "s.zarr")), progress=False).load()
