"""How far from optimal are the causal laws? The paper's tracking runs beside Theorem 1, and beside doing nothing.

python examples/optimum.py --output optimum.png
"""

import argparse

import matplotlib
import numpy as np

import hamjl as hj

STEP = 0.01


def problem(q: float, span: float, seed: int) -> hj.Problem:
    """Five neurons, fully connected; the target 0.5 sin t."""
    network = hj.Network.fully_connected(5, self_loops=True)
    target = hj.signals.cosine(0.5, 1.0, -np.pi / 2)
    return hj.Problem(network, hj.Objective.tracking(q=q, r_w=1.0, r=0.1), target=target, span=(0.0, span), seed=seed)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", default="optimum.png")
    parser.add_argument("--accuracies", type=float, nargs="+", default=[10.0, 100.0, 1000.0])
    parser.add_argument("--span", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args(arguments)
    matplotlib.use("agg")

    labels = ["Theorem 1", "sign flip (Euler)", "costate reversal", "doing nothing"]
    print(f"G over {given.span:g} units of time, seed {given.seed}")
    print(f"{'q':>6} " + " ".join(f"{label:>18}" for label in labels))
    for q in given.accuracies:
        one = problem(q, given.span, given.seed)
        laws = [
            (hj.BoundaryValue(), hj.Collocation(tolerance=1e-4)),
            (hj.SignFlip(every_step=True), hj.Euler(STEP)),
            hj.CostateReversal(),
            hj.adjoint(one),
        ]
        found = hj.compare(one, dict(zip(labels, laws, strict=True)), engine=given.engine)
        print(f"{q:6g} " + " ".join(f"{float(cost):18.3f}" for cost in found.cost.isel(time=-1)))
    found.hamjl.plot_comparison().savefig(given.output, dpi=120)


if __name__ == "__main__":
    main()
