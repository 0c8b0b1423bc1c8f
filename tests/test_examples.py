"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

ROOT = Path(__file__).parent.parent


def test_sunspots_are_learnt_on_line(tmp_path):
    pytest.importorskip("statsmodels", reason="the sunspot series comes with statsmodels")
    script = ROOT / "examples" / "sunspots.py"
    done = subprocess.run(
        [sys.executable, str(script), "-o", str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    errors = {line[:26].strip(): float(line.split()[-1]) for line in done.stdout.splitlines()[1:]}
    assert errors["hamjl on-line"] < 0.85 * errors["last year's number"]
    assert (tmp_path / "sunspots.png").stat().st_size > 10_000
    again = tmp_path / "again.nc"
    command = [sys.executable, "-m", "hamjl", "run", str(tmp_path / "sunspots.toml"), "-o", str(again)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    xr.testing.assert_identical(xr.load_dataset(again), xr.load_dataset(tmp_path / "sunspots.nc"))


def test_a_live_stream_gives_the_trajectory_of_one_call(tmp_path):
    script = ROOT / "examples" / "live_stream.py"
    done = subprocess.run(
        [sys.executable, str(script), "-o", str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "one call: yes" in done.stdout
    ours, before = (float(line.split()[-1]) for line in done.stdout.splitlines() if "RMS error" in line)
    assert ours < 0.5 * before
    assert (tmp_path / "live_stream.png").stat().st_size > 10_000


def test_a_forecast_uses_no_value_of_its_own_year():
    """Changing what is shown from some year on changes no earlier answer, nor that year's: it is a forecast."""
    pytest.importorskip("statsmodels", reason="the sunspot series comes with statsmodels")
    sys.path.insert(0, str(ROOT / "examples"))
    try:
        import sunspots
    finally:
        sys.path.pop(0)
    import hamjl as hj

    spots = sunspots.series().isel(time=slice(0, 60))
    changed = spots.copy()
    changed[40:] = 0.9
    runs = []
    for data in (spots, changed):
        problem = sunspots.problem(data)
        times = np.arange(problem.span[0], problem.span[1]) + 0.49
        runs.append(hj.solve(problem, method=hj.Euler(0.005), times=times).y.values[:, 0])
    year = 40 - sunspots.LAGS
    np.testing.assert_array_equal(runs[0][: year + 1], runs[1][: year + 1])
    assert abs(runs[0][year + 1] - runs[1][year + 1]) > 1e-3
