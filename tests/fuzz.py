"""Malformed problems, files, formulas, checkpoints and stores: hamjl takes them or refuses them in one sentence.

    python tests/fuzz.py                                    the long form: all campaigns
    python tests/fuzz.py --campaign problems --seed 123 --count 1      one case again

A case is made from its seed alone and tried in a process of its own kind, with a limit on memory, watched from outside.
Counted are the cases taken and refused. Never may there be a foreign traceback or warning, code that runs, a file read
or written elsewhere, more than 5 s of work, or more than 1 GB.
"""

from __future__ import annotations

import argparse
import ast
import copy
import io
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from decimal import Decimal
from fractions import Fraction
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
import xarray as xr
from damage import checkpoint_case, made_ready, store_case

import hamjl as hj
from hamjl import trial
from hamjl.codegen import compile_program
from hamjl.dissipation import lower_dissipation
from hamjl.engines.julia.bridge import postfix
from hamjl.functions import activation_program, loss_program, regularizer_program
from hamjl.lowering import lower, whole

SECONDS, BYTES = 5.0, 2**30  # of work and memory, for each case
HANG, START = 60.0, 300.0  # seconds of waiting for a case, and a process, on a machine that does other things too
SECRET = 31337.25  # the number in files that no case may read

TIME = np.linspace(0.0, 1.0, 9)
TABLE = {
    "span": [0, 1],
    "seed": 3,
    "network": {"kind": "layered", "sizes": [1, 3, 1], "bias": True, "velocity": 2.0, "activation": "tanh"},
    "objective": {
        "loss": "squared_error",
        "loss_weight": 3.0,
        "k": 0.1,
        "regularizer": "quadratic",
        "dissipation": 0.5,
    },
    "inputs": {"u0": {"kind": "cosine", "amplitude": 1.0, "omega": 2.0, "phase": 0.1}},
    "target": {"x3": {"kind": "constant", "value": 0.3}},
    "initial": {"x": 0.1, "w": {"normal": [0.0, 0.5]}, "p_w": [0.1] * 10},
}
ARCS = {
    "kind": "arcs",
    "inputs": ["in"],
    "neurons": ["a", "b"],
    "outputs": ["b"],
    "arcs": [["in", "a"], ["a", "b"], ["bias", "b"], ["b", "a"]],
    "activation": ["tanh(a) + a/10", "logistic"],
    "velocity": [1.0, 2.0],
}
WIDE = {  # arcs, neurons, losses and masses of all kinds
    "span": [0, 1],
    "network": {
        **ARCS,
        "neuron": ["leaky", "sigma(a) - x**3"],
        "tied": {"kernel": {"a->b": 1.0, "b->a": -1.0}},
        "outputs": ["a", "b"],
    },
    "objective": {
        "loss": {"squared_error": ["a"], "log_cosh": ["b"]},
        "loss_weight": {"a": "1 + t", "b": {"kind": "cosine", "amplitude": 0.5, "omega": 2.0, "offset": 1.0}},
        "m": {"kernel": 2.0, "in->a": 3.0},
        "k": {"bias->b": 0.5},
    },
    "inputs": {"in": 0.5},
    "target": {"a": 0.1, "b": 0.2},
    "initial": "glorot",
    "frozen": ["bias->b"],
}
PATCHES = {
    "kind": "patches",
    "pieces": [
        {"start": 0, "kind": "cosines", "terms": [[0.5, 0.1, 0], [1, 2, 3]], "offset": 0.5},
        {"start": 0.5, "kind": "constant", "value": 1.0},
    ],
}
SYSTEM = {
    "states": {"x": "a*x + b*v", "y": "-sin(x) + u"},
    "controls": ["v"],
    "cost": "q*x**2/2 + v**2/2 + y**2",
    "span": [0, 1],
    "initial": {"x": 1.0},
    "costates": {"y": 0.5},
    "parameters": {"a": 0.5, "b": 1.0, "q": 10},
    "signals": {"u": {"kind": "cosine", "omega": 2.0}},
    "dissipation": "exp(t/2)",
}
SERIES = {
    "kind": "series",
    "file": "data.csv",
    "time": "t",
    "columns": ["now"],
    "interpolation": "linear",
    "scale": 2.0,
}
PLAIN = [
    {"problem": TABLE, "law": {"name": "costate_reversal"}, "method": {"name": "BDF", "rtol": 1e-5}, "times": 5},
    {"problem": WIDE, "law": {"name": "costate_reversal"}, "method": {"name": "euler", "step": 0.05}, "times": 5},
    {
        "problem": {**TABLE, "network": ARCS, "inputs": PATCHES, "target": {"b": 0.4}, "initial": "uniform"},
        "law": {"name": "sign_flip", "every_step": True},
        "method": {"name": "Euler", "step": 0.1},
        "times": {"every": 0.2},
        "engine": "python",
    },
    {"system": SYSTEM, "law": {"name": "cauchy"}, "method": {"name": "Euler", "step": 0.05}, "times": [0, 0.5, 1]},
]
FILED = [
    {**PLAIN[0], "problem": {**TABLE, "inputs": SERIES, "target": {**SERIES, "columns": ["next"]}}},
    {
        **PLAIN[0],
        "problem": {**TABLE, "inputs": {"kind": "series", "file": "data.nc", "variable": "signal", "delay": 0.0}},
    },
]
CSV = "t,now,next\n" + "\n".join(f"{t},{np.sin(t)},{np.cos(t)}" for t in TIME) + "\n"
HOSTILE = [
    "__import__('builtins').canary()",
    "canary()",
    "().__class__.__base__.__subclasses__()",
    "exec('canary()')",
    "sin(" * 140 + "a" + ")" * 140,
    "**".join(["a"] * 140),
    "../secret.csv",
    "../secret.nc",
    "file:///etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "data.csv",
    "\x1b[31mred",
    "a\0b",
    "x0 ",
    "X0",
    "U0",
    "a" * 10_000,
    "é" * 50,
    ".." * 500,
]
NUMBERS = [
    *(0, 1, -1, 2, 7, 31622, 10**8, 2**63, -(2**63), 10**400, 10**5000, 0.5, -0.0, 1e16, 1e-16, 1e308, -1e308, 5e-324),
    *(1e100, 1e300, float("nan"), float("inf"), -float("inf")),
]


class Broken:
    """An object that cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class Huge:
    """An object that takes long to read."""

    def __repr__(self) -> str:
        return "[" * 10**7


def nested(depth: int) -> Any:
    tree: Any = 1
    for _ in range(depth):
        tree = [tree]
    return tree


def odd(rng: random.Random, anything: bool) -> Any:
    """A value out of place: of those that TOML knows, or anything."""
    kind = rng.randrange(10)
    if kind < 3:
        return rng.choice(NUMBERS if anything else [n for n in NUMBERS if isinstance(n, float) or abs(n) < 2**63])
    if kind < 5:
        return rng.choice([*HOSTILE, "", " ", "tanh", "t", "x0", "u0", "uniform", "arcs", "exp(t)", "none", "bias"])
    if kind == 5:
        return rng.choice([True, False, [], {}, [[]], {"": 1}, [1, 2], [0.1, "a"], {"kind": "cosine"}, nested(50)])
    if kind == 6:
        return [rng.choice(["x", 1, 0.5, []])] * rng.choice([1, 3, 1000])
    if kind == 7:
        return {f"k{j}": rng.random() for j in range(rng.choice([1, 3, 1000]))}
    if anything:
        return rng.choice([
            *(None, 1j, b"x", Broken(), Huge(), [Broken()], nested(3000), np.zeros((2, 2)), np.array("a")),
            *(np.float32(1), Fraction(1, 3), Decimal(2), "x" * 10**6),
            *(xr.DataArray([1.0, 2.0], {"time": [0.0, 1.0]}), xr.Dataset(), np.array([1, None]), range(10**12), {1: 2}),
            *(np.datetime64("2000-01-01"), hj.signals.cosine(1.0), {(1, 2): 3}, set(), lambda: canary(), TIME),  # noqa: F821
        ])  # fmt: skip
    return rng.randrange(-(10 ** rng.randrange(18)), 10 ** rng.randrange(18))


def mutated(tree: Any, rng: random.Random, anything: bool) -> Any:
    """A copy of the tree with one to four of its parts changed."""
    tree = copy.deepcopy(tree)
    for _ in range(rng.randint(1, 4)):
        here, key = tree, rng.choice(list(tree))
        while isinstance(here[key], dict | list) and here[key] and rng.random() < 0.8:
            here = here[key]
            key = rng.choice(list(here)) if isinstance(here, dict) else rng.randrange(len(here))
        change(here, key, rng, anything)
        if not tree:
            break
    return tree


def change(here: Any, key: Any, rng: random.Random, anything: bool) -> None:
    value, kind = here[key], rng.randrange(9)
    if kind == 0:
        del here[key]
    elif kind == 1 and isinstance(here, dict):
        here[rng.choice([key.upper(), f"{key} ", f"{key}s", key[:-1], "kind", "file", "extra", "a.b"])] = value
    elif kind == 2 and isinstance(value, str) and value:
        k = rng.randrange(len(value))
        here[key] = value[:k] + rng.choice(["", "(", ")", "**", "/0", " ", "é", "'", "\n", "#", "9" * 30]) + value[k:]
    elif kind == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        small = abs(value) < 1e300  # a whole number may have no float
        here[key] = value * 10.0 ** rng.randint(-20, 20) if small and rng.random() < 0.5 else -value
    elif kind == 4 and isinstance(value, list):
        here[key] = value * rng.choice([0, 2, 3000])
    elif kind == 5 and isinstance(here, dict):
        here["extra"] = odd(rng, anything)
    elif kind == 6 and isinstance(here, dict) and len(here) > 1:
        other = rng.choice(list(here))
        here[key], here[other] = here[other], value
    else:
        here[key] = odd(rng, anything)


def scribbled(data: bytes, rng: random.Random) -> bytes:
    """Bytes with some of them changed, lost or doubled."""
    given = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if not given:
            break
        k, width = rng.randrange(len(given)), rng.choice([1, 1, 4, 40])
        kind = rng.randrange(4)
        if kind == 0:
            given[k] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del given[k : k + width]
        elif kind == 2:
            given[k:k] = given[k : k + width]
        else:
            given[k : k + width] = rng.randbytes(width) if rng.random() < 0.5 else b'"[{=.,\n-e9'[: rng.randint(1, 9)]
    return bytes(given)


# -- campaigns: a case is made of a generator and a folder, and tried --------------------------------------------------
def problem_case(rng: random.Random, folder: Path) -> None:
    """A mutated table, problem file, data file, or trajectory."""
    (table_case, toml_case, data_case, trajectory_case)[rng.randrange(4)](rng, folder)


def table_case(rng: random.Random, folder: Path) -> None:
    use(hj.Recipe.from_dict(mutated(rng.choice(PLAIN), rng, anything=True)))


def toml_case(rng: random.Random, folder: Path) -> None:
    (folder / "data.csv").write_text(CSV)
    table = rng.choice([*PLAIN, *FILED[:1]])
    text = tomli_w.dumps(mutated(table, rng, anything=False) if rng.random() < 0.7 else table).encode(errors="replace")
    if rng.random() < 0.4:
        text = scribbled(text, rng)
    if rng.random() < 0.05:
        text += rng.choice(
            [b".".join([b"a"] * 20_000) + b"=1\n", b"b=" + b"[" * 5000 + b"]" * 5000, b"[[c]]\n" * 20_000]
        )
    (folder / "problem.toml").write_bytes(text)
    use(hj.Recipe.load(folder / "problem.toml"))


def data_case(rng: random.Random, folder: Path) -> None:
    which = rng.randrange(2)
    if which == 0:
        text = CSV.encode()
        words = text.split(b",")
        for _ in range(rng.randint(0, 3)):
            words[rng.randrange(len(words))] = rng.choice(
                [b"", b"nan", b"inf", b"2000-01-01", b"1e999", b"x", b'"', b"0"]
            )
        text = scribbled(b",".join(words), rng) if rng.random() < 0.7 else b",".join(words)
        (folder / "data.csv").write_bytes(text)
    else:
        path = folder / "data.nc"
        dataset(rng).to_netcdf(path)
        if rng.random() < 0.6:
            path.write_bytes(scribbled(path.read_bytes(), rng))
    table = FILED[which] if rng.random() < 0.7 else mutated(FILED[which], rng, anything=False)
    (folder / "problem.toml").write_bytes(tomli_w.dumps(table).encode(errors="replace"))
    use(hj.Recipe.load(folder / "problem.toml"))


def dataset(rng: random.Random) -> xr.Dataset:
    """A NetCDF file's content that is nearly a signal."""
    time: Any = rng.choice([TIME, TIME, TIME[::-1], TIME * 1e300, TIME * 0, TIME[:1], np.arange(9), TIME.astype(str)])
    values: Any = np.resize(rng.choice([np.sin(TIME), np.full(9, np.nan), np.arange(9), TIME.astype(str)]), len(time))
    name, variable = rng.choice(["time", "time", "t"]), rng.choice(["signal", "signal", "other"])
    found = xr.Dataset({variable: (name, values)}, {name: time} if rng.random() < 0.9 else {})
    found[variable].attrs |= rng.choice([{}, {"scale_factor": 0.0}, {"units": "\x1b[31m"}, {"_FillValue": 0.0}])
    if name in found.coords and found[name].dtype.kind == "f":
        found[name].attrs |= rng.choice([{}, {"units": "days since 2000-01-01"}, {"units": "days since then"}])
    return found


def trajectory_case(rng: random.Random, folder: Path) -> None:
    """A trajectory whose attributes, coordinates or values somebody has changed: its analyses, its file, its recipe."""
    given = solved(rng.randrange(len(PLAIN))).copy(deep=True)
    for _ in range(rng.randint(1, 3)):
        given = damaged(given, rng)
    with suppress(hj.HamjlError):
        given.hamjl.cost()
    with suppress(hj.HamjlError):
        given.hamjl.energy_balance()
    path = folder / "run.nc"
    try:
        given.to_netcdf(path)
    except Exception:  # xarray's own refusal of what is no NetCDF
        path.write_bytes(b"CDF\x01")
    if rng.random() < 0.3:
        path.write_bytes(scribbled(path.read_bytes(), rng))
    with suppress(hj.HamjlError):
        shown(path)
    use(given.hamjl.recipe)


def shown(path: Path) -> None:
    """What ``hamjl show`` prints."""
    import click

    from hamjl.cli import main

    out = io.StringIO()
    with suppress(click.ClickException, SystemExit), redirect_stdout(out):
        main(["show", str(path)], standalone_mode=False)
    assert "\x1b" not in out.getvalue(), "a terminal is steered"


def damaged(given: xr.Dataset, rng: random.Random) -> xr.Dataset:
    places = [given.attrs, *(given[name].attrs for name in given.variables)]
    texts = [(place, key) for place in places for key, value in place.items() if isinstance(value, str)]
    texts += [(given, name) for name in given.coords if given[name].dtype.kind == "U" and given[name].size]
    kind = rng.randrange(6)
    if kind < 3:
        place, key = rng.choice(texts)
        if place is given:
            values = given[key].values.copy()
            k = rng.randrange(values.size)
            values.flat[k] = scribbled(str(values.flat[k]).encode(), rng).decode(errors="replace")
            return given.assign_coords({key: (given[key].dims, values)})
        text = place[key]
        if text.startswith("{") and rng.random() < 0.7:
            place[key] = json_mutated(text, rng)
        else:
            place[key] = (
                scribbled(text.encode(), rng).decode(errors="replace") if rng.random() < 0.7 else odd(rng, True)
            )
        return given
    if kind == 3 and given.attrs:
        del given.attrs[rng.choice(list(given.attrs))]
        return given
    name = rng.choice(list(given.variables))
    if kind == 4:
        return given.drop_vars(name)
    dims = [dim for dim in given.dims if given.sizes[dim] > 1]
    return given.isel({rng.choice(dims): rng.choice([0, slice(1), slice(None, None, -1), slice(0)])}) if dims else given


def json_mutated(text: str, rng: random.Random) -> str:
    import json

    try:
        return json.dumps(mutated(json.loads(text), rng, anything=False))
    except (ValueError, TypeError, IndexError):
        return text[: rng.randrange(len(text))]


_solved: dict[int, xr.Dataset] = {}


def solved(which: int) -> xr.Dataset:
    if which not in _solved:
        _solved[which] = hj.run(hj.Recipe.from_dict(PLAIN[which]), engine="python", progress=False)
    return _solved[which]


def use(recipe: hj.Recipe) -> None:
    """Lower a recipe and go a few steps, where that is not much work by what it says."""
    problem = recipe.problem
    assert str(SECRET) not in str(problem.to_dict()), "a file elsewhere was read"
    recipe.to_dict()
    width = len(problem.initial_vector())
    if not isinstance(recipe.times, int) or recipe.times * width < 10**6:
        with suppress(hj.HamjlError):
            lower(problem, recipe.law, recipe.method)
            whole(problem, recipe.law, recipe.method, recipe.times)
    if width < 500:
        start, stop = problem.span
        hj.solve(problem, "costate_reversal", hj.Euler((stop - start) / 4), times=3, engine="python", progress=False)


def formula_case(rng: random.Random, folder: Path) -> None:
    """A nested formula as activation, loss, regulariser, dissipation or system."""
    symbol, make, kind = rng.choice([
        ("a", activation_program, "activation"),
        ("y", loss_program, "loss"),
        ("w", regularizer_program, "regularizer"),
        ("t", lower_dissipation, "dissipation"),
        ("x", None, "system"),
    ])  # fmt: skip
    text = formula(rng, symbol, rng.choice([3, 10, 40, 130]))[: rng.choice([200, 1000, 1000, 1100])]
    if rng.random() < 0.1:
        k = rng.randrange(len(text))
        text = text[:k] + rng.choice(HOSTILE) + text[k:]
    if make is None:
        n = rng.choice([1, 2, 10, 30])
        names = [f"x{k}" for k in range(n)]
        states = {name: text.replace("x", rng.choice(names)) + f" + {rng.choice(names)} + v" for name in names}
        system = hj.SymbolicSystem(states, ["v"], "v**2/2", span=(0, 1), initial=dict.fromkeys(names, 0.1))
        use(hj.Recipe(system))
        read = [system.program, system.control_program]
    else:
        network = hj.Network.fully_connected(2, activation=text if kind == "activation" else "tanh")
        objective = hj.Objective(k=0.1, **({} if kind == "activation" else {kind: text}))
        use(hj.Recipe(hj.Problem(network, objective, target=0.1, span=(0, 1), initial="uniform")))
        read = [make(text)]
    for program in read:
        labels = [label for label, _ in program.results]
        with np.errstate(all="ignore"):
            compile_program(program, labels)(*[np.array([0.3, 0.9])] * len(program.arguments))
        for _, line in (*program.assignments, *program.results):
            postfix(line)
            assert depth(ast.parse(line, mode="eval")) < 100, "a line that Julia's reader would find deep"


def depth(node: ast.AST) -> int:
    return 1 + max(map(depth, ast.iter_child_nodes(node)), default=0)


def formula(rng: random.Random, symbol: str, levels: int) -> str:
    """A formula of about so many levels, one of which may repeat."""
    text = rng.choice([symbol, symbol, "2", "0.5", "pi", "1e-3", str(rng.choice(NUMBERS[:8]))])
    names = ["sin", "exp", "tanh", "log", "sqrt", "logistic", "softplus", "erf", "asin", "atan", "cosh", "tan"]
    shapes = [
        lambda t: f"{rng.choice(names)}({t})",
        lambda t: f"({t})*{symbol}",
        lambda t: f"({t})**{rng.choice(['2', symbol, '0.5', '-1', '(1/3)', '30'])}",
        lambda t: f"{symbol}**({t})",
        lambda t: f"{rng.choice(names)}({symbol} + {rng.randrange(99)})*{t}",
        lambda t: f"{t} + {symbol}*{rng.randrange(99)}",
        lambda t: f"{symbol}/({t})",
        lambda t: f"-({t})",
        lambda t: f"({t} - {t})" if len(t) < 100 else t,
    ]
    same = rng.choice(shapes) if rng.random() < 0.4 else None
    while levels > 0 and len(text) < 990:
        text = (same or rng.choice(shapes))(text)
        levels -= 1
    return text


CAMPAIGNS: dict[str, tuple[Callable[[random.Random, Path], None], int]] = {
    "problems": (problem_case, 10_000),
    "formulas": (formula_case, 2_000),
    "checkpoints": (checkpoint_case, 1_400),  # three quarters of them, and of the stores, are damaged
    "stores": (store_case, 1_400),
}


def _toil(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


# what this program must see, by seed, in the campaign of that name
WRONG: dict[str, Callable[[Path], Any]] = {
    "foreign": lambda folder: {}["no such key"],
    "outside": lambda folder: (folder.parent / "trap" / "secret.csv").read_text(),
    "slow": lambda folder: _toil(SECONDS + 0.5),
    "memory": lambda folder: bytearray(2 * BYTES),
    "died": lambda folder: os.abort(),
}


# -- the process that tries them, and the one that watches -------------------------------------------------------------
_seen: list[str] = []  # what the present case did that it must not do


def attempt(name: str, seed: int, folder: Path) -> tuple[str, str]:
    """Try one case: ``taken``, ``refused``, or what is wrong."""
    rng, _seen[:] = random.Random(f"{name} {seed}"), []
    began, kind, said = time.process_time(), "taken", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", hj.RunWarning)
            CAMPAIGNS[name][0](rng, folder) if name in CAMPAIGNS else list(WRONG.values())[seed](folder)
    except hj.HamjlError as error:
        kind, said = "refused", str(error)
        if "\n" in said or len(said) > 1000:
            kind = "no sentence"
    except MemoryError:
        kind = "memory"
    except BaseException as error:
        kind, said = "foreign", "".join(traceback.format_exception(error)[-4:])
    spent = time.process_time() - began
    if _seen:
        return "outside", "; ".join(_seen)
    if spent > SECONDS:
        return "slow", f"{spent:.1f} s: {kind} {said}"
    return kind, said


def guard(folder: Path) -> None:
    """Watch what this process opens and runs, and limit its memory."""
    trap, allowed = str(folder.parent / "trap"), (str(folder), os.devnull)

    def watch(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str | bytes):
            path = os.path.abspath(os.fsdecode(args[0]))
            writes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
            if path.startswith(trap) or (writes and not path.startswith(allowed)):
                _seen.append(f"open {path}")
        elif event == "pickle.find_class" and str(args[0]).startswith("dask."):
            pass  # it packs its own plans
        elif event == "subprocess.Popen" and trial.__file__ in args[1]:
            pass  # where foreign NetCDF files are tried out
        elif event in ("os.system", "subprocess.Popen", "os.exec", "os.fork", "pickle.find_class", "socket.connect"):
            _seen.append(f"{event} {args[:2]}")

    import builtins

    builtins.canary = lambda: _seen.append("code ran")  # type: ignore[attr-defined]
    sys.dont_write_bytecode = True
    sys.addaudithook(watch)
    with suppress(ImportError, OSError):
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + BYTES, used + BYTES))


def work(pipe: Connection, name: str, folder: Path) -> None:
    """Try the cases whose seeds come through the pipe."""
    for which in range(len(PLAIN)):
        solved(which)
    with suppress(hj.HamjlError):
        use(hj.Recipe.from_dict(PLAIN[0]))  # what is imported late is imported now
    shown_once = folder / "warm.nc"
    solved(0).to_netcdf(shown_once)
    shown(shown_once)
    if name in ("checkpoints", "stores"):
        made_ready()
    guard(folder)
    while True:
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        pipe.send("ready")
        seed = pipe.recv()
        if seed is None:
            return
        pipe.send(attempt(name, seed, folder))


class Worker:
    """A process that tries one case after another, and what it is busy with."""

    def __init__(self, name: str, folder: Path) -> None:
        self.folder = folder / "case"
        self.folder.mkdir(parents=True)
        trap = folder / "trap"
        trap.mkdir()
        secret = xr.DataArray(np.full(9, SECRET), {"time": TIME}, name="signal")
        for place in (trap, folder):
            (place / "secret.csv").write_text(CSV.replace("0.0,", f"{SECRET},", 1))
            secret.to_netcdf(place / "secret.nc")
        self.pipe, theirs = get_context("spawn").Pipe()
        self.process = get_context("spawn").Process(target=work, args=(theirs, name, self.folder), daemon=True)
        self.process.start()
        theirs.close()
        self.seed: int | None = None
        self.since = time.monotonic()

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def campaign(name: str, count: int, seed: int = 0, workers: int = 2) -> tuple[Counter[str], list[str]]:
    """Try `count` cases from `seed` on; how many ended how, and a line for each that went wrong."""
    seeds, counts, faults = iter(range(seed, seed + count)), Counter[str](), []
    with tempfile.TemporaryDirectory() as root:
        made = 0

        def fresh() -> Worker:
            nonlocal made
            made += 1
            return Worker(name, Path(root) / str(made))

        def note(seed: int, kind: str, said: str) -> None:
            counts[kind] += 1
            if kind not in ("taken", "refused"):
                faults.append(f"{name} --seed {seed}: {kind}: {said}")

        active = [fresh() for _ in range(min(workers, count))]
        while active:
            wait([worker.pipe for worker in active], timeout=1.0)
            for worker in list(active):
                over = time.monotonic() - worker.since > (HANG if worker.seed is not None else START)
                try:
                    said = worker.pipe.recv() if worker.pipe.poll() else None
                except (EOFError, OSError):  # it died
                    said, over = None, True
                    worker.process.join()
                if said == "ready":
                    worker.seed, worker.since = next(seeds, None), time.monotonic()
                    worker.pipe.send(worker.seed)
                    if worker.seed is None:
                        active.remove(worker)
                        worker.process.join()
                elif said is not None and worker.seed is not None:
                    note(worker.seed, *said)
                    worker.seed, worker.since = None, time.monotonic()
                elif over:
                    code = worker.process.exitcode
                    worker.stop()
                    active.remove(worker)
                    if worker.seed is None:
                        raise RuntimeError(f"a worker of {name} could not start, or ended by itself ({code})")
                    note(worker.seed, "died" if code else "hung", f"exit code {code}")
                    active.append(fresh())
    return counts, faults


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--campaign", choices=list(CAMPAIGNS), default=None)
    parser.add_argument("--count", type=int, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    given = parser.parse_args()
    wrong = 0
    for name in [given.campaign] if given.campaign else CAMPAIGNS:
        count = CAMPAIGNS[name][1] if given.count is None else given.count
        began = time.monotonic()
        counts, faults = campaign(name, count, given.seed, given.workers)
        text = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
        print(f"{name}: {sum(counts.values())} cases in {time.monotonic() - began:.0f} s: {text}", flush=True)
        for fault in faults:
            print(f"  {fault}")
        wrong += len(faults)
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
