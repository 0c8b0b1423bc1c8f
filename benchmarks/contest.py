"""What the benchmarks share: problems, lowering ahead of the clock, and fair timing. Import it before NumPy."""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import alone  # noqa: F401  # before NumPy

import hamjl as hj
from hamjl.engines import select
from hamjl.laws import as_law
from hamjl.lowered import Goal, Lowered, Result
from hamjl.lowering import lower, whole
from hamjl.methods import as_method

FOLDER = Path(__file__).parent
PACKAGES = ("hamjl", "numpy", "scipy", "numba", "jax", "diffrax", "scikit-sundae", "juliacall")
NOT_INSTALLED = "not installed"


def stiff(network: hj.Network, spread: float) -> hj.Problem:
    """The stiff problem of these benchmarks: two slow inputs, one slow target, θ = 1, w ~ N(0, spread²)."""
    return hj.Problem(
        network,
        hj.Objective(dissipation=1.0, k=0.01),
        inputs={"u0": hj.signals.cosine(1.0, 0.5), "u1": hj.signals.cosine(1.0, 0.3, 1.0)},
        target=hj.signals.cosine(0.5, 0.4),
        span=(0, 20),
        initial={"x": {"uniform": [0, 0.5]}, "w": {"normal": [0.0, spread]}},
    )


def layered(c: float) -> hj.Problem:
    """2-8-1 with velocity c."""
    return stiff(hj.Network.layered([2, 8, 1], velocity=c), 0.5)


def full(neurons: int, c: float) -> hj.Problem:
    """Every input and neuron feeds every neuron; weights small enough for the network to have one equilibrium."""
    network = hj.Network.fully_connected(neurons, inputs=2, self_loops=True, velocity=c)
    return stiff(network, 0.5 * neurons**-0.5)


@dataclass(frozen=True, eq=False)
class Record(Lowered):
    """What an engine takes: the plain record of a run, with its goal."""

    goal: Goal | None = None


def prepare(problem: Any, law: Any, method: Any, times: Any = 2) -> Record:
    """Lower a problem ahead of the clock."""
    given = problem, as_law(law), as_method(method)
    return Record(**vars(lower(*given)), goal=whole(*given, times))


def integrate(engine: str, record: Record, monitor: Callable[[float], None] = lambda t: None) -> Result:
    """Run an engine on a record; no labelled Dataset is made."""
    assert record.goal is not None
    return select(engine, record.method.name).run(record, record.goal, monitor)


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    """Processor time of one call."""
    start = clock()
    work()
    return clock() - start


def fastest(contestants: Mapping[str, Callable[[], Any]], repeats: int = 3) -> dict[str, float]:
    """Least processor time of each contestant; they take turns, so that a busy spell hits all of them."""
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(repeats):
        for name, work in contestants.items():
            best[name] = min(best[name], seconds(work))
    return best


def installed(package: str) -> bool:
    """Whether an optional peer can be imported; says so if not."""
    there = find_spec(package) is not None
    if not there:
        print(f"{package}: {NOT_INSTALLED}")
    return there


def julia() -> Any:
    """Julia's Main and the module HamJL that the engine runs on."""
    module = import_module("hamjl.engines.julia.bridge").module()
    return import_module("juliacall").Main, module


def versions() -> str:
    """One line: what was measured with."""
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{package} {NOT_INSTALLED}")
    if find_spec("juliacall") is not None:
        found.append(f"Julia {julia()[0].VERSION}")
    return ", ".join(found)
