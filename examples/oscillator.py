"""Learn the frequency of a sine on-line: a rotation x' = -ω y, y' = ω x, with one weight ω on two arcs, ω and -ω.

While the sine is there, the rotation is held to it as in an adaptive observer: x' = -ω y + g (u - x), by a neuron of
the model a - g x and a frozen arc of weight g from the input u. The same sine is the target of x, and costate reversal
(18) moves ω. Then the teacher leaves: the bare rotation `Network.oscillators` goes on with the learnt ω by itself.

A rotation that only sees its error through ω cannot be taught on-line so: its phase is the integral of ω, and ω
gets the phase error by p_ω, that is two integrals and a lag, s³ + θ s² + K = 0, unstable for every gain K. The coupling
is the phase feedback that lacks. Then, for θ far above ω, p_x is about q (x - u)/(g + θ), and an error of ω falls on
the average like exp(-κt), κ = q/(m θ g (g + θ)), if κ is small beside g/2, the rate of the observer.

    pip install .
    python examples/oscillator.py --output figures
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr

import hamjl as hj

matplotlib.use("agg")
OMEGA, START = 2.0, 1.0  # radians per unit of time: of the sine, and where ω starts
COUPLING, THETA, RATE = 2.0, 20.0, 0.15  # g, θ, κ
Q = 1.0
MASS = Q / (RATE * THETA * COUPLING * (COUPLING + THETA))
TAUGHT, FREE = 100.0, 50.0
COLOURS = ("#0072B2", "#D55E00", "#009E73")
METHOD = hj.Adaptive(rtol=1e-8, atol=1e-10)
SINE = hj.signals.cosine(1.0, OMEGA, -np.pi / 2)


def coupled() -> hj.Network:
    """A rotation, whose x is drawn to the input u."""
    return hj.Network.from_arcs(
        [("u", "x0"), ("x0", "y0"), ("y0", "x0")],
        inputs=["u"],
        outputs=["x0"],
        neuron={"x0": f"a - {COUPLING}*x", "y0": "integrator"},
        tied={"omega": {"x0->y0": 1, "y0->x0": -1}},
    )


def taught(engine: str = "auto") -> xr.Dataset:
    """ω learns from the sine, from the wrong frequency and at rest."""
    problem = hj.Problem(
        coupled(),
        hj.Objective(loss_weight=Q, m=MASS, dissipation=THETA),
        inputs=SINE,
        target=SINE,
        span=(0.0, TAUGHT),
        initial={"w": xr.DataArray([COUPLING, START, -START], {"arc": ["u->x0", "x0->y0", "y0->x0"]})},
        frozen=["u"],
    )
    return hj.solve(problem, hj.CostateReversal(), METHOD, times=2001, engine=engine)


def free(last: xr.Dataset, engine: str = "auto") -> xr.Dataset:
    """The bare rotation goes on from the last of what was taught; the target is there only to be compared with."""
    rotation, start = hj.Network.oscillators(), float(last.time)
    problem = hj.Problem(
        rotation,
        hj.Objective(),
        target=SINE,
        span=(start, start + FREE),
        initial={"x": last.x, "w": last.w.sel(arc=list(rotation.arcs))},
        frozen=True,
    )
    return hj.solve(problem, method=METHOD, times=2001, engine=engine)


def draw(learning: xr.Dataset, alone: xr.Dataset):
    """ω over time, its error, and output and target at first and where the teacher leaves."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(8.6, 5.2), layout="constrained")
    omega = learning.shared.sel(weight="omega")
    axes[0, 0].axhline(OMEGA, color="k", lw=1, ls="--", label="of the sine")
    axes[0, 0].plot(omega.time, omega, color=COLOURS[0], label="learnt")
    axes[0, 0].set(title="Frequency of the rotation", ylabel="ω (radians per unit of time)")
    axes[0, 1].semilogy(omega.time, abs(omega - OMEGA), color=COLOURS[0], label="|ω - true ω|")
    axes[0, 1].semilogy(
        omega.time, np.exp(-RATE * omega.time), color=COLOURS[2], ls=":", label="exp(-κt), averaged theory"
    )
    axes[0, 1].set(title="Error of the frequency", ylabel="radians per unit of time")
    for ax, title, limits in zip(
        axes[1], ("At first", "The teacher leaves"), ((0, 25), (TAUGHT - 12.5, TAUGHT + 25)), strict=True
    ):
        for run, colour, label in ((learning, COLOURS[0], "taught"), (alone, COLOURS[1], "alone")):
            if limits[1] > run.time[0]:
                ax.plot(run.time, run.y[:, 0], color=colour, lw=1.8, label=f"x, {label}")
        for run, label in ((learning, "sine"), (alone, None)):
            ax.plot(run.time, run.z[:, 0], color="k", lw=1, ls=(0, (3, 2)), label=label)
        ax.axvspan(TAUGHT, TAUGHT + FREE, color="0.93", zorder=0)
        ax.set(title=title, xlim=limits, ylim=(-1.25, 1.7), ylabel="x, u")
    for ax in axes.flat:
        ax.set_xlabel("time")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize="small", ncols=3 if ax in axes[1] else 1)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="figures", type=Path)
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    learning = taught(given.engine)
    last = learning.isel(time=-1)
    alone = free(last, given.engine)
    learning.to_netcdf(given.output / "oscillator.nc")
    alone.to_netcdf(given.output / "oscillator-alone.nc")
    draw(learning, alone).savefig(given.output / "oscillator.png", dpi=160)
    omega, periods = float(last.shared.sel(weight="omega")), OMEGA * FREE / (2 * np.pi)
    rms = float(np.sqrt(((alone.y - alone.z) ** 2).mean()))
    print(f"engine {learning.attrs['engine']}: {learning.attrs['status']}, {alone.attrs['status']}")
    print(f"learnt ω {omega:.7f}, of the sine {OMEGA:g}: error {abs(omega - OMEGA):.1e}")
    print(f"alone for {periods:.1f} periods: rms of x - sine {rms:.1e}, amplitude {float(abs(alone.y).max()):.6f}")


if __name__ == "__main__":
    main()
