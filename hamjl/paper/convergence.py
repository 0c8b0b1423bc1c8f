"""Corollary 1 and Proposition 4 as an experiment: what costate reversal tends to as the velocity c grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from hamjl import signals
from hamjl.laws import BackpropLimit, CostateReversal, Law
from hamjl.methods import Adaptive
from hamjl.network import Network
from hamjl.objective import Objective
from hamjl.paper.report import Report
from hamjl.plots import COLOURS
from hamjl.problem import Problem
from hamjl.solving import solve

VELOCITIES = (1e2, 10**2.5, 1e3, 10**3.5, 1e4)
SEEDS = (0, 1, 2)
SETTLED = 2.0  # time from which gradients are compared: p starts from 0, not from its equilibrium
WHAT = f"""\
Three random DAGs of 8 tanh neurons and 2 inputs learn under costate reversal (18), theta = 1, to follow a slow cosine
from slow inputs, for 20 units of time.

gradient error: g_i x_j against backpropagation's gradient of the loss for the same weights at the same time, the root
mean square over arcs and times from {SETTLED:g} on, relative to the gradient's (Corollary 1);
weight error: w(t) against the w(t) of gradient descent with momentum in continuous time, the backprop limit (20), the
root mean square over arcs and times, relative to what the limit has learnt (Proposition 4).
"""


def problem(seed: int, velocity: float, neurons: int = 8) -> Problem:
    """A random DAG in which every neuron but the first has a parent, and the last is the output."""
    rng = np.random.default_rng(seed)
    present = rng.random((neurons, 2 + neurons)) < 0.5
    present[:, 2:] = np.tril(present[:, 2:], -1)
    present[0, :2] = True
    present[np.arange(1, neurons), 2 + np.array([rng.integers(i) for i in range(1, neurons)])] = True
    return Problem(
        Network.from_adjacency(present, outputs=[f"x{neurons - 1}"], velocity=velocity),
        Objective(dissipation=1.0),
        inputs={"u0": signals.cosine(1.0, 0.5), "u1": signals.cosine(1.0, 0.3, 1.0)},
        target=signals.cosine(0.5, 0.4, offset=0.5),
        span=(0.0, 20.0),
        initial={"w": {"normal": [0.0, 0.7]}},
        seed=seed,
    )


def sweep(velocities: Sequence[float], seeds: Sequence[int], engine: str = "auto") -> xr.Dataset:
    """Both errors, (graph, velocity), and the slopes of their logarithms by that of c, (graph,)."""
    errors = np.empty((2, len(seeds), len(velocities)))
    engines = set()
    for row, seed in enumerate(seeds):
        limit = _solve(problem(seed, 1.0), BackpropLimit(), Adaptive("auto", rtol=1e-10, atol=1e-12), engine)
        learnt = _rms(limit.w - limit.w[0])
        for column, velocity in enumerate(velocities):
            run = _solve(problem(seed, velocity), CostateReversal(), Adaptive("auto", rtol=1e-8, atol=1e-11), engine)
            late = run.time >= SETTLED
            gradient = run.hamjl.backprop_gradient()[late]
            errors[0, row, column] = _rms(run.hamjl.local_gradient()[late] - gradient) / _rms(gradient)
            errors[1, row, column] = _rms(run.w - limit.w) / learnt
            engines.add(run.attrs["engine"])
    result = xr.Dataset(coords={"graph": list(seeds), "velocity": list(velocities)})
    for name, values, words in zip(
        ("gradient_error", "weight_error"), errors, ("g_i x_j as the gradient", "w as the limit's"), strict=True
    ):
        result[name] = ("graph", "velocity"), values, {"long_name": f"relative error of {words}", "units": "1"}
        slopes = np.polyfit(np.log(velocities), np.log(values.T), 1)[0]
        result[f"{name}_slope"] = "graph", slopes, {"long_name": f"log-log slope of {name} by c", "units": "1"}
    result.velocity.attrs = {"long_name": "velocity c", "units": "1/time"}
    result.graph.attrs = {"long_name": "seed of the random DAG"}
    return result.assign_attrs(title="convergence to backpropagation", engine=", ".join(sorted(engines)))


def reproduce(report: Report, engine: str = "auto") -> None:
    """Run the sweep; its errors, a figure of them and their slopes."""
    errors = sweep(VELOCITIES, SEEDS, engine)
    (axes,) = report.axes(1, 2, (7.6, 3.4), sharex=True)
    titles = {"gradient_error": "Local term against the gradient", "weight_error": "Weights against the limit's"}
    lines = [f"{report.name}. Errors of costate reversal fall like 1/c.", ""]
    for ax, (variable, title) in zip(axes, titles.items(), strict=True):
        for k, graph in enumerate(errors.graph.values):
            slope = float(errors[f"{variable}_slope"].sel(graph=graph))
            values = errors[variable].sel(graph=graph)
            label = f"DAG {graph}, slope {slope:.3f}"
            ax.loglog(errors.velocity, values, "os^"[k % 3], ls="-", lw=1.2, ms=5, color=COLOURS[k], label=label)
            lines.append(
                f"{variable.replace('_', ' ')}, DAG {graph}: slope {slope:.4f}; "
                + ", ".join(f"{float(e):.2e} at c = {c:.4g}" for c, e in zip(errors.velocity, values, strict=True))
            )
        ax.set(title=title, xlabel="velocity c", ylabel="relative error")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize="small")
    report.data(errors)
    report.close("\n".join([*lines, "", WHAT, f"engine {errors.attrs['engine']}\n"]))


def _solve(given: Problem, law: Law, method: Adaptive, engine: str) -> xr.Dataset:
    run = solve(given, law, method, times=401, engine=engine)
    if run.attrs["status"] == "interrupted":
        raise KeyboardInterrupt
    return run


def _rms(values: xr.DataArray) -> float:
    return float(np.sqrt((values**2).mean()))
