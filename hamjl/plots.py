"""Figures of a trajectory, in colours that colour-blind readers can tell apart. Each function returns its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from hamjl.errors import ProblemError
from hamjl.network import depths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette; yellow left out, too pale for a line
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
MANY_OUTPUTS, MANY_ARCS = 6, 60


def tracking(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Outputs (solid) and their targets (dashed) over time; the first six outputs if there are more."""
    ax = _axes(ax)
    _need(ds, "y", "z")
    shown = ds.isel(output=slice(0, MANY_OUTPUTS))
    single = ds.sizes["output"] == 1
    for k, name in enumerate(shown.output.values):
        colour = COLOURS[k % len(COLOURS)]
        label = "output y" if single else f"output {name}"
        ax.plot(ds.time, shown.y.isel(output=k), color=colour, lw=1.4, label=label, zorder=2)
        target = "#D55E00" if single else colour
        ax.plot(
            ds.time, shown.z.isel(output=k), color=target, lw=1.4, ls=(0, (4, 2)), label="target z" if single else None
        )
    if not single:
        ax.plot([], [], color="0.3", ls=(0, (4, 2)), label="targets")
    _finish(ax, "state of the output")
    return ax


def energies(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Lagrangian and Hamiltonian (both divided by φ) over time."""
    ax = _axes(ax)
    _need(ds, "lagrangian", "hamiltonian")
    ax.plot(ds.time, ds.lagrangian, color=COLOURS[0], lw=1.4, label="Lagrangian Λ/φ")
    ax.plot(ds.time, ds.hamiltonian, color=COLOURS[1], lw=1.4, ls=(0, (4, 2)), label="Hamiltonian H/φ")
    _finish(ax, "cost per unit of time")
    return ax


def comparison(ds: xr.Dataset) -> Any:
    """What `hamjl.compare` returns: the first output under each law above, the costs up to each time below."""
    import matplotlib.pyplot as plt

    _need(ds, "cost", "regret")
    drawn, axes = plt.subplots(2, figsize=(7.2, 5.4), layout="constrained", sharex=True)
    value = next((ds[name] for name in ("y", "x") if name in ds), None)
    styles = ("-", (0, (6, 2)), (0, (2, 1.5)), "-.")
    for k, law in enumerate(ds.law.values):
        line = {"color": COLOURS[k % len(COLOURS)], "ls": styles[k % len(styles)], "lw": 1.4, "label": str(law)}
        one = ds.sel(law=law)
        if value is not None:
            axes[0].plot(ds.time, value.sel(law=law).isel({value.dims[-1]: 0}), **line)
        axes[1].plot(ds.time, one.cost, **line)
    if "z" in ds:
        axes[0].plot(ds.time, ds.z.isel(law=0, output=0), color="0.35", ls=":", lw=1.6, label="target")
    _finish(axes[0], "first output y" if "y" in ds else "first state x")
    axes[0].set_xlabel("")
    if bool((ds.cost.isel(time=slice(1, None)) <= 0).any()):
        axes[1].set_yscale("symlog", linthresh=float(np.nanmax(np.abs(ds.cost))) / 1e3 or 1.0)
    else:
        axes[1].set_yscale("log")
    _finish(axes[1], "cost G up to t")
    axes[1].get_legend().remove()
    return drawn


def weights(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Weights over time: a line for each arc, or bands of percentiles where there are more than sixty."""
    ax = _axes(ax)
    _need(ds, "w")
    values = ds.w.transpose("time", "arc").values
    if values.shape[1] <= MANY_ARCS:
        targets = list(dict.fromkeys(ds.arc_target.values.tolist()))
        for k, target in enumerate(ds.arc_target.values.tolist()):
            ax.plot(ds.time, values[:, k], color=COLOURS[targets.index(target) % len(COLOURS)], lw=0.9, alpha=0.8)
        if len(targets) <= len(COLOURS):
            for k, target in enumerate(targets):
                ax.plot([], [], color=COLOURS[k], label=f"into {target}")
    else:
        for low, high, alpha in ((0, 100, 0.15), (5, 95, 0.25), (25, 75, 0.45)):
            a, b = np.percentile(values, [low, high], axis=1)
            label = f"{high - low} % of the {values.shape[1]} arcs" if low else "all arcs"
            ax.fill_between(ds.time, a, b, color=COLOURS[0], alpha=alpha, lw=0, label=label)
        ax.plot(ds.time, np.median(values, axis=1), color="k", lw=1, label="median")
    _finish(ax, "weight w")
    return ax


def network(ds: xr.Dataset, ax: Axes | None = None, time: int = -1) -> Axes:
    """The digraph at sample `time`: squares are inputs, circles neurons, double circles outputs; colour is weight."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    ax = _axes(ax, size=(5.2, 4.4))
    _need(ds, "w")
    if not -ds.sizes["time"] <= time < ds.sizes["time"]:
        raise ProblemError(f"time must count one of {ds.sizes['time']} samples, got {time}: choose another.")
    place = _places(ds)
    values = ds.w.isel(time=time).values
    limit = float(np.abs(values).max(initial=0.0)) or 1.0
    shade = ScalarMappable(Normalize(-limit, limit), colormaps["PuOr_r"])
    for j, i, value in zip(ds.arc_source.values.tolist(), ds.arc_target.values.tolist(), values, strict=True):
        _draw_arc(ax, place[j], place[i], shade.to_rgba(value), 0.6 + 2.2 * abs(value) / limit)
    inputs, outputs = set(_names(ds, "input")), set(_names(ds, "output"))
    for name, (x, y) in place.items():
        face = "#DDDDDD" if name in inputs else "white"
        ax.plot(x, y, "s" if name in inputs else "o", ms=19, mfc=face, mec="k", mew=1.2, zorder=3)
        if name in outputs:
            ax.plot(x, y, "o", ms=23, mfc="none", mec="#D55E00", mew=1.8, zorder=3)
        ax.annotate(name, (x, y), ha="center", va="center", fontsize=8, zorder=4)
    ax.figure.colorbar(shade, ax=ax, label=f"weight w at t = {float(ds.time[time]):g}", shrink=0.8)
    ax.margins(0.16)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return ax


def overview(ds: xr.Dataset) -> Any:
    """A figure with tracking, energies, weights and the network; what ``hamjl show -o`` writes."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    tracking(ds, axes[0, 0])
    energies(ds, axes[0, 1])
    weights(ds, axes[1, 0])
    network(ds, axes[1, 1])
    return figure


def _axes(ax: Axes | None, size: tuple[float, float] = (7.0, 3.2)) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def _names(ds: xr.Dataset, dim: str) -> list[str]:
    return [str(name) for name in ds[dim].values] if dim in ds.coords else []


def _need(ds: xr.Dataset, *names: str) -> None:
    missing = [name for name in names if name not in ds or "time" not in ds[name].dims or ds[name].ndim > 2]
    if missing or not ds.sizes["time"]:
        found = [
            f"{name} along {', '.join(map(str, ds[name].dims))}" if name in ds else f"no {name}" for name in missing
        ]
        thinned = any(str(dim).startswith("time_") for name in missing if name in ds for dim in ds[name].dims)
        raise ProblemError(
            f"this plot needs {', '.join(names)} over time of one run, got {' and '.join(found) or 'no samples'}: "
            f"{'store without thin what is to be drawn' if thinned else 'keep or select them'}."
        )


def _finish(ax: Axes, ylabel: str) -> None:
    ax.set_xlabel("time")
    ax.set_ylabel(ylabel)
    ax.margins(x=0)
    ax.spines[["top", "right"]].set_visible(False)
    if ax.get_legend_handles_labels()[0]:
        above: dict[str, Any] = {
            "loc": "lower right",
            "bbox_to_anchor": (1.0, 1.0),
            "borderaxespad": 0.2,
        }  # where no line is covered
        ax.legend(frameon=False, ncols=4, fontsize="small", columnspacing=1.2, handlelength=1.6, **above)


def _places(ds: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Inputs in a column at the left; neurons in columns by depth, or on a circle if there is a cycle."""
    inputs, neurons = _names(ds, "input"), _names(ds, "neuron")
    vertices = [*inputs, *neurons]
    source = np.array([vertices.index(name) for name in ds.arc_source.values.tolist()], dtype=np.int64)
    target = np.array([neurons.index(name) for name in ds.arc_target.values.tolist()], dtype=np.int64)
    depth = depths(len(inputs), len(neurons), source, target)
    columns: list[list[str]] = [inputs] if inputs else []
    place = {}
    if depth is None:
        angle = np.pi / 2 + 2 * np.pi * np.arange(len(neurons)) / len(neurons)
        centre = 2.4 if inputs else 0.0
        place = {
            name: (centre + 1.3 * float(np.cos(a)), 1.3 * float(np.sin(a)))
            for name, a in zip(neurons, angle, strict=True)
        }
    else:
        columns += [
            [name for name, d in zip(neurons, depth, strict=True) if d == k] for k in range(int(depth.max()) + 1)
        ]
    for k, column in enumerate(columns):
        for m, name in enumerate(column):
            place[name] = (1.4 * k, 0.8 * ((len(column) - 1) / 2 - m))
    return place


def _draw_arc(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: Any, width: float) -> None:
    from matplotlib.patches import FancyArrowPatch

    style: dict[str, Any] = {"color": colour, "lw": width, "arrowstyle": "-|>", "mutation_scale": 8, "zorder": 1}
    if start == end:  # a self-loop: out at the upper left, back at the upper right
        x, y = start
        loop = FancyArrowPatch((x - 0.1, y + 0.12), (x + 0.1, y + 0.12), connectionstyle="arc3,rad=-1.9", **style)
        ax.add_patch(loop)
        return
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle="arc3,rad=0.12", shrinkA=11, shrinkB=12, **style))
