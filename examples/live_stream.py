"""Learn from a stream that is never there as a whole: chunks come from a generator, and nothing restarts between them.

A sensor gives a noisy oscillation. From the last readings a network forecasts the next one, and then it is shown what
came. The session holds only the last chunk, and after half of the stream goes through a file, as if the machine had
been switched off. At the end the same data are given in one call: the two trajectories are compared.

    python examples/live_stream.py --output figures
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import numpy as np
import xarray as xr

import hamjl as hj

matplotlib.use("agg")
LAGS, READINGS, CHUNK, STEP = 4, 1200, 50, 0.01
METHOD, SAMPLES = hj.Euler(STEP), {"every": 0.25}


def sensor(rng: np.random.Generator) -> Iterator[float]:
    """One reading per unit of time, for ever."""
    x, v = 1.0, 0.0
    while True:
        for _ in range(20):
            v += 0.05 * (-0.25 * x + 0.05 * (1.0 - 4.0 * x * x) * v)
            x += 0.05 * v
        yield x + 0.02 * rng.normal()


def chunks(readings: Iterator[float], size: int, first: float = 0.0) -> Iterator[tuple[xr.DataArray, xr.DataArray]]:
    """Inputs (the last readings) and targets (the next one, shown in the second half of each unit of time)."""
    past = [next(readings) for _ in range(LAGS + 1)]
    time = first
    while True:
        times, inputs, targets = [], [], []
        for _ in range(size):
            times += [time, time + 0.5]
            inputs += [past[-2 : -LAGS - 2 : -1]] * 2
            targets += [np.nan, past[-1]]
            past, time = [*past[1:], next(readings)], time + 1.0
        u = xr.DataArray(inputs, dims=("time", "lag"), coords={"time": times})
        yield u, xr.DataArray(targets, dims="time", coords={"time": times})


def problem(u: xr.DataArray, z: xr.DataArray) -> hj.Problem:
    return hj.Problem(
        hj.Network.layered([LAGS, 10, 1], bias=True, velocity=40.0),
        hj.Objective(loss_weight=80.0, k=1e-3, dissipation=10.0),
        inputs=hj.signals.series(u, "previous"),
        target=hj.signals.series(z, "previous"),
        span=(float(u.time[0]), float(u.time[-1])),
        initial={"w": {"normal": [0.0, 0.4]}},
        seed=0,
    )


def stream(seed: int) -> Iterator[tuple[xr.DataArray, xr.DataArray]]:
    return chunks(sensor(np.random.default_rng(seed)), CHUNK)


def live(seed: int, checkpoint: Path) -> xr.Dataset:
    """The stream, chunk by chunk."""
    source = stream(seed)
    u, z = next(source)
    session = hj.Session(problem(u, z), hj.CostateReversal(), METHOD)
    parts = [session.advance(float(u.time[-1]), SAMPLES)]
    for k in range(1, READINGS // CHUNK):
        u, z = next(source)
        session.feed(inputs=u, target=z)
        parts.append(session.advance(float(u.time[-1]), SAMPLES))
        if k == READINGS // CHUNK // 2:
            session.checkpoint(checkpoint)
            session = hj.Session.restore(checkpoint)
    return hj.join(parts)


def at_once(seed: int) -> xr.Dataset:
    """The same data in one call."""
    source = stream(seed)
    pieces = [next(source) for _ in range(READINGS // CHUNK)]
    u, z = (xr.concat(part, "time") for part in zip(*pieces, strict=True))
    return hj.solve(problem(u, z), hj.CostateReversal(), METHOD, times=SAMPLES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="figures", type=Path)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    run = live(0, folder / "live_stream.json")
    whole = at_once(0)
    same = all(np.array_equal(run[name], whole[name]) for name in ("x", "w", "p_x", "p_w"))
    print(f"{READINGS} readings in chunks of {CHUNK}: {run.sizes['time']} samples")
    print(f"bitwise the trajectory of one call: {'yes' if same else 'NO'}")

    answers = run.y[:, 0].sel(time=np.arange(READINGS) + 0.25, method="nearest").values
    truth = run.z[:, 0].sel(time=np.arange(READINGS) + 0.5, method="nearest").values
    before = np.concatenate(([np.nan], truth[:-1]))
    late = np.arange(READINGS) >= READINGS // 2
    for name, forecast in {"hamjl on-line": answers, "the reading before": before}.items():
        error = np.sqrt(np.mean((forecast - truth)[late] ** 2))
        print(f"  RMS error of the second half, {name:18} {error:.3f}")

    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(2, figsize=(7.2, 4.6), layout="constrained")
    for ax, part in ((above, slice(0, 60)), (below, slice(READINGS - 60, READINGS))):
        ax.plot(np.arange(READINGS)[part], truth[part], "o", color="0.5", markersize=3, label="next reading")
        ax.plot(np.arange(READINGS)[part], answers[part], color="#0072B2", label="forecast, before it was shown")
        ax.set_ylabel("reading")
    above.set_title("The first and the last 60 readings", fontsize="medium", loc="left")
    above.legend(loc="lower right", bbox_to_anchor=(1.0, 0.98), ncols=2, fontsize="small", frameon=False)
    below.set_xlabel("time")
    figure.savefig(folder / "live_stream.png", dpi=150)
    print(folder / "live_stream.png")


if __name__ == "__main__":
    main()
