"""Theorem 1 beside CasADi's IPOPT and Fatrop: the same Gauss collocation, the same mesh, the same starts.

python benchmarks/peers.py [--horizon 100] [--steps 200] [--limit 300] [--engine python]

Five neurons with self-loops, q = 100, r_w = 1, r = 0.1, target 0.5 cos .05 t, seed 0. Starts are those of hamjl's
search, x following the weights. The peers get exact sparse derivatives; their time is that of the solve alone. hamjl's
is that of a search from that start only, on that mesh only; the last line is its default, with all starts and a refined
mesh. Seconds are those of the processor: set OMP_NUM_THREADS=1, so that none is spent waiting.
"""

import argparse
import time
import warnings
from itertools import islice

import numpy as np
import xarray as xr

import hamjl as hj
from hamjl.control.collocation import MATRIX, NODES, Mesh
from hamjl.control.starts import starts
from hamjl.control.transcription import Transcription
from hamjl.lowering import lower_field

N, Q, R, R_W, OMEGA = 5, 100.0, 0.1, 1.0, 0.05
SOLVERS = {"ipopt": {"print_level": 0, "sb": "yes"}, "fatrop": {"print_level": 0}}


def problem(end: float) -> hj.Problem:
    network = hj.Network.fully_connected(N, self_loops=True)
    objective = hj.Objective.tracking(q=Q, r_w=R_W, r=R)
    return hj.Problem(network, objective, target=hj.signals.cosine(0.5, OMEGA), span=(0.0, end))


def begun(one: hj.Problem, steps: int, count: int) -> dict[str, Transcription]:
    """Starts by name, on the mesh, as transcriptions that have been there."""
    field, initial = lower_field(one), one.initial_vector()
    found = {}
    for start in islice(starts(field, initial, one.span), count):
        here = Transcription(field, Mesh.over(one.span, steps, np.zeros(0)), initial)
        if np.isfinite(here.cost(here.control.along(start.path))):
            found[start.name] = here
    return found


def peer(one: hj.Problem, steps: int, here: Transcription, name: str, limit: float) -> tuple[float, float, str]:
    """G, seconds and status of direct transcription, stage by stage."""
    import casadi as ca

    arcs, h, state = N * N, one.span[1] / steps, one.initial_state()
    node, stages, v = ca.SX.sym("node", N + arcs), ca.SX.sym("x", N, 2), ca.SX.sym("v", arcs, 2)
    z = ca.SX.sym("z", 2)
    w = [node[N:] + h * (MATRIX[i, 0] * v[:, 0] + MATRIX[i, 1] * v[:, 1]) for i in range(2)]
    f = [ca.tanh(ca.mtimes(ca.reshape(w[i], N, N).T, stages[:, i])) - stages[:, i] for i in range(2)]
    defects = [stages[:, i] - node[:N] - h * (MATRIX[i, 0] * f[0] + MATRIX[i, 1] * f[1]) for i in range(2)]
    spent = sum(
        h / 2 * (Q / 2 * (stages[0, i] - z[i]) ** 2 + R / 2 * ca.sumsqr(v[:, i]) + R_W * ca.sumsqr(w[i]))
        for i in range(2)
    )
    after = ca.vertcat(node[:N] + h / 2 * (f[0] + f[1]), node[N:] + h / 2 * (v[:, 0] + v[:, 1]))
    step = ca.Function("step", [node, stages, v, z], [after, ca.vertcat(*defects), spent])

    point = here.at(here.control.along(here.control.path(here._visited[0].unknown)))
    nodes = here.nodes(point.unknown)[:, : N + arcs]
    controls = here.control.control(point.unknown)
    unknowns, values, constraints, total = [], [], [], 0.0
    before = ca.SX.sym("node_0", N + arcs)
    target = 0.5 * np.cos(OMEGA * h * (np.arange(steps)[:, None] + NODES))
    for k in range(steps):
        x_k, v_k = ca.SX.sym(f"x_{k}", N, 2), ca.SX.sym(f"v_{k}", arcs, 2)
        following, defect, cost = step(before, x_k, v_k, target[k])
        unknowns += [before, ca.vec(x_k), ca.vec(v_k)]
        values += [nodes[k], point.x[k].ravel(), controls[k].ravel()]
        later = ca.SX.sym(f"node_{k + 1}", N + arcs)
        constraints.append(later - following)  # the dynamics first, then what holds within the interval
        if k == 0:
            constraints.append(before - np.concatenate((state["x"], state["w"])))
        constraints.append(defect)
        total, before = total + cost, later
    unknowns.append(before)
    values.append(nodes[-1])
    system = {"x": ca.vertcat(*unknowns), "f": total, "g": ca.vertcat(*constraints)}
    options = {"print_time": False, name: SOLVERS[name]}
    if name == "ipopt":
        options[name] = SOLVERS[name] | {"max_cpu_time": limit}
    else:
        options |= {"structure_detection": "auto", "equality": [True] * system["g"].shape[0]}
    solver = ca.nlpsol("direct", name, system, options)
    begun = time.process_time()
    found = solver(x0=np.concatenate(values), lbg=0, ubg=0)
    status = solver.stats().get("return_status", "") or ("solved" if solver.stats()["success"] else "failed")
    return float(found["f"]), time.process_time() - begun, str(status)


def ours(one: hj.Problem, method: hj.Collocation, engine: str) -> tuple[float, float, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hj.RunWarning)  # the mesh is not to be refined
        begun = time.process_time()
        run = hj.solve(one, hj.BoundaryValue(), method, times=2, engine=engine, progress=False)
    return run.hamjl.statistics["cost"], time.process_time() - begun, run.attrs["status"]


def control(one: hj.Problem, here: Transcription) -> xr.DataArray:
    """The start's own control, to hand over."""
    v, times = here.control.control(here._visited[0].unknown), here.mesh.stages.ravel()
    return xr.DataArray(v.reshape(len(times), -1), {"time": times}, ("time", "arc"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--horizon", type=float, default=100.0)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--limit", type=float, default=300.0)
    parser.add_argument("--engine", default="python")
    given = parser.parse_args()
    one = problem(given.horizon)
    ours(problem(2.0), hj.Collocation(nodes=10), given.engine)  # compiles what is compiled once
    print(f"T = {given.horizon:g}, {given.steps} intervals, engine {given.engine}")
    print(f"{'start':>18} {'solver':>8} {'G':>14} {'seconds':>9}  status")
    for name, here in begun(one, given.steps, given.starts).items():
        fixed = {"nodes": given.steps, "max_nodes": given.steps}
        rows = {"hamjl": ours(one, hj.Collocation(start=control(one, here), **fixed), given.engine)}
        rows |= {solver: peer(one, given.steps, here, solver, given.limit) for solver in SOLVERS}
        for solver, (cost, seconds, status) in rows.items():
            print(f"{name:>18} {solver:>8} {cost:14.6f} {seconds:9.2f}  {status}", flush=True)
    cost, seconds, status = ours(one, hj.Collocation(), given.engine)
    print(f"{'default, refined':>18} {'hamjl':>8} {cost:14.6f} {seconds:9.2f}  {status}")


if __name__ == "__main__":
    main()
