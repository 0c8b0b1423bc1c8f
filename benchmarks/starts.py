"""How good is the minimum found? The default search beside many random starts, on random problems.

python benchmarks/starts.py [--problems 30] [--starts 50] [--first 0] [--engine python]

Problems have 2 to 5 neurons, horizons of 5 to 40, some self-loops, inputs or gaps in the target, losses of the library,
a user's own and softmax. Each random start is a control of its own, piecewise linear in time, from which alone a
search starts; its own cost is that of `hamjl.adjoint`.
"""

import argparse
import time
import warnings

import numpy as np
import xarray as xr

import hamjl as hj

LOSSES = ("squared_error", "squared_error", "log_cosh", "(y - z)**4 + (y - z)**2/4", "softmax_cross_entropy")


def problem(seed: int) -> hj.Problem:
    """A random problem."""
    rng = np.random.default_rng(seed)
    neurons, inputs = int(rng.integers(2, 6)), int(rng.integers(0, 2))
    loss = LOSSES[seed % len(LOSSES)]
    present = rng.random((neurons, inputs + neurons)) < rng.choice([0.6, 1.0])
    present[0, :] = True
    if seed % 3 == 0:
        present[range(neurons), inputs + np.arange(neurons)] = False
    outputs = 2 if loss.startswith("softmax") else 1
    present[:outputs, -1] = True
    network = hj.Network.from_adjacency(present, outputs=outputs, velocity=rng.uniform(0.5, 2.0, neurons))
    end = float(rng.uniform(5.0, 40.0))
    t = np.linspace(0, end, 41)
    z = rng.uniform(0.2, 0.7) * np.cos(rng.uniform(0.05, 1.0) * t + rng.uniform(0, 6))
    z = np.stack([0.5 + 0.5 * z, 0.5 - 0.5 * z], axis=1) if loss.startswith("softmax") else z[:, None]
    if seed % 4 == 1:
        z[12:18] = np.nan
    target = xr.DataArray(z, {"time": t}, ("time", "output"))
    q, k = 10 ** rng.uniform(0.5, 2.5), rng.choice([0.3, 1.0, 2.0])
    objective = hj.Objective(loss=loss, loss_weight=float(q), k=float(k), m=0.1)
    return hj.Problem(
        network,
        objective,
        inputs={f"u{i}": hj.signals.cosine(1.0, float(rng.uniform(0.1, 1))) for i in range(inputs)},
        target=hj.signals.series(target, "linear"),
        span=(0.0, end),
        seed=seed,
    )


def control(one: hj.Problem, seed: int) -> xr.DataArray:
    """A random control, whose weights stay of order one."""
    rng, (start, end), arcs = np.random.default_rng(10_000 + seed), one.span, len(one.network.arcs)
    first = one.initial_state()["w"]
    weights = np.concatenate((first[None], rng.uniform(0.3, 2.0) * rng.normal(size=(5, arcs))))
    rise = min(2.0, (end - start) / 8)
    times = np.array([start, start + rise, *np.linspace(start + 2 * rise, end, 4)])
    values = np.zeros((2 * len(times) - 2, arcs))  # steps of v, a little apart
    for k, slope in enumerate(np.diff(weights, axis=0) / np.diff(times)[:, None]):
        values[2 * k : 2 * k + 2] = slope
    edges = np.repeat(times, 2)[1:-1].copy()
    edges[2::2] += 1e-3
    return xr.DataArray(values, {"time": edges}, ("time", "arc"))


def solved(one: hj.Problem, engine: str, **options) -> tuple[float, dict, float, float]:
    """G of a search, its statistics, seconds, and G by the gradient's own integration of the weights found."""
    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hj.RunWarning)
        run = hj.solve(one, hj.BoundaryValue(), hj.Collocation(**options), times=2001, engine=engine, progress=False)
    spent = time.perf_counter() - begun
    return run.hamjl.statistics["cost"], run.hamjl.statistics, spent, hj.adjoint(one, run, nodes=4000).attrs["cost"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--starts", type=int, default=50)
    parser.add_argument("--engine", default="python")
    given = parser.parse_args()
    print("seed  n arcs     T |   default G certificate seconds | best of random      ratio  above own start  seconds")
    good = 0
    for seed in range(given.first, given.first + given.problems):
        one = problem(seed)
        cost, statistics, spent, _ = solved(one, given.engine)
        begun, costs, above = time.perf_counter(), [], 0
        for k in range(given.starts):
            start = control(one, 1000 * seed + k)
            try:
                own = hj.adjoint(one, start, nodes=2000).attrs["cost"]
            except hj.ProblemError:
                continue
            found, *_, replayed = solved(one, given.engine, start=start, max_nodes=2000, max_iterations=300)
            costs.append(found)
            above += replayed > own * (1 + 1e-6)
        best = min(costs, default=np.nan)
        good += cost <= 1.01 * best
        sizes = f"{seed:4d} {len(one.network.neurons):2d} {len(one.network.arcs):4d} {one.span[1]:5.1f}"
        mine = f"{cost:11.5f} {statistics['certificate']:11.1e} {spent:7.2f}"
        print(
            f"{sizes} | {mine} | {best:14.5f} {cost / best:10.5f} {above:16d} {time.perf_counter() - begun:8.1f}",
            flush=True,
        )
    print(f"default within 1 % of the best of {given.starts} random starts on {good} of {given.problems}")


if __name__ == "__main__":
    main()
