"""The paper's numerical experiments (its Section 4.2, Figures 1 to 4): Hamiltonian sign flip by Algorithm 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr

from hamjl import plots, signals
from hamjl.laws import SignFlip
from hamjl.methods import Euler
from hamjl.network import Network
from hamjl.objective import Objective
from hamjl.paper.report import Report
from hamjl.problem import Problem
from hamjl.signals import Signal
from hamjl.solving import solve

STEP, SPEED, SAMPLES = 0.02, 0.01, 2001
GUESSES = f"""\
Given by the paper: n = 5 neurons, fully connected; r_w = 1, r = 0.1 and q as stated (no 1/2 on r_w); Algorithm 1, Euler
with x and w random and p = 0; the target on one neuron.

Guessed, because the paper does not print it:
- activation tanh: smooth and bounded, as Prop. 1 asks, and the target lies in its range;
- velocity c = 1: the cost of the experiments shows no c; phi = 1: it shows no dissipation either;
- self-loops; x, w ~ U[0, 1] from seed 0; the target on the first neuron;
- step {STEP}, the sign flipped at every step: the rate of convergence depends on the step and not on the frequency of
  the flips, and the step must stay below the stability threshold of the fastest mode;
- the target must be slow compared with that rate, since nothing faster is tracked:
{{targets}}.
"""
TARGETS = {
    "cosine": f"0.5 cos({SPEED} t)",
    "unpredictable": "patched, from seed 0, of cosines (amplitude 0.2 to 0.5, frequency 0.01 to 0.03 rad, any phase)\n"
    "  and constants (-0.5 to 0.5) in turn, each for 80 to 200 units of time",
    "predictable": f"0.35 cos({SPEED} t) + 0.15 cos({2 * SPEED} t)",
}


@dataclass(frozen=True)
class Figure:
    """One figure: its runs by label, how it is drawn, and its caption."""

    runs: dict[str, float]  # target by name: accuracy q
    plot: Callable[[xr.Dataset, Any], Any]
    caption: str


def _patched(seed: int = 0, end: float = 1200.0) -> Signal:
    """Cosines and constants patched at random: nothing in the past tells what comes next."""
    rng = np.random.default_rng(seed)
    pieces, start, wave = [], 0.0, True
    while start < end:
        if wave:
            piece = signals.cosine(rng.uniform(0.2, 0.5), rng.uniform(0.01, 0.03), rng.uniform(0, 2 * np.pi))
        else:
            piece = signals.constant(rng.uniform(-0.5, 0.5))
        pieces.append((start, piece))
        start += rng.uniform(80.0, 200.0)
        wave = not wave
    return signals.patches(pieces)


def targets() -> dict[str, Signal]:
    """The targets by name."""
    return {
        "cosine": signals.cosine(0.5, SPEED),
        "unpredictable": _patched(),
        "predictable": signals.cosines([(0.35, SPEED, 0.0), (0.15, 2 * SPEED, 0.0)]),
    }


FIGURES = {
    "fig1": Figure({"cosine": 100.0}, plots.tracking, "Tracking a cosine with accuracy q = 100."),
    "fig2": Figure({"cosine": 1000.0}, plots.tracking, "Tracking a cosine with accuracy q = 1000."),
    "fig3": Figure(
        {"unpredictable": 100.0, "predictable": 100.0},
        plots.tracking,
        "Tracking with q = 100 a signal patched from cosines and constants at random, and a sum of two cosines.",
    ),
    "fig4": Figure(
        {"unpredictable": 100.0, "predictable": 100.0},
        plots.energies,
        "Lagrangian and Hamiltonian of the runs of Figure 3.",
    ),
}


def problem(q: float, target: Signal, seed: int = 0) -> Problem:
    """The experiments' network and objective for an accuracy q and a target."""
    network = Network.fully_connected(5, self_loops=True)
    return Problem(network, Objective.tracking(q=q, r_w=1.0, r=0.1), target=target, span=(0.0, 1200.0), seed=seed)


@lru_cache(maxsize=8)
def experiment(target: str, q: float, engine: str = "auto") -> xr.Dataset:
    """Run one experiment: a target by name, tracked with accuracy q."""
    method, law = Euler(STEP), SignFlip(every_step=True)
    return solve(problem(q, targets()[target]), law, method, times=SAMPLES, engine=engine)


def reproduce(report: Report, engine: str = "auto") -> None:
    """Run the experiments of a figure; what there is of one that is interrupted is written first."""
    figure = FIGURES[report.name]
    axes = report.axes(len(figure.runs), 1, (7.2, 0.6 + 2.6 * len(figure.runs)))
    lines = [f"{report.name}. {figure.caption}", ""]
    for ax, (target, q) in zip(axes[:, 0], figure.runs.items(), strict=True):
        run = experiment(target, q, engine)
        run = run.assign_attrs(title=f"{report.name}, {target} target, q = {q:g}")
        report.data(run, None if len(figure.runs) == 1 else target)
        if run.attrs["status"] == "interrupted":
            experiment.cache_clear()
            raise KeyboardInterrupt
        figure.plot(run, ax)
        ax.set_title(f"{target} target, q = {q:g}", fontsize="medium", loc="left")
        error = float(run.hamjl.tracking_error()[0])
        rest = float(np.sqrt((run.z**2).sel(time=slice(600, None)).mean()))
        lines.append(
            f"{target}: RMS error {error:.4f} over the second half (predicting 0 gives {rest:.4f}); "
            f"{run.attrs['status']}."
        )
    told = ";\n".join(f"  {target}: {TARGETS[target]}" for target in figure.runs)
    report.close("\n".join([*lines, "", GUESSES.format(targets=told)]))
