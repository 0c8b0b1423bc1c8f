"""Steps per second of Algorithm 1 on the embedded engine: Figure 2's run, and larger networks.

python benchmarks/euler.py
"""

import time

import hamjl as hj


def main() -> None:
    print(f"{'neurons':>8} {'arcs':>8} {'steps':>8} {'steps/s':>10}")
    for neurons, steps in ((5, 60_000), (20, 20_000), (100, 5_000), (300, 500)):
        problem = hj.Problem(
            hj.Network.fully_connected(neurons, self_loops=True),
            hj.Objective.tracking(q=1000, r_w=1, r=0.1),
            target=hj.signals.cosine(0.5, 0.01),
            span=(0, 0.02 * steps),
            initial={"x": {"uniform": [0, 1]}, "w": {"uniform": [0, 1 / neurons]}},
        )
        hj.solve(problem, hj.SignFlip(every_step=True), hj.Euler(0.02), times=[0.0, 0.02])
        start = time.perf_counter()
        hj.solve(problem, hj.SignFlip(every_step=True), hj.Euler(0.02), times=[0.0, 0.02 * steps], engine="python")
        rate = steps / (time.perf_counter() - start)
        print(f"{neurons:8d} {neurons**2:8d} {steps:8d} {rate:10.0f}")


if __name__ == "__main__":
    main()
