"""Figures of a trajectory, in colours that colour-blind readers can tell apart.

What a Dataset lacks is not needed: one output, arc or neuron may be selected, variables may have samples of their own
(a thinned store), and an overview draws what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import xarray as xr

from hamjl import diagram
from hamjl.checks import number
from hamjl.errors import ProblemError, shown
from hamjl.trajectory import over_time, time_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette; yellow left out, too pale for a line
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), "-.")
DASHED: Any = (0, (4, 2))
MANY_LINES, MANY_ARCS = 6, 60

_bars: WeakKeyDictionary[Axes, Any] = WeakKeyDictionary()  # one bar of colours for all that is drawn on the same axes


def tracking(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Outputs (solid) and their targets (dashed) over time; the first six outputs if there are more."""
    y = _curves(ds, "y", "output")
    z = _curves(ds, "z", "output") if "z" in ds else None
    ax = _axes(ax)
    names = _labels(y, "output")
    for k, name in enumerate(names[:MANY_LINES]):
        single, colour = len(names) == 1, COLOURS[k]
        _line(ax, y[:, k], color=colour, lw=1.4, label="output y" if single else _short(name), zorder=2)
        if z is not None and name in (found := _labels(z, "output")):
            style = {"color": COLOURS[1], "label": "target z"} if single else {"color": colour}
            _line(ax, z[:, found.index(name)], lw=1.4, ls=DASHED, **style)
    if z is not None and len(names) > 1:
        ax.plot([], [], color="0.3", ls=DASHED, label="targets")
    _say_how_many(ax, names, "outputs")
    one = "the output" if "output" in ds.y.dims else _short(names[0])  # by name where it was selected
    _finish(ax, f"state of {one if len(names) == 1 else 'the outputs'}")
    return ax


def energies(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Lagrangian and Hamiltonian (both divided by φ) over time, or the one there is."""
    styles = {"lagrangian": ("Lagrangian Λ/φ", COLOURS[0], "-"), "hamiltonian": ("Hamiltonian H/φ", COLOURS[1], DASHED)}
    values = {name: _curves(ds, name) for name in [name for name in styles if name in ds] or styles}
    ax = _axes(ax)
    for name, value in values.items():
        label, colour, ls = styles[name]
        _line(ax, value, color=colour, lw=1.4, ls=ls, label=label)
    _finish(ax, "cost per unit of time")
    return ax


def lines(ds: xr.Dataset, name: str, dim: str, ylabel: str, ax: Axes | None = None) -> Axes:
    """A variable over time, a line for each label of `dim`; the first six if there are more."""
    value = _curves(ds, name, dim)
    names, ax = _labels(value, dim), _axes(ax)
    for k, label in enumerate(names[:MANY_LINES]):
        _line(ax, value[:, k], color=COLOURS[k], ls=STYLES[k % len(STYLES)], lw=1.4, label=_short(label))
    _say_how_many(ax, names, f"{dim}s")
    _finish(ax, ylabel)
    return ax


def weights(ds: xr.Dataset, ax: Axes | None = None) -> Axes:
    """Weights over time: a line for each arc, or bands of percentiles where there are more than sixty."""
    w = _curves(ds, "w", "arc")
    arcs, ax = _labels(w, "arc"), _axes(ax)
    if len(arcs) > MANY_ARCS:
        _bands(ax, w)
    else:
        ends = [arc.partition("->")[2] for arc in arcs]
        targets = list(dict.fromkeys(ends))
        few = len(targets) <= len(COLOURS) and all("->" in arc for arc in arcs)
        for k, end in enumerate(ends):
            _line(ax, w[:, k], color=COLOURS[targets.index(end) if few else 0], lw=0.9, alpha=0.8)
        legend = [f"into {_short(end)}" for end in targets] if few else [f"{len(arcs)} arcs"]
        for k, label in enumerate([_short(arcs[0]) if "arc" in w.coords else "w"] if len(arcs) == 1 else legend):
            ax.plot([], [], color=COLOURS[k], label=label)
    _finish(ax, "weight w")
    return ax


def network(ds: xr.Dataset, ax: Axes | None = None, time: float | None = None) -> Axes:
    """The digraph at the sample nearest to `time`: squares are inputs, circles neurons, rings outputs.

    Colour is weight. By default at the last sample that has numbers. Where vertices stand too close for their names,
    these are beside them, or the first and the last of a column above it; more than 150 arcs have no heads.
    """
    w = _weights_at(ds, time)
    arcs = _labels(w, "arc")
    if not all("->" in arc for arc in arcs):
        raise ProblemError(f"this plot needs arcs by name, got {shown(arcs[0])}: keep the coordinate arc.")
    ax = _axes(ax, size=(5.2, 4.4))
    pairs = [(start, end) for start, _, end in (arc.partition("->") for arc in arcs)]
    inputs, neurons = _vertices(ds, pairs)
    source = np.array([[*inputs, *neurons].index(start) for start, _ in pairs], dtype=np.int64)
    target = np.array([neurons.index(end) for _, end in pairs], dtype=np.int64)
    shade = diagram.draw(ax, inputs, neurons, _names(ds, "output"), source, target, w.values)
    if (bar := _bars.get(ax)) is None:
        _bars[ax] = ax.figure.colorbar(shade, ax=ax, label="weight w", shrink=0.8)
    else:
        bar.update_normal(shade)
    if "time" in w.coords:
        now = w.time.values[()]
        ax.set_title(f"t = {now:g}" if np.issubdtype(w.time.dtype, np.number) else f"t = {now}", fontsize="medium")
    return ax


def comparison(ds: xr.Dataset) -> Figure:
    """What `hamjl.compare` returns: the first output under each law above, the costs up to each time below."""
    import matplotlib.pyplot as plt

    for needed in ("cost", "law"):
        if needed not in ds:
            raise ProblemError(f"this plot needs costs of laws, got no {needed}: draw what compare gave.")
    ds = ds if "law" in ds.dims else ds.expand_dims("law")
    first = next(((n, d) for n, d in (("y", "output"), ("x", "neuron"), ("x", "state")) if _has(ds, n, d)), None)
    rows = 1 if first is None else 2
    drawn, axes = plt.subplots(rows, figsize=(7.2, 2.7 * rows), layout="constrained", sharex=True, squeeze=False)
    _draw_costs(axes[-1, 0], ds)
    if first is None:
        _write_legend(axes[0, 0])
    else:
        _draw_values(axes[0, 0], ds, *first)
        axes[0, 0].set_xlabel("")
    return drawn


def _draw_values(ax: Axes, ds: xr.Dataset, name: str, dim: str) -> None:
    """The first of a variable under each law, and its target."""
    for k in range(ds.sizes["law"]):
        value = _curves(ds.isel(law=k), name, dim)
        _line(ax, value[:, 0], **_law_style(ds, k))
    if "z" in ds and name == "y":
        _line(ax, _curves(ds.isel(law=0), "z", dim)[:, 0], color="0.35", ls=":", lw=1.6, label="target")
    _finish(ax, f"{name} of {dim} {_short(_labels(value, dim)[0])}")


def _draw_costs(ax: Axes, ds: xr.Dataset) -> None:
    """The cost up to each time under each law, on a scale of powers of ten."""
    costs = [_curves(ds.isel(law=k), "cost") for k in range(ds.sizes["law"])]
    for k, cost in enumerate(costs):
        _line(ax, cost, **_law_style(ds, k))
    if any(bool((cost[1:] <= 0).any()) for cost in costs):
        ax.set_yscale("symlog", linthresh=float(np.nanmax(np.abs(ds.cost))) / 1e3 or 1.0)
    else:
        ax.set_yscale("log")
    _finish(ax, "cost G up to t", legend=False)


def _law_style(ds: xr.Dataset, k: int) -> dict[str, Any]:
    label = _short(str(ds.law.values[k]))
    return {"color": COLOURS[k % len(COLOURS)], "ls": STYLES[k % len(STYLES)], "lw": 1.4, "label": label}


def overview(ds: xr.Dataset) -> Figure:
    """All that a Dataset has: tracking, energies, weights and network, or states, controls, energies and costates."""
    import matplotlib.pyplot as plt

    panels = list(_panels(ds))
    if not panels:
        found = ", ".join(map(str, ds.data_vars)) or "no variables"
        raise ProblemError(f"this plot needs samples of y, x, w or energies over time, got {found}: keep some.")
    rows, columns = (len(panels) + 1) // 2, min(len(panels), 2)
    figure, axes = plt.subplots(rows, columns, figsize=(5.5 * columns, 3.5 * rows), layout="constrained", squeeze=False)
    for ax, draw in zip(axes.flat, panels, strict=False):
        draw(ds, ax=ax)
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    return figure


def _panels(ds: xr.Dataset) -> Iterator[Callable[..., Axes]]:
    if _has(ds, "y", "output"):
        yield tracking
    else:
        yield from (
            partial(lines, name="x", dim=dim, ylabel="state x") for dim in ("neuron", "state") if _has(ds, "x", dim)
        )
    if _has(ds, "v", "control"):
        yield partial(lines, name="v", dim="control", ylabel="control v (1/time)")
    if _has(ds, "lagrangian") or _has(ds, "hamiltonian"):
        yield energies
    if _has(ds, "p_x", "state"):
        yield partial(lines, name="p_x", dim="state", ylabel="costate p/φ (cost)")
    if _has(ds, "w", "arc"):
        yield weights
    if "w" in ds and "arc" in ds.w.coords and (_has(ds, "w") or ds.w.dims in ((), ("arc",))):
        yield network


def _has(ds: xr.Dataset, name: str, dim: str | None = None) -> bool:
    """Whether there are samples of a variable, along `dim` or of one of its labels."""
    if name not in ds or (dim is not None and dim not in (*ds[name].dims, *ds[name].coords)):
        return False
    return time_of(ds[name]) is not None and ds[name].size > 0


def _curves(ds: xr.Dataset, name: str, dim: str | None = None) -> xr.DataArray:
    """A variable over time, (time,) or (time, dim), also where one label was selected."""
    value = over_time(ds, name, "plot")
    stray = [str(d) for d in value.dims if d not in ("time", dim)]
    if stray:
        raise ProblemError(f"a plot is of one run, got {name} along {stray[0]!r} too: select along it.")
    if not value.size:
        raise ProblemError(f"this plot needs at least one {dim} of {name}, got none: keep or select some.")
    if dim is None:
        return value
    return (value if dim in value.dims else value.expand_dims(dim)).transpose("time", dim)


def _weights_at(ds: xr.Dataset, time: float | None) -> xr.DataArray:
    """The weights at the sample nearest to a time, by default the last one that has numbers, (arc,)."""
    if "w" in ds and time_of(ds.w) is None and set(ds.w.dims) <= {"arc"}:
        if time is not None:
            raise ProblemError(f"time chooses one of the samples, got {shown(time)} for weights of one time: omit it.")
        return ds.w if ds.w.dims else ds.w.expand_dims("arc")
    w = _curves(ds, "w", "arc")
    if time is None:
        last = (k for k in range(w.sizes["time"] - 1, -1, -1) if np.isfinite(w[k].values).all())
        return w[next(last, -1)]
    samples, time = w.time.values, number(time, "time")
    if samples.dtype.kind not in "iuf":
        raise ProblemError(f"time chooses a sample where times are numbers, got {samples.dtype}: use isel.")
    if not samples.min() <= time <= samples.max():
        span = f"{samples.min():g} to {samples.max():g}"
        raise ProblemError(f"time must be within the samples, {span}, got {time:g}: choose another.")
    return w[int(np.abs(samples - time).argmin())]


def _vertices(ds: xr.Dataset, pairs: list[tuple[str, str]]) -> tuple[list[str], list[str]]:
    """Inputs and neurons: those named by the Dataset, and the ends of arcs."""
    inputs, neurons = _names(ds, "input"), _names(ds, "neuron")
    targets = {end for _, end in pairs}
    if "input" not in ds.coords:
        inputs = list(dict.fromkeys(start for start, _ in pairs if start not in {*neurons, *targets}))
    ends = (name for pair in pairs for name in pair if name not in inputs)
    return inputs, list(dict.fromkeys((*neurons, *ends)))


def _names(ds: xr.Dataset, dim: str) -> list[str]:
    return [str(name) for name in np.atleast_1d(ds[dim].values)] if dim in ds.coords else []


def _labels(value: xr.DataArray, dim: str) -> list[str]:
    return [str(name) for name in np.atleast_1d(value[dim].values)]


def _short(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:19]}…"


def _axes(ax: Axes | None, size: tuple[float, float] = (7.0, 3.2)) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def _line(ax: Axes, value: xr.DataArray, **style: Any) -> None:
    """Values over time; a point where there is one sample."""
    ax.plot(value.time.values, value.values, marker="o" if value.size == 1 else None, **style)


def _bands(ax: Axes, w: xr.DataArray) -> None:
    """Percentiles over all arcs."""
    values = w.values
    for low, high, alpha in ((0, 100, 0.15), (5, 95, 0.25), (25, 75, 0.45)):
        a, b = np.percentile(values, [low, high], axis=1)
        label = f"{high - low} %" if low else f"all {values.shape[1]} arcs"
        ax.fill_between(w.time.values, a, b, color=COLOURS[0], alpha=alpha, lw=0, label=label)
    _line(ax, w.median("arc", skipna=False), color="k", lw=1, label="median")


def _say_how_many(ax: Axes, names: list[str], what: str) -> None:
    if len(names) > MANY_LINES:
        ax.plot([], [], " ", label=f"({MANY_LINES} of {len(names)} {what})")


def _finish(ax: Axes, ylabel: str, legend: bool = True) -> None:
    ax.set_xlabel("time")
    ax.set_ylabel(ylabel)
    ax.margins(x=0)
    ax.spines[["top", "right"]].set_visible(False)
    if legend:
        _write_legend(ax)


def _write_legend(ax: Axes) -> None:
    """A legend above the axes, where no line is covered, in as many columns as fit."""
    texts = ax.get_legend_handles_labels()[1]
    if not texts:
        return
    letters = ax.get_window_extent().width * 72 / ax.figure.dpi / 4.4  # of a line of small print
    columns = int(np.clip(letters // (np.mean([len(text) for text in texts]) + 6), 1, len(texts)))
    ax.legend(
        frameon=False, ncols=columns, fontsize="small", columnspacing=1.2, handlelength=1.6, handletextpad=0.5,
        loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2,
    )  # fmt: skip
