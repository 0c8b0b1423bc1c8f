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


def test_digits_are_learnt_on_line_as_by_sgd_with_momentum(tmp_path):
    """At reduced size on the embedded engine: 600 digits, each shown once."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    command = [sys.executable, str(ROOT / "examples" / "digits.py"), "-o", str(tmp_path)]
    command += ["--train", "600", "--passes", "1", "--engine", "python"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    result = xr.load_dataset(tmp_path / "digits.nc")
    ours, theirs = (result.sel(rule=rule) for rule in ("costate reversal", "SGD with momentum"))
    assert float(ours.heldout[-1]) > 0.85
    assert float(ours.heldout[-1]) == pytest.approx(float(theirs.heldout[-1]), abs=0.02)
    assert float((ours.right == theirs.right).mean()) > 0.97
    assert (tmp_path / "digits.png").stat().st_size > 10_000


def test_a_rotation_learns_the_frequency_of_a_sine_and_goes_on_alone(tmp_path):
    command = [sys.executable, str(ROOT / "examples" / "oscillator.py"), "-o", str(tmp_path), "--engine", "python"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    taught, alone = (xr.load_dataset(tmp_path / name) for name in ("oscillator.nc", "oscillator-alone.nc"))
    omega = taught.shared.sel(weight="omega")
    assert float(omega[0]) == 1.0
    assert float(omega[-1]) == pytest.approx(2.0, abs=1e-6)  # from the wrong frequency to that of the sine
    np.testing.assert_array_equal(taught.w.sel(arc="x0->y0"), -taught.w.sel(arc="y0->x0"))
    assert "u" not in alone or alone.u.size == 0
    assert bool((alone.w == taught.w.isel(time=-1).sel(arc=alone.arc)).all())
    np.testing.assert_allclose(alone.y[:, 0], np.sin(2.0 * alone.time), rtol=0, atol=1e-4)
    assert (tmp_path / "oscillator.png").stat().st_size > 10_000


def test_a_convolution_learns_to_find_edges(tmp_path):
    """At reduced size: 200 signals and images, each shown once; the kernels are (-1, 0, 1)/2 and Sobel's, by 8."""
    command = [sys.executable, str(ROOT / "examples" / "edges.py"), "-o", str(tmp_path)]
    command += ["--samples", "200", "--engine", "python"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for kind, kernel, off in (
        ("signals", [-0.5, 0, 0.5], 1e-4),
        ("images", np.array([-1, 0, 1, -2, 0, 2, -1, 0, 1]) / 8, 0.02),
    ):
        run = xr.load_dataset(tmp_path / f"edges-{kind}.nc")
        assert float(abs(run.shared[0]).max()) == 0.0
        np.testing.assert_allclose(run.shared[-1], kernel, rtol=0, atol=off)
    assert (tmp_path / "edges.png").stat().st_size > 10_000


def test_edges_are_found_before_they_are_told(monkeypatch):
    """Telling others from the tenth signal on changes no answer up to the tenth, and later ones."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    import edges

    import hamjl as hj

    seen, answers = edges.samples((24,), 20), []
    told = edges.edges(edges.KERNELS["signals"], seen, (24,))
    np.testing.assert_allclose(told[0], (seen[0, 2:] - seen[0, :-2]) / 2, rtol=0, atol=1e-15)
    for target in (told, np.where(np.arange(20)[:, None] < 10, told, told + 1.0)):
        times = np.arange(20) + edges.ANSWER * edges.STEP
        problem = edges.problem("signals", seen, target)
        answers.append(hj.solve(problem, method=hj.Euler(edges.STEP), times=times).y.values)
    np.testing.assert_array_equal(answers[0][:11], answers[1][:11])
    assert abs(answers[0][11] - answers[1][11]).max() > 1e-3


def test_small_control_problems(tmp_path):
    script = ROOT / "examples" / "control.py"
    done = subprocess.run(
        [sys.executable, str(script), "-o", str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "time_reversed: 0.00000 to 10.51249" in done.stdout
    assert float(done.stdout.split("off the optimum by at most ")[1].split()[0]) < 1e-6
    assert (tmp_path / "control.png").stat().st_size > 10_000


@pytest.mark.parametrize("angle", [3.0, 2.0, -2.5])
def test_the_pendulum_is_swung_up_by_a_torque_that_could_not_lift_it(angle, engine, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import control

    run, settled = control.swing_up(engine, angle)
    assert run.attrs["status"] == "success"
    assert float(abs(run.v).max()) < 0.9  # gravity's torque is 1
    assert settled < 25.0
    assert float(np.cos(run.x.sel(state="phi")[-1])) == pytest.approx(1.0, abs=1e-6)


def test_a_digit_is_answered_before_it_is_told(monkeypatch):
    """Telling other digits from the tenth on changes no answer up to the tenth, and later ones."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    monkeypatch.syspath_prepend(ROOT / "examples")
    import digits

    import hamjl as hj

    seen, told, *_ = digits.data(20)
    net = digits.network()
    answers = []
    for labels in (told, np.where(np.arange(20) < 10, told, (told + 1) % 10)):
        problem = digits.stretch(net, 0, seen, labels, {"w": digits.initial_weights(net)})
        times = np.arange(20) + digits.ANSWER * digits.STEP
        answers.append(hj.solve(problem, method=hj.Euler(digits.STEP), times=times).y.values)
    np.testing.assert_array_equal(answers[0][:11], answers[1][:11])
    assert abs(answers[0][11] - answers[1][11]).max() > 1e-3


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
