"""The example of the README: five neurons learn on-line to follow a cosine, by Hamiltonian sign flip.

python examples/tracking.py --output docs/tracking.png
"""

import argparse

import matplotlib

import hamjl as hj


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", default="tracking.png")
    output = parser.parse_args().output
    matplotlib.use("agg")

    network = hj.Network.fully_connected(5, self_loops=True)
    problem = hj.Problem(
        network,
        hj.Objective.tracking(q=1000, r_w=1, r=0.1),
        target=hj.signals.cosine(amplitude=0.5, omega=0.01),
        span=(0, 1200),
        seed=0,
    )
    trajectory = hj.solve(problem, law=hj.SignFlip(every_step=True), method=hj.Euler(0.02))
    axes = trajectory.hamjl.plot_tracking()
    axes.figure.savefig(output, dpi=120)
    print(float(trajectory.hamjl.tracking_error()[0]))


if __name__ == "__main__":
    main()
