"""The paper's figures, and what else its theory says, as experiments by name: data, a figure and a text for each."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

MODULES = {
    **dict.fromkeys(("fig1", "fig2", "fig3", "fig4"), "experiments"),
    "backprop-limit": "convergence",
    "regret": "regret",
}
SLOW = ("regret",)  # minutes: by their own names only
ALL = tuple(name for name in MODULES if name not in SLOW)


def reproduce(name: str, folder: str | Path, engine: str = "auto") -> list[Path]:
    """Run an experiment and return the paths of the files written to `folder`, which is created if need be.

    If it is interrupted, KeyboardInterrupt is raised, and what there is of a figure's run has been written.
    """
    from hamjl.paper.report import Report

    report = Report(name, folder)
    import_module(f"hamjl.paper.{MODULES[name]}").reproduce(report, engine)
    return report.written
