"""The picture of a network: vertices in layers or on a circle, arcs coloured by their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hamjl.network import depths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = NDArray[np.floating]

RADIUS = 0.36  # of a vertex, where the distance to the next one is 1
TALLEST = 12  # vertices at that distance in a column; more of them stand closer
HEADS = 150  # arcs that are drawn with heads, at most
SMALLEST = 5.5  # points: letters smaller than that are not read
NEGATIVE, ZERO, POSITIVE = "#5E3C99", "#CFCFCF", "#E66101"
OUTPUT = "#D55E00"


@dataclass
class Placement:
    """Where vertices are, (vertex, 2), and their radii (vertex,): in columns, or on a circle around the origin."""

    place: Points
    radius: Points
    columns: list[list[int]]
    circle: list[int]

    @property
    def sides(self) -> int:
        """How many columns there are from one side to the other; what is on a circle is at the right of one."""
        return len(self.columns) + bool(self.circle)


def draw(
    ax: Axes,
    inputs: Sequence[str],
    neurons: Sequence[str],
    outputs: Sequence[str],
    source: NDArray[np.int64],
    target: NDArray[np.int64],
    values: Points,
) -> Any:
    """Draw arcs (source among inputs and neurons, target among neurons) and vertices; return what colours mean.

    Squares are inputs, circles neurons, circles with a ring outputs. The strongest arcs are on top, and widest.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    names, layout = [*inputs, *neurons], layout_of(len(inputs), len(neurons), source, target)
    limit = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    shade = ScalarMappable(
        Normalize(-limit, limit), LinearSegmentedColormap.from_list("weights", [NEGATIVE, ZERO, POSITIVE])
    )
    curves = _curves(layout, source, target + len(inputs))
    strength = np.nan_to_num(np.abs(values) / limit)
    order = np.argsort(strength, kind="stable")
    _draw_arcs(ax, curves[order], shade.to_rgba(values[order]), strength[order])
    loops = bool((source == target + len(inputs)).any())
    _set_limits(ax, layout, loops)
    _draw_vertices(ax, layout, len(inputs), [name in outputs for name in names])
    _draw_names(ax, layout, names, loops)
    ax.set_axis_off()
    return shade


def layout_of(inputs: int, neurons: int, source: NDArray[np.int64], target: NDArray[np.int64]) -> Placement:
    """Inputs in a column at the left; neurons in columns by depth, or on a circle if there is a cycle."""
    depth = depths(inputs, neurons, source, target)
    place, radius = np.zeros((inputs + neurons, 2)), np.full(inputs + neurons, RADIUS)
    columns = [list(range(inputs))] if inputs else []
    if depth is not None:
        columns += [(inputs + np.nonzero(depth == k)[0]).tolist() for k in range(int(depth.max(initial=0)) + 1)]
        height = float(min(max(map(len, columns)), TALLEST) - 1)
        apart = max(1.8, 1.3 * height / max(len(columns) - 1, 1))
        across = apart * np.arange(len(columns))
    else:
        size = max(neurons / (2 * np.pi), 1.6) if neurons > 1 else 0.0
        angle = np.pi / 2 + 2 * np.pi * np.arange(neurons) / neurons
        place[inputs:] = size * np.stack((np.cos(angle), np.sin(angle)), axis=1)
        height, across = max(2 * size, 1.0), np.array([-size - max(2.0, 0.6 * size)])
    for x, column in zip(across[: len(columns)], columns, strict=True):
        step = min(1.0, height / max(len(column) - 1, 1))
        place[column] = [(x, step * ((len(column) - 1) / 2 - k)) for k in range(len(column))]
        radius[column] = RADIUS * step
    circle = [] if depth is not None else list(range(inputs, inputs + neurons))
    return Placement(place, radius, columns, circle)


def _curves(layout: Placement, source: NDArray[np.int64], target: NDArray[np.int64]) -> Points:
    """Arcs from the rim of one vertex to that of another, slightly bent; loops outwards; (arc, point, 2)."""
    start, end = layout.place[source], layout.place[target]
    chord = end - start
    length = np.maximum(np.linalg.norm(chord, axis=1), 1e-9)
    bend = (start + end) / 2 + 0.12 * np.stack((chord[:, 1], -chord[:, 0]), axis=1)
    first, last = 1.15 * layout.radius[source] / length, 1 - 1.35 * layout.radius[target] / length
    t = (first[:, None] + (last - first)[:, None] * np.linspace(0, 1, 24))[..., None]
    curves: Points = (1 - t) ** 2 * start[:, None] + 2 * t * (1 - t) * bend[:, None] + t**2 * end[:, None]
    for k in np.nonzero(source == target)[0]:
        curves[k] = _loop(start[k], layout.radius[source[k]])
    return curves


def _loop(centre: Points, radius: float) -> Points:
    """A loop at a vertex, away from the origin, (point, 2)."""
    away = np.arctan2(centre[1], centre[0]) if np.abs(centre).max() > 1e-9 else np.pi / 2
    corners = ((1.15, 0.6), (4.0, 0.5), (4.0, -0.5), (1.35, -0.6))  # distance by radius, angle
    a, b, c, d = (size * radius * np.array([np.cos(away + turn), np.sin(away + turn)]) for size, turn in corners)
    t = np.linspace(0, 1, 24)[:, None]
    curve: Points = centre + (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
    return curve


def _draw_arcs(ax: Axes, curves: Points, colours: Points, strength: Points) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    if len(curves) > HEADS:
        widths = 0.3 + 1.7 * strength
        ax.add_collection(LineCollection(list(curves), colors=colours, linewidths=widths, zorder=1), autolim=False)
        return
    for curve, colour, part in zip(curves, colours, strength, strict=True):
        style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 8, "zorder": 1}
        ax.add_patch(FancyArrowPatch(path=Path(curve), color=colour, lw=0.7 + 2.1 * part, **style))


def _set_limits(ax: Axes, layout: Placement, loops: bool) -> None:
    """Room for the vertices, what is written beside them, and loops."""
    pad = 1.0 + 0.05 * np.ptp(layout.place, axis=0).max() + (0.5 if loops else 0.0)
    (left, bottom), (right, top) = layout.place.min(axis=0) - pad, layout.place.max(axis=0) + pad
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    ax.set_aspect("equal")


def _draw_vertices(ax: Axes, layout: Placement, inputs: int, is_output: list[bool]) -> None:
    from matplotlib.patches import Circle, Rectangle

    for k, ((x, y), r) in enumerate(zip(layout.place, layout.radius, strict=True)):
        line = 1.2 * max(r / RADIUS, 0.25)
        if k < inputs:
            ax.add_patch(Rectangle((x - r, y - r), 2 * r, 2 * r, fc="#DDDDDD", ec="k", lw=line, zorder=3))
            continue
        ax.add_patch(Circle((x, y), r, fc="white", ec="k", lw=line, zorder=3))
        if is_output[k]:
            ax.add_patch(Circle((x, y), 1.22 * r, fc="none", ec=OUTPUT, lw=1.5 * line, zorder=3))


def _draw_names(ax: Axes, layout: Placement, names: list[str], loops: bool) -> None:
    """Names in the vertices where there is room, else beside them; above an inner column its first and last."""
    unit = _points(ax)
    for k, column in enumerate(layout.columns):
        if _write_inside(ax, layout, names, column, unit):
            continue
        step = float(layout.radius[column[0]]) / RADIUS
        if k in (0, layout.sides - 1) and step * unit > 1.2 * SMALLEST:
            _write_beside(ax, layout, names, column, -1 if k == 0 else 1)
        else:
            x, y = layout.place[column[0]]
            text = f"{_short(names[column[0]])} … {_short(names[column[-1]])}" if column[1:] else names[column[0]]
            ax.annotate(text, (x, y + 0.6), ha="center", va="bottom", fontsize="x-small", zorder=4)
    if layout.circle and not _write_inside(ax, layout, names, layout.circle, unit):
        _write_around(ax, layout, names, loops, unit)


def _write_inside(ax: Axes, layout: Placement, names: list[str], group: list[int], unit: float) -> bool:
    width = max(0.62 * max(len(names[k]) for k in group), 1.4)  # of a name, by the size of its letters
    size = min(9.0, 1.8 * float(layout.radius[group[0]]) * unit / width)
    if size >= SMALLEST:
        for k in group:
            ax.annotate(names[k], layout.place[k], ha="center", va="center", fontsize=size, zorder=4)
    return size >= SMALLEST


def _write_beside(ax: Axes, layout: Placement, names: list[str], column: list[int], side: int) -> None:
    for k in column:
        x, y = layout.place[k]
        place, align = (x + 1.5 * side * layout.radius[k], y), "left" if side > 0 else "right"
        ax.annotate(_short(names[k]), place, ha=align, va="center", fontsize="x-small", zorder=4)


def _write_around(ax: Axes, layout: Placement, names: list[str], loops: bool, unit: float) -> None:
    """Names outside a circle, as many as can be read."""
    size = float(np.clip(0.85 * unit, SMALLEST, 8.0))
    for k in layout.circle[:: max(1, int(np.ceil(1.1 * size / unit)))]:
        x, y = layout.place[k]
        angle = float(np.degrees(np.arctan2(y, x)))
        right = abs(angle) <= 90
        out = 1 + (1.3 if loops else 0.55) / float(np.hypot(x, y))
        ax.annotate(
            _short(names[k]), (out * x, out * y), ha="left" if right else "right", va="center", fontsize=size,
            rotation=angle if right else angle - 180, rotation_mode="anchor", zorder=4,
        )  # fmt: skip


def _points(ax: Axes) -> float:
    """Points of the page by unit of the picture, nearly: the figure is not laid out yet."""
    box = ax.get_window_extent()
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    return 72 / ax.figure.dpi * min(0.85 * box.width / (right - left), box.height / (top - bottom))


def _short(name: str) -> str:
    return name if len(name) <= 16 else f"{name[:15]}…"
