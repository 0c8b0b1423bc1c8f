"""Theorem 1 beside direct transcription with IPOPT: the same Gauss collocation, the same mesh, from rest.

python benchmarks/boundary.py [--neurons 5] [--accuracies 10 100 1000] [--seeds 0 1 2] [--nodes 100] [--engine python]

IPOPT (through CasADi) gets exact sparse derivatives; its time is that of the solve alone. hamjl's time is that of
`solve` on the same mesh, with the minimum converged but the mesh not refined; the last columns refine it to a
certificate of 1e-4.
"""

import argparse
import time
import warnings

import numpy as np

import hamjl as hj
from hamjl.control.collocation import MATRIX, NODES

LIMIT = 600  # seconds that IPOPT gets


def problem(n: int, q: float, seed: int) -> hj.Problem:
    """The paper's fully connected network and 0.5 sin t over ten units of time."""
    network = hj.Network.fully_connected(n, self_loops=True)
    target = hj.signals.cosine(0.5, 1.0, -np.pi / 2)
    return hj.Problem(network, hj.Objective.tracking(q=q, r_w=1.0, r=0.1), target=target, span=(0.0, 10.0), seed=seed)


def ipopt(n: int, q: float, seed: int, steps: int) -> tuple[float, float, str]:
    """G, seconds and status of direct transcription."""
    import casadi as ca

    state = problem(n, q, seed).initial_state()
    arcs, h = n * n, 10.0 / steps
    x, w = ca.MX.sym("x", n), ca.MX.sym("w", arcs)
    speed = ca.Function("speed", [x, w], [ca.tanh(ca.mtimes(ca.reshape(w, n, n).T, x)) - x])
    node_x, node_w = ca.MX.sym("node_x", n), ca.MX.sym("node_w", arcs)
    stage_x, v, z = ca.MX.sym("stage_x", n, 2), ca.MX.sym("v", arcs, 2), ca.MX.sym("z", 2)
    stage_w = [node_w + h * (MATRIX[i, 0] * v[:, 0] + MATRIX[i, 1] * v[:, 1]) for i in range(2)]
    f = [speed(stage_x[:, i], stage_w[i]) for i in range(2)]
    defects = [stage_x[:, i] - node_x - h * (MATRIX[i, 0] * f[0] + MATRIX[i, 1] * f[1]) for i in range(2)]
    costs = [
        h / 2 * (q / 2 * (stage_x[0, i] - z[i]) ** 2 + 0.1 / 2 * ca.sumsqr(v[:, i]) + ca.sumsqr(stage_w[i]))
        for i in range(2)
    ]
    next_x, next_w = node_x + h / 2 * (f[0] + f[1]), node_w + h / 2 * (v[:, 0] + v[:, 1])
    results = [ca.vertcat(*defects), next_x, next_w, costs[0] + costs[1]]
    step = ca.Function("step", [node_x, node_w, stage_x, v, z], results)

    all_x, all_w = ca.MX.sym("all_x", n, steps), ca.MX.sym("all_w", arcs, steps)
    all_stages, all_v = ca.MX.sym("all_stages", n, 2 * steps), ca.MX.sym("all_v", arcs, 2 * steps)
    target = 0.5 * np.sin(h * (np.arange(steps)[None, :] + NODES[:, None]))
    before_x = ca.horzcat(ca.DM(state["x"]), all_x[:, :-1])
    before_w = ca.horzcat(ca.DM(state["w"]), all_w[:, :-1])
    defect, after_x, after_w, cost = step.map(steps)(before_x, before_w, all_stages, all_v, ca.DM(target))
    unknowns = ca.vertcat(ca.vec(all_x), ca.vec(all_w), ca.vec(all_stages), ca.vec(all_v))
    constraints = ca.vertcat(ca.vec(defect), ca.vec(after_x - all_x), ca.vec(after_w - all_w))
    options = {"expand": True, "print_time": False, "ipopt": {"print_level": 0, "sb": "yes", "max_cpu_time": LIMIT}}
    solver = ca.nlpsol("direct", "ipopt", {"x": unknowns, "f": ca.sum2(cost), "g": constraints}, options)
    still = [np.tile(state["x"], steps), np.tile(state["w"], steps), np.tile(state["x"], 2 * steps)]
    start = np.concatenate((*still, np.zeros(2 * steps * arcs)))
    begun = time.perf_counter()
    found = solver(x0=start, lbg=0, ubg=0)
    return float(found["f"]), time.perf_counter() - begun, solver.stats()["return_status"]


def ours(n: int, q: float, seed: int, method: hj.Collocation, engine: str) -> tuple[float, float, dict]:
    """G, seconds and statistics of the boundary-value law."""
    one = problem(n, q, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hj.RunWarning)  # where the mesh is not to be refined
        begun = time.perf_counter()
        run = hj.solve(one, hj.BoundaryValue(), method, times=2, engine=engine, progress=False)
    statistics = run.hamjl.statistics
    return statistics["cost"], time.perf_counter() - begun, statistics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--neurons", type=int, default=5)
    parser.add_argument("--accuracies", type=float, nargs="+", default=[10.0, 100.0, 1000.0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--nodes", type=int, default=100)
    parser.add_argument("--engine", default="python")
    parser.add_argument("--no-ipopt", action="store_true")
    given = parser.parse_args()
    ours(3, 1.0, 0, hj.Collocation(nodes=10), given.engine)  # compiles what is compiled once
    print(f"n = {given.neurons}, mesh of {given.nodes} steps, engine {given.engine}")
    print(
        "     q seed |  G of IPOPT  seconds |        G here  seconds | refined to 1e-4: G, certificate, nodes, seconds"
    )
    for q in given.accuracies:
        for seed in given.seeds:
            fixed = hj.Collocation(nodes=given.nodes, max_nodes=given.nodes, starts=1)
            one, spent, _ = ours(given.neurons, q, seed, fixed, given.engine)
            fine, longer, statistics = ours(
                given.neurons, q, seed, hj.Collocation(nodes=given.nodes, starts=1), given.engine
            )
            peer = "          -        -"
            if not given.no_ipopt:
                best, seconds, status = ipopt(given.neurons, q, seed, given.nodes)
                solved = f"{best:12.7f}" if status == "Solve_Succeeded" else f"{status[:12]:>12}"
                peer = f"{solved} {seconds:8.2f}"
            refined = f"{fine:12.7f} {statistics['certificate']:.1e} {statistics['nodes']:5d} {longer:8.2f}"
            print(f"{q:6g} {seed:4d} | {peer} | {one:13.7f} {spent:8.2f} | {refined}", flush=True)


if __name__ == "__main__":
    main()
