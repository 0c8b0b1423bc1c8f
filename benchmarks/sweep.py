"""A sweep of 200 members: one and two threads of Julia, and a local dask cluster of two processes, one Julia each.

Each member is Algorithm 1's step on 2-8-1 a million times over; one is made to diverge. `start` is the wall time of a
sweep of two short members, which is that of processes, Julia and compilers. Two threads live in a process that each
sweep starts anew, so there `speed`, as a multiple of one thread's, leaves `start` out; one thread and the cluster's
processes stay, and have started when the sweep begins. All must give the same numbers.

    python benchmarks/sweep.py [--steps 1000000] [--members 200]
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import contest
import numpy as np
import xarray as xr

import hamjl as hj

OVER = {"q": (1.0, 3.0, 10.0, 30.0, 100.0), "c": (1.0, 2.0, 5.0, 10.0)}


def member(q: float, c: float, seed: int) -> hj.Problem:
    """2-8-1; the first member of all has a regularizer too stiff for the step, and diverges."""
    first = (q, c, seed) == (1.0, 1.0, 0)
    return hj.Problem(
        hj.Network.layered([2, 8, 1], velocity=c),
        hj.Objective(loss_weight=q, dissipation=1.0, k=1e14 if first else 0.01),
        inputs={"u0": hj.signals.cosine(1.0, 0.5), "u1": hj.signals.cosine(1.0, 0.3, 1.0)},
        target=hj.signals.cosine(0.5, 0.4),
        span=(0, 20),
        seed=seed,
    )


def swept(members: int, steps: int, **where: Any) -> tuple[float, xr.Dataset]:
    """Wall time and result."""
    over = OVER | {"seed": range(members // 20)} if members > 2 else {"q": [3.0], "c": [1.0], "seed": [0, 1]}
    before = time.perf_counter()
    result = hj.sweep(member, over, method=hj.Euler(20 / steps), times=21, engine="julia", progress=False, **where)
    return time.perf_counter() - before, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--members", type=int, default=200)
    options = parser.parse_args()
    print(contest.versions())
    print(f"{'where':>16} {'members':>8} {'start':>7} {'seconds':>8} {'speed':>6} {'diverged':>9} {'same':>5}")
    reference: list[tuple[float, xr.Dataset]] = []

    def row(name: str, run: Callable[[int, int], tuple[float, xr.Dataset]], stays: bool = True) -> None:
        start, _ = run(2, 100)
        seconds, result = run(options.members, options.steps)
        work = seconds if stays else seconds - start
        reference.append((work, result))
        same = all(np.array_equal(result[name], reference[0][1][name], equal_nan=True) for name in ("x", "w", "p_w"))
        speed, diverged = reference[0][0] / work, int((result.status == "diverged").sum())
        cells = f"{result.status.size:>8} {start:7.1f} {seconds:8.1f} {speed:6.2f} {diverged:>9}"
        print(f"{name:>16} {cells} {'yes' if same else 'NO':>5}", flush=True)

    row("1 thread", lambda m, s: swept(m, s, workers=1))
    row("2 threads", lambda m, s: swept(m, s, workers=2), stays=False)
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        row("dask, 2 workers", lambda m, s: swept(m, s, client=client))


if __name__ == "__main__":
    main()
