"""The right-hand side of 10⁶ arcs as a fraction of the memory bandwidth of this machine, on one thread.

Per arc it must read w and p_w and write w' and p_w': 32 bytes, and 4 more for the source where arcs are listed. The
yardsticks run in the same process on the same amount of memory: STREAM's copy and triad, and `four`, a plain loop
that reads two arrays and writes two as the right-hand side does. Calls walk through several copies of the state, more
than the caches hold. Bytes are counted as STREAM counts them: once per number read or written.

    python benchmarks/bandwidth.py
"""

from dataclasses import replace
from typing import Any

import contest
import numpy as np

import hamjl as hj

COPIES, REPEATS = 8, 7  # states of 32 MB that take turns
FULL = 1000  # neurons
SPARSE = ((2_000, 500), (10_000, 100), (100_000, 10))  # neurons, arcs into each

YARDSTICKS = """
function stream(copies, length, repeats)
    arrays = [rand(length) for _ in 1:4, _ in 1:copies]
    copy!(a, b, c, d) = @inbounds @simd ivdep for k in eachindex(a); c[k] = a[k]; end
    triad!(a, b, c, d) = @inbounds @simd ivdep for k in eachindex(a); c[k] = a[k] + 3.0 * b[k]; end
    four!(a, b, c, d) = @inbounds @simd ivdep for k in eachindex(a); c[k] = 3.0 * b[k]; d[k] = a[k] + 2.0 * b[k]; end
    function rate(f, bytes)
        best = Inf
        for _ in 1:repeats, set in eachcol(arrays)
            best = min(best, @elapsed f(set...))
        end
        return bytes * length / best / 1e9
    end
    return rate(copy!, 16), rate(triad!, 24), rate(four!, 32)
end
"""
EVALUATE = """
function evaluate(rhs, system, y, copies, repeats)
    states, outs = [copy(y) for _ in 1:copies], [similar(y) for _ in 1:copies]
    best = Inf
    for _ in 1:repeats, (state, out) in zip(states, outs)
        best = min(best, @elapsed rhs(out, system, state, 0.0, 1.0))
    end
    return best
end
"""


def record(neurons: int, source: Any = None, target: Any = None) -> Any:
    """Law (18) on a full digraph, or on listed arcs put in its place below the labels."""
    small = hj.Problem(
        hj.Network.fully_connected(FULL if source is None else 2, self_loops=True),
        hj.Objective(k=0.1, dissipation=1.0),
        target=hj.signals.cosine(),
        span=(0, 1),
        initial={"w": {"normal": [0.0, FULL**-0.5]}},
    )
    made = contest.prepare(small, "costate_reversal", hj.Euler(0.1))
    if source is None:
        return made
    one, rng = np.ones(neurons), np.random.default_rng(0)
    field = replace(
        made.field,
        neurons=neurons,
        source=source,
        target=target,
        velocity=one,
        activation_of=np.zeros(neurons, dtype=np.int64),
    )
    return replace(made, field=field, initial=rng.normal(0.0, 0.1, 2 * (neurons + len(source))))


def random_digraph(neurons: int, parents: int) -> tuple[np.ndarray, np.ndarray]:
    """That many parents drawn for every neuron, sorted by target and source."""
    rng = np.random.default_rng(0)
    rows = [rng.choice(neurons, parents, replace=False, shuffle=False) for _ in range(neurons)]
    return np.sort(rows, axis=1).ravel(), np.repeat(np.arange(neurons), parents)


def right_hand_side(made: Any) -> float:
    """Seconds of one call."""
    from hamjl.engines.julia import bridge

    main, module = contest.julia()
    run = bridge.begin(module, made)
    evaluate = main.seval(f"begin {EVALUATE} end")
    return evaluate(main.seval("getproperty")(module, main.Symbol("rhs!")), run.system, run.y, COPIES, REPEATS)


def main() -> None:
    print(contest.versions())
    main_module, _ = contest.julia()
    copy, triad, four = main_module.seval(f"begin {YARDSTICKS} end")(COPIES, FULL**2, REPEATS)
    memory = max(copy, triad)
    print(f"memory, {COPIES} x 32 MB: copy {copy:.1f}, triad {triad:.1f}, four {four:.1f} GB/s")
    print(f"{'digraph':>28} {'ms':>7} {'GB/s':>6} {'of memory':>9} {'of four':>8}")
    cases = {f"full, n = {FULL}": (32, record(FULL))}
    for neurons, parents in SPARSE:
        made = record(neurons, *random_digraph(neurons, parents))
        cases[f"random, n = {neurons}, {parents} parents"] = (36, made)
    for name, (bytes_per_arc, made) in cases.items():
        seconds = right_hand_side(made)
        rate = bytes_per_arc * len(made.field.source) / seconds / 1e9
        print(f"{name:>28} {1e3 * seconds:7.2f} {rate:6.1f} {rate / memory:9.0%} {rate / four:8.0%}")


if __name__ == "__main__":
    main()
