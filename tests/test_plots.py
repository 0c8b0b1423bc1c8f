"""Plots: what they show, of what parts, and where it is drawn."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from conftest import recipes
from matplotlib.patches import Circle, Rectangle

import hamjl as hj


@pytest.mark.parametrize("plot", ["plot_tracking", "plot_energies", "plot_weights", "plot_network"])
def test_plots_label_their_axes_and_draw_where_told(plot, run):
    _, (left, right) = plt.subplots(1, 2)
    assert getattr(run.hamjl, plot)(ax=left) is left
    assert not right.has_data()
    alone = getattr(run.hamjl, plot)()
    assert alone is not left
    if plot != "plot_network":
        assert alone.get_xlabel() == "time"
        assert alone.get_ylabel()
        assert alone.get_legend() is not None
    plt.close("all")


def test_plots_of_unusual_networks():
    many = hj.Problem(hj.Network.fully_connected(9, outputs=8), hj.Objective(), target={"x0": 0.1}, span=(0, 1))
    run = hj.solve(many, times=3)
    for plot in ("plot_tracking", "plot_weights", "plot_network"):
        getattr(run.hamjl, plot)()
    with pytest.raises(hj.ProblemError, match="keep it"):
        run.drop_vars("w").hamjl.plot_weights()
    plt.close("all")


def values_of(ax: plt.Axes) -> list[np.ndarray]:
    """What lines of an axes show, those of its legend left out."""
    return [line.get_ydata() for line in ax.lines if len(line.get_ydata())]


def test_a_selected_output_or_arc_is_plotted(run):
    """A label that was selected leaves no dimension behind; the plot is of that one, and says of which."""
    for one in (run.isel(output=1), run.sel(output="x1")):
        ax = one.hamjl.plot_tracking()
        np.testing.assert_array_equal(values_of(ax), [run.y[:, 1], run.z[:, 1]])
        assert "x1" in ax.get_ylabel()
        assert one.drop_vars("z").hamjl.plot_tracking().lines
    arc = str(run.arc.values[2])
    ax = run.sel(arc=arc).hamjl.plot_weights()
    np.testing.assert_array_equal(values_of(ax), [run.w.sel(arc=arc)])
    assert ax.get_legend().get_texts()[0].get_text() == arc
    texts = {text.get_text() for text in run.sel(arc=arc).drop_vars("neuron").hamjl.plot_network().texts}
    assert set(arc.split("->")) <= texts
    plt.close("all")


PARTS = {
    "thinned": lambda run: run.isel(time=slice(None, None, 7)),
    "coarsened": lambda run: run.coarsen(time=10, boundary="trim").mean(),
    "interpolated": lambda run: run.interp(time=np.linspace(0, 2, 7)),
    "an output, a neuron, an input": lambda run: run.isel(output=0, neuron=3, input=1),
    "some arcs": lambda run: run.isel(arc=[5, 1]),
    "of its own samples": lambda run: run.assign(w=run.w[::10].rename(time="time_10")),
    "one sample": lambda run: run.isel(time=[3]),
    "no names": lambda run: run.drop_vars(["arc_source", "arc_target", "neuron", "output", "input"]),
    "no attributes": lambda run: run.drop_attrs(),
    "ended early": lambda run: run.where(run.time < 1.0),
}


@pytest.mark.parametrize("part", PARTS)
def test_plots_of_parts(run, part):
    for plot in ("plot_tracking", "plot_energies", "plot_weights", "plot_network"):
        assert getattr(PARTS[part](run).hamjl, plot)().has_data() or plot == "plot_network"
    assert len(PARTS[part](run).hamjl.plot_overview().axes) == 5  # and a bar of colours
    plt.close("all")


def test_plots_are_of_one_run(run):
    both = xr.concat([run, run], "repeat")
    for plot in ("plot_tracking", "plot_energies", "plot_weights", "plot_network", "plot_overview"):
        with pytest.raises(hj.ProblemError, match="'repeat' too: select along it"):
            getattr(both.hamjl, plot)()
    plt.close("all")


def test_the_network_is_drawn_at_the_sample_nearest_to_a_time(run):
    """The samples are 0.02 apart."""
    for time, title in ((None, "t = 2"), (0.509, "t = 0.5"), (0.511, "t = 0.52"), (0, "t = 0"), (2, "t = 2")):
        assert run.hamjl.plot_network(time=time).get_title() == title
    assert run.isel(time=5).hamjl.plot_network().get_title() == "t = 0.1"
    assert run.where(run.time < 1.0).hamjl.plot_network().get_title() == "t = 0.98"
    for part, time, words in ((run, -1, "0 to 2, got -1"), (run, np.nan, "finite"), (run.isel(time=5), 0.1, "omit it")):
        with pytest.raises(hj.ProblemError, match=words):
            part.hamjl.plot_network(time=time)
    plt.close("all")


def test_one_bar_of_colours_for_all_that_is_drawn_on_the_same_axes(run):
    _, ax = plt.subplots()
    for time in (0.0, 1.0, 2.0):
        ax.clear()
        run.hamjl.plot_network(ax, time)
        assert len(ax.figure.axes) == 2
    largest = float(abs(run.w[-1]).max())
    assert ax.figure.axes[1].get_ylim()[1] == pytest.approx(largest)
    plt.close("all")


def tracker(outputs: int, neurons: int = 6) -> xr.Dataset:
    network = hj.Network.fully_connected(neurons, outputs=outputs)
    target = {name: 0.1 * k for k, name in enumerate(network.outputs)}
    problem = hj.Problem(network, hj.Objective(), target=target, span=(0, 1), seed=0)
    return hj.solve(problem, method=hj.Euler(0.1))


@pytest.mark.parametrize(("outputs", "neurons"), [(1, 6), (3, 6), (6, 6), (20, 20), (1, 50)])
def test_legends_leave_the_curves_their_room(outputs, neurons):
    figure = tracker(outputs, neurons).hamjl.plot_overview()
    figure.draw_without_rendering()
    for ax in figure.axes[:3]:
        legend, box = ax.get_legend().get_window_extent(), ax.get_window_extent()
        assert legend.height < 0.2 * box.height
        assert legend.width < 1.15 * box.width
        assert box.width > 0.36 * figure.bbox.width
    plt.close("all")


def layered(*sizes: int, **options) -> xr.Dataset:
    network = hj.Network.layered(sizes, **options)
    inputs = {f"u{k}": 0.1 for k in range(sizes[0])}
    target = dict.fromkeys(network.outputs, 0.1)
    problem = hj.Problem(network, hj.Objective(), inputs=inputs, target=target, span=(0, 1), seed=0)
    return hj.solve(problem, method=hj.Euler(0.5))


CROWDED = {
    "2-8-1": lambda: layered(2, 8, 1),
    "2-8-1 with bias": lambda: layered(2, 8, 1, bias=True),
    "64-16-10": lambda: layered(64, 16, 10),
    "50 fully connected": lambda: tracker(1, 50),
    "6 fully connected": lambda: tracker(6),
}


@pytest.mark.parametrize("network", CROWDED)
def test_crowded_networks_are_readable(network):
    """Neither vertices nor their names lie on one another, and no name is too small."""
    ax = CROWDED[network]().hamjl.plot_network()
    ax.figure.draw_without_rendering()
    vertices = [patch for patch in ax.patches if isinstance(patch, Circle | Rectangle)]
    for one, other in combinations(vertices, 2):
        apart = np.hypot(*np.subtract(one.get_center(), other.get_center()))
        radii = [patch.get_width() / 2 for patch in (one, other)]
        assert apart == 0 or apart > sum(radii)  # a ring is around its circle
    assert ax.texts
    for text in ax.texts:
        assert text.get_fontsize() > 5
    for one, other in combinations(ax.texts, 2):
        if one.get_rotation() or other.get_rotation():
            places = ax.transData.transform([one.xy, other.xy])
            assert np.hypot(*(places[0] - places[1])) > one.get_fontsize() * ax.figure.dpi / 72
        else:
            assert not one.get_window_extent().overlaps(other.get_window_extent())
    plt.close("all")


def test_an_overview_of_a_system():
    system = hj.run(recipes()["system"])
    figure = system.hamjl.plot_overview()
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["state x", "control v (1/time)", "cost per unit of time", "costate p/φ (cost)"]
    np.testing.assert_array_equal(values_of(figure.axes[0]), [system.x[:, 0]])
    assert len(system[["v"]].hamjl.plot_overview().axes) == 1
    with pytest.raises(hj.ProblemError, match="got no variables"):
        system[[]].hamjl.plot_overview()
    plt.close("all")
