"""The Julia engine: cost of an Euler step beside a Numba loop and the embedded engine, and a sweep over the velocity c.

Times are after the first run, which compiles. Numba is optional: without it its column is empty.

    python benchmarks/julia_engine.py
"""

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import hamjl as hj
from hamjl.engines import select
from hamjl.lowering import lower


def seconds(run: Callable[[], Any], repeats: int = 3) -> float:
    """The best of several runs, the first one left out."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return min(taken)


def experiment(neurons: int, steps: int) -> tuple[hj.Problem, hj.Euler]:
    """Figure 2's run: q = 1000, sign flipped at every step; larger networks with a shorter step."""
    step = 0.02 * 5 / neurons
    problem = hj.Problem(
        hj.Network.fully_connected(neurons, self_loops=True),
        hj.Objective.tracking(q=1000, r_w=1, r=0.1),
        target=hj.signals.cosine(0.5, 0.01),
        span=(0, step * steps),
        initial={"x": {"uniform": [0, 1]}, "w": {"uniform": [0, 1 / neurons]}},
    )
    return problem, hj.Euler(step)


def numba_step_seconds(problem: hj.Problem, step: float, steps: int) -> float:
    """The same run as a plain loop compiled by Numba."""
    try:
        from numba import njit
    except ImportError:
        return np.nan
    n = len(problem.network.neurons)

    @njit(fastmath=True)
    def run(x, w, p, pw, steps):
        a, g, back = np.zeros(n), np.zeros(n), np.zeros(n)
        for k in range(steps):
            s = 1.0 - 2.0 * (k % 2)
            z = 0.5 * np.cos(0.01 * k * step)
            for i in range(n):
                total = 0.0
                for j in range(n):
                    total += w[i, j] * x[j]
                a[i] = np.tanh(total)
                g[i] = (1.0 - a[i] * a[i]) * p[i]
                back[i] = 0.0
            back[0] = 1000.0 * (x[0] - z)
            for i in range(n):
                for j in range(n):
                    back[j] += w[i, j] * g[i]
                    q = pw[i, j]
                    pw[i, j] -= step * s * (g[i] * x[j] + 2.0 * w[i, j])
                    w[i, j] -= step * s * q / 0.1
            for i in range(n):
                p[i] += step * s * (p[i] - back[i])
                x[i] += step * s * (a[i] - x[i])

    start = problem.initial_state()
    return (
        seconds(
            lambda: run(
                start["x"].copy(), start["w"].reshape(n, n).copy(), start["p_x"].copy(), np.zeros((n, n)), steps
            )
        )
        / steps
    )


def euler() -> None:
    print(f"Euler, ns a step\n{'neurons':>8} {'julia':>9} {'numba':>9} {'python':>9}")
    for neurons, steps, few in ((5, 1_000_000, 20_000), (20, 200_000, 10_000), (100, 20_000, 1_000)):
        found = []
        for engine, count in (("julia", steps), ("python", few)):
            problem, method = experiment(neurons, count)
            record = lower(problem, hj.SignFlip(every_step=True), method, 2)
            result = select(engine).run(record, lambda t: None)
            assert result.status == "success", result.status
            found.append(seconds(lambda r=record, e=engine: select(e).run(r, lambda t: None), 2) / count)
        problem, method = experiment(neurons, steps)
        loop = numba_step_seconds(problem, method.step, steps)
        print(f"{neurons:8d} {found[0] * 1e9:9.0f} {loop * 1e9:9.0f} {found[1] * 1e9:9.0f}")


def stiff(velocity: float) -> hj.Problem:
    return hj.Problem(
        hj.Network.layered([2, 8, 1], velocity=velocity),
        hj.Objective(dissipation=1.0, k=0.01),
        inputs={"u0": hj.signals.cosine(1.0, 0.5), "u1": hj.signals.cosine(1.0, 0.3, 1.0)},
        target=hj.signals.cosine(0.5, 0.4),
        span=(0, 20),
        initial={"w": {"normal": [0.0, 0.5]}},
    )


def sweep() -> None:
    solvers = [("julia", "FBDF"), ("julia", "Rodas5P"), ("python", "BDF"), ("python", "Radau"), ("python", "LSODA")]
    print("\nLaw (18) on 2-8-1, span 20, 101 times saved: steps, milliseconds, error of w against rtol 1e-10")
    print(f"{'c':>8} {'solver':>8} {'rtol':>8} {'steps':>8} {'ms':>9} {'error':>9}")
    for c in (1.0, 1e2, 1e4, 1e6, 1e8):
        problem, law = stiff(c), hj.CostateReversal()
        exact = select("julia").run(lower(problem, law, hj.Adaptive("Rodas5P", 1e-10, 1e-13), 101), lambda t: None)
        arcs = slice(9, 9 + len(problem.network.source))
        for engine, name in solvers:
            for rtol in (1e-4, 1e-6):
                record = lower(problem, law, hj.Adaptive(name, rtol, rtol / 1000), 101)
                result = select(engine).run(record, lambda t: None)
                best = seconds(
                    lambda r=record, e=engine: select(e).run(r, lambda t: None), 2 if engine == "julia" else 1
                )
                rows = min(len(result.states), len(exact.states))
                error = np.abs(result.states[:rows, arcs] - exact.states[:rows, arcs]).max()
                steps = result.statistics["steps"]
                print(f"{c:8.0e} {name:>8} {rtol:8.0e} {steps:8d} {1e3 * best:9.2f} {error:9.1e} {result.status}")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    euler()
    sweep()
