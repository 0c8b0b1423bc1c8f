"""Learn on-line to forecast the yearly sunspot numbers (1700-2008), one year ahead, in a single pass.

Each year has two halves. In the first the network sees the six years before and answers: that answer is scored. In the
second the year's number is shown as the target, and the weights move by costate reversal (18). There is no replay, no
epoch and no training set: a NaN target simply means that nothing is supervised. The problem is also written as a file,
so that ``hamjl run sunspots.toml -o sunspots.nc`` does the same.

    pip install ".[examples]"
    python examples/sunspots.py --output figures
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import statsmodels.api as sm
import xarray as xr

import hamjl as hj

matplotlib.use("agg")
LAGS = 6


def series() -> xr.DataArray:
    """Sunspot numbers, about 0 to 1, on years."""
    data = sm.datasets.sunspots.load_pandas().data
    return xr.DataArray(data.SUNACTIVITY.values / 200.0, dims="time", coords={"time": data.YEAR.values})


def problem(spots: xr.DataArray) -> hj.Problem:
    """A 6-10-1 network with bias; inputs are the years before, the target is shown in the second half of each year."""
    years = spots.time.values[LAGS:]
    past = np.stack([spots.values[LAGS - lag : len(spots) - lag] for lag in range(1, LAGS + 1)], axis=1)
    inputs = xr.DataArray(past, dims=("time", "lag"), coords={"time": years})
    halves = np.sort(np.concatenate((years, years + 0.5)))
    shown = np.where(halves % 1 == 0.5, np.repeat(spots.values[LAGS:], 2), np.nan)
    target = xr.DataArray(shown, dims="time", coords={"time": halves})
    return hj.Problem(
        hj.Network.layered([LAGS, 10, 1], bias=True, velocity=40.0),
        hj.Objective(loss_weight=80.0, k=1e-3, m=1.0, dissipation=20.0),
        inputs=hj.signals.series(inputs, "previous"),
        target=hj.signals.series(target, "previous"),
        span=(float(years[0]), float(years[-1])),
        initial={"w": {"normal": [0.0, 0.4]}},
        seed=0,
    )


def least_squares(spots: xr.DataArray) -> np.ndarray:
    """The classical on-line forecast from the same years: a linear model by recursive least squares."""
    forecast, w, p = [], np.zeros(LAGS + 1), 100.0 * np.eye(LAGS + 1)
    for k in range(LAGS, len(spots) - 1):
        past = np.append(spots.values[k - LAGS : k][::-1], 1.0)
        forecast.append(w @ past)
        gain = p @ past / (1.0 + past @ p @ past)
        w, p = w + gain * (spots.values[k] - forecast[-1]), p - np.outer(gain, past @ p)
    return np.array(forecast)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", default="figures", type=Path)
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)

    spots = series()
    learning = problem(spots)
    years = np.arange(learning.span[0], learning.span[1])
    recipe = hj.Recipe(learning, hj.CostateReversal(), hj.Euler(0.005), times=years + 0.49)
    recipe.save(folder / "sunspots.toml")
    run = hj.run(recipe)
    run.to_netcdf(folder / "sunspots.nc")

    truth = spots.sel(time=years).values
    before = spots.sel(time=years - 1).values
    forecast = run.y.values[:, 0]
    late = years >= 1850
    print(f"{run.attrs['status']}; RMS error from 1850 on, in sunspots:")
    forecasts = {
        "hamjl on-line": forecast,
        "last year's number": before,
        "recursive least squares": least_squares(spots),
    }
    for name, values in forecasts.items():
        print(f"  {name:24} {200 * np.sqrt(np.mean((values - truth)[late] ** 2)):.1f}")

    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, figsize=(7.5, 5.2), layout="constrained", sharex=True)
    top.plot(years, 200 * truth, color="k", lw=1, label="observed")
    top.plot(years, 200 * forecast, color="#D55E00", lw=1.2, label="forecast, one year ahead")
    top.set(ylabel="sunspots", title="On-line forecast of the yearly sunspot number, costate reversal (18)")
    top.legend(frameon=False, ncols=2, loc="upper left", fontsize="small")
    run.hamjl.plot_weights(ax=bottom)
    bottom.set(xlabel="year")
    for ax in (top, bottom):
        ax.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / "sunspots.png", dpi=160)


if __name__ == "__main__":
    main()
