"""The laws on small control problems given as formulas: linear-quadratic tracking, Examples 1 and 2, a pendulum.

    python examples/control.py --output figures

1. Example 2, x' = a x + v with cost (q x² + v²)/2: the Riccati equation backward in time is optimal control; forward it
   tends to the root that makes x grow; with its time reversed, which is causal, to the right one.
2. The same system told to track cos ωt by Hamiltonian sign flip at every step of Euler: the step sets the gain.
3. Example 1, cost |w|²/2: what is optimal, and what the causal laws make of it from p = 0.
4. A pendulum is swung up and held by costate reversal (18). Its torque stays below the 1 that lifting it straight up
   would take. The cost is on the energy, with a narrow well at the top. The dissipation is large, so the costate is
   little more than the present gradient of that cost: (18) follows it down and foresees nothing.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr

import hamjl as hj

matplotlib.use("agg")
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#000000")
A, Q, OMEGA, STEP = 0.5, 100.0, 0.5, 0.02


def tracking() -> hj.SymbolicSystem:
    """Example 2 with a target: x' = a x + v, cost q (x - z)²/2 + v²/2."""
    return hj.SymbolicSystem(
        {"x": "a*x + v"},
        ["v"],
        "q*(x - z)**2/2 + v**2/2",
        span=(0, 60),
        parameters={"a": A, "q": Q},
        signals={"z": hj.signals.cosine(1.0, OMEGA)},
    )


def example_1(costate: float = 0.0) -> hj.SymbolicSystem:
    """w' = v, cost (v² + w²)/2, φ = e^{0.8 t}."""
    return hj.SymbolicSystem(
        {"w": "v"}, ["v"], "w**2/2 + v**2/2", span=(0, 4), initial={"w": 1.0}, costates={"w": costate}, dissipation=0.8
    )


def pendulum(angle: float = np.pi - 0.1) -> hj.SymbolicSystem:
    """φ'' = sin φ + v, φ from the top; cost on the distance from the top's energy, and a well around the top."""
    return hj.SymbolicSystem(
        {"phi": "omega", "omega": "sin(phi) + v"},
        ["v"],
        "2*(omega**2/2 + cos(phi) - 1)**2 + (30*omega**2 - 200)*exp(-10*(1 - cos(phi))) + v**2/2",
        span=(0, 40),
        initial={"phi": angle},
        dissipation=15.0,
    )


def optimum(times: np.ndarray, theta: float = 0.8) -> tuple[np.ndarray, float]:
    """w(t) of Example 1 from w = 1, in closed form, and w'(0)."""
    r1, r2 = np.sort(np.roots([1.0, theta, -1.0]))
    late, early = r2 * np.exp(r2 * times[-1]), r1 * np.exp(r1 * times[-1])
    w = (late * np.exp(r1 * times) - early * np.exp(r2 * times)) / (late - early)
    return w, (late * r1 - early * r2) / (late - early)


def swing_up(engine: str = "auto", angle: float = np.pi - 0.1) -> tuple[xr.Dataset, float]:
    """The pendulum's run, and the time from which on cos φ > 0.95."""
    run = hj.solve(pendulum(angle), hj.CostateReversal(), hj.Adaptive(rtol=1e-8, atol=1e-10), times=2001, engine=engine)
    down = run.time[(np.cos(run.x.sel(state="phi")) <= 0.95).values]
    return run, float(down[-1])


def show_riccati(ax) -> None:
    times, mu = np.linspace(0, 1, 201), np.sqrt(A**2 + Q)
    lines = {"time_reversed": ("-", COLOURS[0]), "backward": ("--", COLOURS[1]), "forward": (":", COLOURS[2])}
    for direction, (style, colour) in lines.items():
        theta = hj.riccati(A, 1.0, Q, 1.0, times, direction)[:, 0, 0]
        ax.plot(times, theta, color=colour, ls=style, label=direction.replace("_", " "))
        print(f"Riccati {direction}: {float(theta[0]):.5f} to {float(theta[-1]):.5f}; roots {A + mu:.5f}, {A - mu:.5f}")
    ax.set(title="Example 2: θ(t) of p = θ x", ylabel="θ")


def show_tracking(ax, engine: str) -> None:
    run = hj.solve(tracking(), hj.SignFlip(every_step=True), hj.Euler(STEP), times=3001, engine=engine)
    ax.plot(run.time, np.cos(OMEGA * run.time), color=COLOURS[1], ls="--", label="target cos ωt")
    ax.plot(run.time, run.x[:, 0], color=COLOURS[0], label="x")
    ax.set(title="LQ tracking by sign flip, Euler", ylabel="x", ylim=(-1.1, 1.6))
    rate = A**2 + Q
    gain = float(run.x.sel(time=slice(60 - 4 * np.pi / OMEGA, None)).max())
    theory = Q / rate / np.sqrt(1 + (2 * OMEGA / (STEP * rate)) ** 2)
    print(f"LQ tracking: gain {gain:.3f}, by the theory, to first order in the step, {theory:.3f}")


def show_example_1(ax, engine: str) -> None:
    method = hj.Adaptive(rtol=1e-9, atol=1e-11)
    for law, style, colour in ((hj.Cauchy(), "--", COLOURS[1]), (hj.CostateReversal(), "-.", COLOURS[2])):
        run = hj.solve(example_1(), law, method, times=401, engine=engine)
        ax.plot(run.time, run.x[:, 0], color=colour, ls=style, label=f"{type(law).__name__}, p(0) = 0")
    best, speed = optimum(run.time.values)
    run = hj.solve(example_1(-speed), hj.Cauchy(), method, times=401, engine=engine)  # p = -w'
    ax.plot(run.time, run.x[:, 0], color=COLOURS[0], label="Cauchy, optimal p(0)")
    ax.plot(run.time[::20], best[::20], "o", color=COLOURS[3], ms=3, label="optimum, closed form")
    ax.set(title="Example 1", ylabel="w", ylim=(-0.6, 3.0))
    print(f"Example 1: from the optimal p(0) off the optimum by at most {float(abs(run.x[:, 0] - best).max()):.1e}")


def show_pendulum(ax, engine: str) -> None:
    run, settled = swing_up(engine)
    ax.plot(run.time, np.cos(run.x.sel(state="phi")), color=COLOURS[0], label="cos φ (1: up)")
    ax.plot(run.time, run.v[:, 0], color=COLOURS[1], lw=0.9, label="torque v (gravity: 1)")
    ax.axhline(1, color="0.6", lw=0.6, zorder=0)
    ax.set(title="Pendulum under costate reversal", ylabel="cos φ, v")
    torque, end = float(abs(run.v).max()), float(np.cos(run.x.sel(state="phi")[-1]))
    print(f"pendulum: up for good from t = {settled:.2f}, largest torque {torque:.3f}, cos φ at the end {end:.6f}")


def main() -> None:
    import matplotlib.pyplot as plt

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="figures", type=Path)
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(2, 2, figsize=(9.0, 6.2), layout="constrained")
    show_riccati(axes[0, 0])
    show_tracking(axes[0, 1], given.engine)
    show_example_1(axes[1, 0], given.engine)
    show_pendulum(axes[1, 1], given.engine)
    for ax in axes.flat:
        ax.set_xlabel("time")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize="small", loc="best" if ax is not axes[0, 1] else "upper right")
    figure.savefig(given.output / "control.png", dpi=160)


if __name__ == "__main__":
    main()
