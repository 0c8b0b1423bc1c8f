"""Learn to find edges on-line: a convolution whose kernel is shared by all places, from a stream, by costate reversal.

Signals of a few levels are shown one at a time, each for one unit of time, eight steps of Euler. The network first
answers; then it is told for a quarter of the time where the edges are, and in the rest the error flows back. Between
samples nothing is reset, and no sample comes twice. The kernel starts at zero; each of its weights is moved by the sum
over all the places where it stands: learning is not local within it. The same is done for images, with Sobel's kernel.

Mass and dissipation are those at which the law is about stochastic gradient descent with a wanted momentum μ and
learning rate: θ = (1 - μ^(τ/D))/τ and m = S τ q (1 - μ)/(θ rate), for S supervised steps of τ in the time D of a
sample (see examples/digits.py).

    pip install .
    python examples/edges.py --output figures
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr

import hamjl as hj

matplotlib.use("agg")
STEPS = 8  # of Euler while a sample is shown, which is the unit of time
ANSWER, SUPERVISED = STEPS // 2, STEPS // 4  # step of the answer, and for how many steps the edges are then told
STEP, MOMENTUM = 1 / STEPS, 0.5
THETA = (1 - MOMENTUM ** (1 / STEPS)) / STEP
KERNELS = {
    "signals": np.array([-1.0, 0.0, 1.0]) / 2,
    "images": np.outer([1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]) / 8,
}
SHAPES, RATES = {"signals": (24,), "images": (12, 12)}, {"signals": 0.02, "images": 0.003}
COLOURS = ("#0072B2", "#D55E00", "#009E73")


def samples(shape: tuple[int, ...], count: int) -> np.ndarray:
    """Random piecewise constant signals or images, (sample, place): six boxes of random levels, later over earlier."""
    rng, result = np.random.default_rng(0), np.zeros((count, *shape))
    for sample in result:
        for level in rng.uniform(-1, 1, 6):
            corners = np.sort([rng.choice(size + 1, 2, replace=False) for size in shape], axis=1)
            sample[tuple(slice(first, last) for first, last in corners)] = level
    return result.reshape(count, -1)


def edges(kernel: np.ndarray, seen: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What is to be found, (sample, place): the kernel at each place of the samples."""
    axes = tuple(range(1, 1 + kernel.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(seen.reshape(-1, *shape), kernel.shape, axes)
    return np.tensordot(windows, kernel, kernel.ndim).reshape(len(seen), -1)


def problem(kind: str, seen: np.ndarray, told: np.ndarray) -> hj.Problem:
    """The stream of all the samples, with the edges told for a part of the time of each."""
    kernel, when = KERNELS[kind], np.arange(len(seen) + 1.0)
    network = hj.Network.convolutional(SHAPES[kind], kernel.shape, activation="identity", velocity=float(STEPS))
    times = (when[:-1, None] + np.array([0, ANSWER, ANSWER + SUPERVISED]) * STEP).ravel()
    target = np.full((len(times) + 1, told.shape[1]), np.nan)
    target[1::3] = told
    target = xr.DataArray(target, {"time": np.append(times, when[-1])}, ("time", "channel"))
    inputs = xr.DataArray(np.concatenate((seen, seen[-1:])), {"time": when}, ("time", "channel"))
    mass = SUPERVISED * STEP * (1 - MOMENTUM) / (THETA * RATES[kind])
    return hj.Problem(
        network,
        hj.Objective(m=mass, dissipation=THETA),
        inputs=hj.signals.series(inputs, "previous"),
        target=hj.signals.series(target, "previous"),
        span=(0, len(seen)),
        initial="zeros",
    )


def learn(kind: str, count: int, engine: str = "auto") -> xr.Dataset:
    """The trajectory at the answers, with the true ``edges`` and ``kernel``."""
    seen = samples(SHAPES[kind], count)
    told = edges(KERNELS[kind], seen, SHAPES[kind])
    answers = np.arange(count) + ANSWER * STEP
    run = hj.solve(
        problem(kind, seen, told),
        hj.CostateReversal(),
        hj.Euler(STEP),
        times=np.append(answers, float(count)),
        engine=engine,
    )
    run["edges"] = ("time", "output"), np.concatenate((told, told[-1:])), {"long_name": "true edges", "units": "1"}
    run["kernel"] = "weight", KERNELS[kind].ravel(), {"long_name": "true kernel", "units": "1"}
    return run


def errors(run: xr.Dataset) -> xr.DataArray:
    """Root mean square over places of each answer's error, before it is told."""
    return np.sqrt(((run.y - run.edges) ** 2).mean("output")).isel(time=slice(-1))


def draw(runs: dict[str, xr.Dataset]):
    """A row for each kind: weights in time, the kernel at the end, errors of the answers, and the last sample."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(runs), 4, figsize=(11.0, 4.8), layout="constrained", width_ratios=(1, 1, 1, 1.4))
    for row, (kind, run) in zip(axes, runs.items(), strict=True):
        show_weights(row[0], run)
        show_kernel(row[1], run)
        found = errors(run)
        row[2].semilogy(found.time, found, color=COLOURS[0], lw=0.8)
        row[2].set(title="Answers before they are told", ylabel="rms error", xlabel=f"{kind} shown")
        row[0].set(xscale="log", xlabel=f"{kind} shown", ylabel=f"weight, {kind}")
        (show_signal if kind == "signals" else show_image)(row[3], run.isel(time=-2))
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def show_weights(ax, run: xr.Dataset) -> None:
    for true in np.unique(run.kernel):
        ax.axhline(true, color="k", lw=0.8, ls="--", label="true" if true == run.kernel.max() else None)
    for k, weight in enumerate(run.shared.transpose("weight", "time")):
        ax.plot(run.time, weight, color=COLOURS[0], lw=1.2, label="learnt" if k == 0 else None)
    ax.set_title("Weights of the kernel")
    ax.legend(frameon=False, fontsize="small", loc="upper left", handlelength=1.0)


def show_kernel(ax, run: xr.Dataset) -> None:
    names = run.weight.values
    ax.bar(names, run.shared.isel(time=-1), color=COLOURS[0], label="learnt")
    ax.plot(names, run.kernel, "_", color="k", ms=14 if len(names) < 5 else 9, mew=2, label="true")
    ax.set(title="Kernel at the end", xlabel="weight")
    ax.tick_params(axis="x", rotation=0 if len(names) < 5 else 60)
    ax.legend(frameon=False, fontsize="small", loc="lower right", handlelength=1.0)


def show_signal(ax, at: xr.Dataset) -> None:
    place = np.arange(at.sizes["input"])
    middle = place[1:-1]
    ax.step(place, at.u, where="mid", color="0.6", label="signal")
    ax.plot(middle, at.edges, "o", color="k", mfc="none", ms=6, label="true edges")
    ax.plot(middle, at.y, "x", color=COLOURS[1], ms=4, label="found")
    ax.set(title="The last signal", xlabel="place", ylim=(-1.1, 1.1))
    ax.legend(frameon=False, fontsize="small", loc="upper left")


def show_image(ax, at: xr.Dataset) -> None:
    ax.set(title="The last image")
    ax.axis("off")
    for k, (name, values) in enumerate({"image": at.u, "true edges": at.edges, "found": at.y}.items()):
        side = int(np.sqrt(values.size))
        part, top = ax.inset_axes([0.35 * k - 0.02, 0.15, 0.33, 0.7]), 1.0 if k == 0 else 0.5
        part.imshow(values.values.reshape(side, side), cmap="PuOr", vmin=-top, vmax=top)
        part.set_title(name, fontsize="small")
        part.set(xticks=[], yticks=[])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="figures", type=Path)
    parser.add_argument("--samples", default=600, type=int, help="how many signals, and images, are shown")
    parser.add_argument("--engine", default="auto")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    runs = {kind: learn(kind, given.samples, given.engine) for kind in KERNELS}
    draw(runs).savefig(given.output / "edges.png", dpi=160)
    for kind, run in runs.items():
        run.to_netcdf(given.output / f"edges-{kind}.nc")
        off, error = float(abs(run.shared.isel(time=-1) - run.kernel).max()), errors(run)
        print(f"{kind}: engine {run.attrs['engine']}, {run.attrs['status']}, {given.samples} shown once")
        print(f"  largest error of the kernel {off:.1e}, largest weight {float(run.kernel.max()):g}")
        print(f"  rms of the answers before they are told: first {float(error[:10].mean()):.1e}", end="")
        print(f" (mean of ten), last {float(error[-10:].mean()):.1e}")


if __name__ == "__main__":
    main()
