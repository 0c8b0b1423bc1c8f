"""How far Algorithm 1 is from the optimum over the paper's own run, with receding-horizon control in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from hamjl.adjoint import adjoint
from hamjl.laws import BoundaryValue, SignFlip
from hamjl.methods import Collocation, Euler, as_control
from hamjl.paper import experiments
from hamjl.paper.report import Report
from hamjl.plots import COLOURS, STYLES
from hamjl.problem import Problem
from hamjl.solving import solve
from hamjl.trajectory import join

ACCURACIES = (10.0, 100.0, 1000.0)
EVERY, AHEAD = 10.0, 40.0  # time between two plans, and how far they look ahead
STARTS = 4  # of a plan, that before, no control, and neurons kept alive
SAMPLES = 12001
LAWS = ("Theorem 1", "receding horizon", "sign flip", "doing nothing")
WHAT = f"""\
The paper's run (five neurons with self-loops, r_w = 1, r = 0.1, target 0.5 cos 0.01 t, T = 1200), and what its control
costs: G, from the start up to each time.

Theorem 1: the best local minimum found, from as many starts as stated; it knows the whole target.
receding horizon: Theorem 1 over the next {AHEAD:g} units of time, anew every {EVERY:g}; it knows the target that far.
sign flip: the weights of Algorithm 1 (Euler, step {experiments.STEP:g}, a flip at every step), replayed; causal.
doing nothing: the weights that the run begins with.
"""


def receding_horizon(
    problem: Problem, every: float, ahead: float, *, times: int = SAMPLES, engine: str = "auto"
) -> xr.Dataset:
    """Follow Theorem 1's plan over the next `ahead` units of time, and make another one `every` so many.

    Returns
    -------
    xarray.Dataset
        What `hamjl.adjoint` finds for the control: each plan has several starts, the plan before among them.
    """
    (start, end), state = problem.span, problem.initial_state()
    grid = np.linspace(start, end, times)
    parts: list[xr.Dataset] = []
    before: xr.DataArray | None = None
    now = start
    while now < end:
        then, horizon = min(now + every, end), min(now + ahead, end)
        options = {name: getattr(problem, name) for name in ("inputs", "target")}
        plan = Problem(
            problem.network,
            problem.objective,
            span=(now, horizon),
            initial={"x": state["x"], "w": state["w"]},
            **options,
        )
        mine = grid[(grid >= now) & ((grid < then) | (then == end))]
        sampled = np.union1d(np.append(mine, [now, then, horizon]), np.linspace(now, horizon, 401))
        method = Collocation(start=before, starts=STARTS if before is not None else None)
        run = solve(plan, BoundaryValue(), method, times=sampled, engine=engine, progress=False)
        parts.append(run[["w"]].sel(time=mine))
        last = run.sel(time=then, method="nearest")
        state = {"x": last.x.values, "w": last.w.values}
        before = as_control(run.sel(time=slice(then, None)), "start") if horizon > then else None
        now = then
    return adjoint(problem, join(parts), nodes=times)


def costs(q: float, *, end: float = 1200.0, engine: str = "auto") -> tuple[xr.Dataset, dict[str, Any]]:
    """Cost and output under each law, (law, time), and statistics of the optimum."""
    whole = experiments.problem(q, experiments.targets()["cosine"])
    problem = Problem(whole.network, whole.objective, target=whole.target, span=(0.0, end), seed=0)
    optimum = solve(problem, BoundaryValue(), times=SAMPLES, engine=engine, progress=False)
    flip = solve(problem, SignFlip(every_step=True), Euler(experiments.STEP), times=2001, engine=engine, progress=False)
    found = [
        optimum.assign(cost=optimum.hamjl.cost()),
        receding_horizon(problem, EVERY, AHEAD, engine=engine),
        adjoint(problem, flip, nodes=SAMPLES),
        adjoint(problem, nodes=SAMPLES),
    ]
    times = np.linspace(0.0, end, 601)
    parts = [run[["cost", "y"]].interp(time=times) for run in found]
    result = xr.concat(parts, "law", coords="minimal", compat="override").assign_coords(law=list(LAWS))
    result["z"] = optimum.z.interp(time=times)
    result["regret"] = result.cost - result.cost.sel(law=LAWS[0], drop=True)
    return result, optimum.hamjl.statistics


def reproduce(
    report: Report, engine: str = "auto", accuracies: Sequence[float] = ACCURACIES, end: float = 1200.0
) -> None:
    """Solve the paper's run for each accuracy; costs and outputs, a figure and a table of them."""
    axes = report.axes(2, len(accuracies), (3.6 * len(accuracies), 5.0), sharex=True)
    lines = [f"{'q':>6} {'law':>18} {'G':>12} {'times the optimum':>18}  optimum: starts, certificate, curvature"]
    parts = []
    for (above, below), q in zip(axes.T, accuracies, strict=True):
        found, statistics = costs(q, end=end, engine=engine)
        parts.append(found.expand_dims(q=[q]))
        best = float(found.cost.sel(law=LAWS[0])[-1])
        for law, colour, line in zip(LAWS, COLOURS, STYLES, strict=False):
            cost = found.cost.sel(law=law)
            look = {"color": colour, "ls": line, "lw": 2.4 if law == LAWS[0] else 1.2}  # lines may lie on each other
            above.plot(found.time, found.y.sel(law=law)[:, 0], label=law, **look)
            below.plot(found.time[1:], cost[1:], **look)
            note = f"{statistics['starts']}, {statistics['certificate']:.1e}, {statistics['curvature']:.3g}"
            total = f"{float(cost[-1]):12.3f} {float(cost[-1]) / best:18.3f}"
            lines.append(f"{q:6g} {law:>18} {total}  {note if law == LAWS[0] else ''}".rstrip())
        above.plot(found.time, found.z[:, 0], color="k", ls=":", lw=1, label="target")
        below.set_yscale("log")
        below.set_xlabel("time")
        below.set_xlim(0, end)
        below.set_xticks(np.linspace(0, end, 4))
        above.set_title(f"q = {q:g}", fontsize="medium", loc="left")
    axes[0, 0].set_ylabel("output")
    axes[1, 0].set_ylabel("cost G up to each time")
    axes[0, 0].figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(LAWS) + 1)
    whole = xr.concat(parts, "q", coords="different", compat="equals", join="outer")
    report.data(whole.assign_attrs(title="hamjl reproduce regret"))
    report.close("\n".join([*lines, "", WHAT]))
