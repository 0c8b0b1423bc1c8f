"""Where searches for the minimum of G begin: paths of the weights, or of a symbolic system's controls, over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from hamjl.codegen import compile_program
from hamjl.dynamics.network import NetworkDynamics
from hamjl.lowered import LawCode, NetworkField, SymbolicField

Array = NDArray[np.floating]
Path = Callable[[Array], Array]  # the driver (time, …) at times

ALIVE = 0.6  # state of neurons that keep themselves alive
KNOTS = 6  # of random paths
STEP, STRIDE = 0.05, 8  # of the laws that are replayed: Euler's step by 1/c, and steps between samples
MOST = 40_000  # steps of a law that is worth replaying


@dataclass(frozen=True)
class Start:
    """A path by its name."""

    name: str
    path: Path


def starts(field: NetworkField | SymbolicField, initial: Array, span: tuple[float, float]) -> Iterator[Start]:
    """Paths to start from, the most promising first, and random ones for ever.

    "rest" means no control at all. "alive" keeps neurons on cycles at a nonzero equilibrium: without it, "everything
    decays to 0 and gives up" is a minimum that few escape from. The causal laws' weights are those of Algorithm 1.
    """
    if isinstance(field, NetworkField):
        yield from _network_starts(field, initial, span)
    else:
        none = np.zeros(field.controls)
        yield Start("rest", lambda t: none + np.zeros((len(t), 1)))
        for seed in count():
            yield Start(f"random {seed}", _wander(none, 1.0, span, seed))


def _network_starts(field: NetworkField, initial: Array, span: tuple[float, float]) -> Iterator[Start]:
    w0 = initial[field.neurons : field.neurons + field.moving]
    rate = max(float(field.velocity.mean()), 8.0 / (span[1] - span[0]))

    def approach(w: Array) -> Path:
        return lambda t: w + (w0 - w) * np.exp(-rate * (t - span[0]))[:, None]

    yield Start("rest", approach(w0))
    cycles = disjoint_cycles(field) if field.plain else []  # what weights keep a neuron alive is known
    if cycles:
        yield Start("alive", approach(_alive(field, cycles)))
    if len(cycles) > 1:
        yield Start("one alive", approach(_alive(field, cycles[:1])))
    for name, flips in (("costate reversal", False), ("sign flip", True)):
        path = _law(field, initial, span, flips)
        if path is not None:
            yield Start(name, path)
    spread = 1.5 / np.sqrt(max(len(w0) / field.neurons, 1.0))
    for seed in count():
        yield Start(f"random {seed}", _wander(w0, spread * (1 + seed % 3), span, seed, rate))


def _wander(first: Array, spread: float, span: tuple[float, float], seed: int, rate: float = np.inf) -> Path:
    """A smooth random path near a random point, from `first` on."""
    rng = np.random.default_rng(seed)
    times = np.linspace(*span, KNOTS)
    values = spread * (rng.normal(size=len(first)) + 0.3 * rng.normal(size=(KNOTS, len(first))))

    def path(t: Array) -> Array:
        smooth = np.stack([np.interp(t, times, column) for column in values.T], axis=-1)
        return smooth + (first - smooth) * np.exp(-rate * (t - span[0]))[:, None] if np.isfinite(rate) else smooth

    return path


def disjoint_cycles(field: NetworkField) -> list[list[int]]:
    """Arcs of short cycles that share no neuron, as many as are found greedily, those without outputs first."""
    inside = np.flatnonzero(field.source >= field.inputs)
    children: dict[int, list[tuple[int, int]]] = {}
    for arc in inside:
        children.setdefault(int(field.source[arc]) - field.inputs, []).append((int(arc), int(field.target[arc])))
    outputs: set[int] = set(field.outputs.tolist())
    found, used = list[list[int]](), set[int]()
    for barred in (outputs, set[int]()):
        for neuron in range(field.neurons):
            if neuron not in used | barred:
                cycle = _shortest_cycle(neuron, children, used | barred)
                if cycle:
                    found.append(cycle)
                    used.update(int(field.target[arc]) for arc in cycle)
        if found:
            break
    return found


def _shortest_cycle(neuron: int, children: dict[int, list[tuple[int, int]]], barred: set[int]) -> list[int]:
    """Arcs from a neuron back to it that avoid some neurons, the fewest; none where there are none."""
    reached: dict[int, list[int]] = {}
    front = [(neuron, list[int]())]
    while front:
        following = []
        for at, way in front:
            for arc, child in children.get(at, []):
                if child == neuron:
                    return [*way, arc]
                if child not in reached and child not in barred:
                    reached[child] = [*way, arc]
                    following.append((child, reached[child]))
        front = following
    return []


def _alive(field: NetworkField, cycles: list[list[int]]) -> Array:
    """Weights w σ⁻¹(a)/a along cycles, which hold the states of their neurons at a, and 0 elsewhere."""
    w, tried = np.zeros(len(field.source)), np.linspace(0.0, 8.0, 801)
    for cycle in cycles:
        for arc in cycle:
            (value,) = compile_program(field.activations[field.activation_of[field.target[arc]]], ["f"])(tried * ALIVE)
            w[arc] = tried[np.argmin(np.abs(value - ALIVE))]
    return w


def _law(field: NetworkField, initial: Array, span: tuple[float, float], flips: bool) -> Path | None:
    """The weights of costate reversal, or of the sign flip at each step, by Algorithm 1; None where they diverge."""
    step = STEP / float(field.velocity.max())
    steps = int((span[1] - span[0]) / step)
    if steps > MOST:
        return None
    dynamics = NetworkDynamics(field, LawCode(costate_sign=1 if flips else -1))
    y = initial.copy()
    y[len(y) // 2 :] = 0.0
    dy, rows, sign = np.empty_like(y), [], 1.0
    drives = dynamics.drive(span[0] + step * np.arange(steps))
    for k in range(steps):
        if k % STRIDE == 0:
            rows.append(y[field.neurons : len(y) // 2].copy())
        y = y + step * dynamics.rhs(y, drives[k], sign, dy)
        sign = -sign if flips else sign
    values = np.array(rows)
    if len(rows) < 2 or not np.isfinite(values).all() or np.abs(values).max() > 1e3:
        return None
    times = span[0] + STRIDE * step * np.arange(len(rows))
    return lambda t: np.stack([np.interp(t, times, column) for column in values.T], axis=-1)
