"""Theorem 1 at long horizons, up to the paper's own T = 1200: G, certificate and time by the horizon.

python benchmarks/horizons.py [--horizons 100 200 400 800 1200] [--omega 0.05] [--accuracy 100] [--engine python]

Five neurons with self-loops, r_w = 1, r = 0.1, target 0.5 cos ωt, seed 0. Seconds are those of the processor.
"""

import argparse
import time

import numpy as np

import hamjl as hj


def problem(end: float, q: float, omega: float) -> hj.Problem:
    """The paper's network and objective over (0, end)."""
    network = hj.Network.fully_connected(5, self_loops=True)
    objective = hj.Objective.tracking(q=q, r_w=1.0, r=0.1)
    return hj.Problem(network, objective, target=hj.signals.cosine(0.5, omega), span=(0.0, end))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizons", type=float, nargs="+", default=[100.0, 200.0, 400.0, 800.0, 1200.0])
    parser.add_argument("--omega", type=float, default=0.05)
    parser.add_argument("--accuracy", type=float, default=100.0)
    parser.add_argument("--engine", default="python")
    given = parser.parse_args()
    hj.solve(problem(2.0, 1.0, 1.0), hj.BoundaryValue(), engine=given.engine, progress=False)  # compiles
    print("     T |           G       G/T certificate  curvature  nodes iterations  seconds")
    spent = []
    for end in given.horizons:
        begun = time.process_time()
        one = problem(end, given.accuracy, given.omega)
        run = hj.solve(one, hj.BoundaryValue(), times=3, engine=given.engine, progress=False)
        spent.append(time.process_time() - begun)
        s = run.hamjl.statistics
        found = f"{s['cost']:11.4f} {s['cost'] / end:9.5f} {s['certificate']:11.1e} {s['curvature']:10.4f}"
        print(f"{end:6g} | {found} {s['nodes']:6d} {s['iterations']:10d} {spent[-1]:8.1f}", flush=True)
    if len(spent) > 1:
        slope = np.polyfit(np.log(given.horizons), np.log(spent), 1)[0]
        print(f"seconds grow like T^{slope:.2f}")


if __name__ == "__main__":
    main()
