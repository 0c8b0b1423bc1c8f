"""The command line, as a user types it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from conftest import posix

import hamjl as hj
from hamjl.cli import main


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    return result.exit_code, result.output


@pytest.fixture
def problem_file(tmp_path: Path) -> Path:
    """A problem whose data are a user's own CSV file."""
    t = np.arange(0.0, 30.0, 0.5)
    rows = [f"{a},{np.sin(a)},{np.sin(a + 0.5)}" for a in t]
    (tmp_path / "data.csv").write_text("\n".join(["when,now,next", *rows]))
    path = tmp_path / "problem.toml"
    path.write_text(
        """
        times = 50
        law = "costate_reversal"
        method = {name = "LSODA", rtol = 1e-5}
        [problem]
        span = [1, 29]
        initial = {w = {normal = [0, 0.5]}}
        [problem.network]
        kind = "layered"
        sizes = [2, 5, 1]
        bias = true
        velocity = 20.0
        [problem.objective]
        loss_weight = 20.0
        k = 0.001
        dissipation = 4.0
        [problem.inputs.u0]
        kind = "series"
        file = "data.csv"
        time = "when"
        columns = ["now"]
        [problem.inputs.u1]
        kind = "series"
        file = "data.csv"
        time = "when"
        columns = ["now"]
        delay = 1.0
        scale = 0.5
        interpolation = "cubic"
        [problem.target]
        kind = "series"
        file = "data.csv"
        time = "when"
        columns = ["next"]
        """
    )
    return path


def test_run_learns_from_a_csv_file(problem_file, tmp_path):
    out = tmp_path / "out.nc"
    code, output = call("run", problem_file, "-o", out)
    assert code == 0, output
    assert "success" in output
    run = xr.load_dataset(out)
    assert run.attrs["status"] == "success"
    np.testing.assert_allclose(run.u.sel(input="u0"), np.sin(run.time), atol=0.04)
    np.testing.assert_allclose(run.u.sel(input="u1"), 0.5 * np.sin(run.time - 1.0), atol=1e-3)
    early, late = run.sel(time=slice(1, 5)), run.sel(time=slice(20, None))
    rms = [float(np.sqrt(((part.y - part.z) ** 2).mean())) for part in (early, late)]
    assert rms[1] < 0.5 * rms[0]
    xr.testing.assert_identical(hj.run(run.hamjl.recipe), run)
    code, output = call("show", out, "-o", tmp_path / "out.png")
    assert code == 0, output
    assert "weight w" in output
    assert (tmp_path / "out.png").stat().st_size > 10_000


def test_run_learns_from_a_netcdf_file(problem_file, tmp_path):
    t = np.linspace(0, 30, 61)
    xr.DataArray(np.sin(t), dims="time", coords={"time": t}, name="now").to_netcdf(tmp_path / "data.nc")
    text = problem_file.read_text().replace(
        'file = "data.csv"\n        time = "when"\n        columns = ["now"]', 'file = "data.nc"'
    )
    assert text.count("data.nc") == 2
    problem_file.write_text(text)
    code, output = call("run", problem_file, "-o", tmp_path / "out.nc")
    assert code == 0, output


def breakages() -> dict[str, tuple[str, str, str]]:
    """(what to replace, by what, words of the refusal)"""
    return {
        "no such file": ('file = "data.csv"', 'file = "date.csv"', "readable CSV"),
        "no such column": ('columns = ["next"]', 'columns = ["nxt"]', "did you mean 'next'"),
        "columns a number": ('columns = ["next"]', "columns = 3", "columns must be a list of names, got 3"),
        "columns a table": ('columns = ["next"]', "columns = {next = 1}", "columns must be a list of names"),
        "no columns": ('columns = ["next"]', "columns = []", "columns must be a list of names, got []"),
        "not TOML": ("times = 50", "times = = 50", "must be TOML"),
        "unknown key": ("times = 50", "tims = 50", "did you mean 'times'"),
        "code": ('law = "costate_reversal"', "law = '__import__(\"os\")'", "known name"),
        "evil activation": ("velocity = 20.0", "activation = '().__class__'", "may hold only"),
        "short data": ("span = [1, 29]", "span = [1, 31]", "cover the span"),
        "bad number": ("loss_weight = 20.0", "loss_weight = 'twenty'", "number"),
    }


@pytest.mark.parametrize("case", breakages())
def test_wrong_files_are_refused_in_one_line_and_nothing_is_written(case, problem_file, tmp_path):
    old, new, words = breakages()[case]
    text = problem_file.read_text()
    assert old in text
    problem_file.write_text(text.replace(old, new))
    before = sorted(tmp_path.iterdir())
    code, output = call("run", problem_file, "-o", tmp_path / "out.nc")
    assert code == 1
    assert words in output
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_outputs_that_cannot_be_written_are_refused_first(problem_file, tmp_path):
    for output, words in ((tmp_path, "regular file"), (tmp_path / "none" / "out.nc", "folder must exist")):
        code, text = call("run", problem_file, "-o", output)
        assert (code, words in text) == (1, True)
    code, text = call("reproduce", "fig1", "-o", problem_file)
    assert (code, "must be a folder" in text) == (1, True)
    assert call("show", tmp_path / "none.nc")[0] == 1
    assert "a problem file" in call("show", problem_file)[1]
    assert "no such" in call("run", tmp_path / "none.toml", "-o", tmp_path / "out.nc")[1].lower()
    xr.Dataset({"a": 1}).to_netcdf(tmp_path / "foreign.nc")
    assert "recipe" in call("show", tmp_path / "foreign.nc")[1]
    assert not (tmp_path / "out.nc").exists()


@posix
def test_outputs_that_are_no_regular_files_are_left_alone(problem_file, tmp_path):
    os.mkfifo(tmp_path / "pipe.nc")
    code, text = call("run", problem_file, "-o", tmp_path / "pipe.nc")
    assert (code, "regular file" in text) == (1, True)
    assert (tmp_path / "pipe.nc").is_fifo()
    code, text = call("run", problem_file, "-o", problem_file)
    assert (code, "must not be the problem file" in text) == (1, True)
    assert "[problem]" in problem_file.read_text()
    (tmp_path / "real.nc").write_text("old")
    (tmp_path / "link.nc").symlink_to(tmp_path / "real.nc")
    assert call("run", problem_file, "-o", tmp_path / "link.nc")[0] == 0
    assert (tmp_path / "link.nc").is_symlink()
    assert xr.load_dataset(tmp_path / "real.nc").attrs["status"] == "success"


def test_foreign_and_partial_files_are_shown_or_refused_in_a_line(tmp_path):
    xr.Dataset(attrs={"recipe": "x"}).to_netcdf(tmp_path / "half.nc")
    code, text = call("show", tmp_path / "half.nc")
    assert (code, text.count("\n"), "hamjl" in text) == (1, 1, True)
    problem = hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=0.1, span=(0, 1))
    run = hj.solve(problem, times=3)
    run.drop_vars("z").isel(time=[0]).to_netcdf(tmp_path / "part.nc")
    assert call("show", tmp_path / "part.nc")[0] == 0
    run.isel(time=[]).to_netcdf(tmp_path / "none.nc")
    assert call("show", tmp_path / "none.nc")[0] == 0
    code, text = call("show", tmp_path / "none.nc", "-o", tmp_path / "none.png")
    assert (code, text.splitlines()[-1].startswith("Error: this plot needs")) == (1, True)
    assert not (tmp_path / "none.png").exists()


def test_deep_and_dotted_files_are_refused(tmp_path):
    for k, text in enumerate(
        ["a = " + "[" * 3000, ".".join("a" * 3000) + " = 1", "a = " + "9" * 5001, "[problem]\na=1"]
    ):
        (tmp_path / f"{k}.toml").write_text(text)
        code, output = call("run", tmp_path / f"{k}.toml", "-o", tmp_path / "out.nc")
        assert (code, output.count("\n")) == (1, 1)


@pytest.mark.parametrize("kind", ["csv", "nc"])
def test_dates_become_numbers(kind, problem_file, tmp_path):
    days = np.arange("2001-01-01", "2001-02-10", dtype="M8[D]")
    values = np.sin(np.arange(len(days)))
    if kind == "csv":
        rows = [f"{day},{value}" for day, value in zip(days, values, strict=True)]
        (tmp_path / "dated.csv").write_text("\n".join(["date,spots", *rows]))
        where = 'file = "dated.csv"\ntime = "date"\n'
    else:
        data = xr.DataArray(values, dims="date", coords={"date": days.astype("M8[ns]")}, name="spots")
        data.to_netcdf(tmp_path / "dated.nc")
        where = 'file = "dated.nc"\ntime = "date"\n'
    series = f'kind = "series"\n{where}time_unit = "days"\n'
    text = problem_file.read_text()
    problem_file.write_text(text[: text.index("[problem.target]")] + f"[problem.target]\n{series}")
    code, output = call("run", problem_file, "-o", tmp_path / "out.nc")
    assert code == 0, output
    run = xr.load_dataset(tmp_path / "out.nc")
    np.testing.assert_allclose(run.z.values[:, 0], np.interp(run.time, np.arange(len(days)), values), atol=1e-12)
    problem_file.write_text(problem_file.read_text().replace('time_unit = "days"', ""))
    code, output = call("run", problem_file, "-o", tmp_path / "out.nc")
    assert (code, "time_unit" in output, output.count("\n")) == (1, True, 1)


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("time,a\n0,1,5\n1,2,6\n", {}, "as many values as its header, got more"),
        ("time,a\n2000,1\n2001,2\n", {"time_unit": "days"}, "is for dates as in 2000-01-31, got 2000 in data.csv"),
        ("time,a\n31/01/2000,1\n", {"time_unit": "days"}, "is for dates as in 2000-01-31, got 31/01/2000 in data.csv"),
    ],
)
def test_tables_that_would_be_misread_are_refused(tmp_path, text, options, words):
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(hj.ProblemError, match=words):
        hj.signals.from_dict({"kind": "series", "file": "data.csv", **options}, tmp_path)


def test_a_comma_at_the_end_of_each_row_means_nothing(tmp_path):
    (tmp_path / "data.csv").write_text("time,a\n0,1,\n1,2,\n")
    signal = hj.signals.from_dict({"kind": "series", "file": "data.csv"}, tmp_path)
    np.testing.assert_array_equal(signal([0.0, 1.0]), [[1.0], [2.0]])


def test_a_file_with_two_times_is_refused(tmp_path):
    data = xr.DataArray(np.ones((2, 2)), dims=("t", "time"), coords={"t": [0.0, 1.0]}, name="a")
    data.to_netcdf(tmp_path / "data.nc")
    with pytest.raises(hj.ProblemError, match="one time, got 'time' beside 't'"):
        hj.signals.from_dict({"kind": "series", "file": "data.nc", "time": "t"}, tmp_path)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folders_are_refused(problem_file, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    code, text = call("run", problem_file, "-o", closed / "out.nc")
    assert (code, "must be writable" in text) == (1, True)


def test_reproduce_writes_data_picture_and_text(tmp_path):
    code, output = call("reproduce", "fig2", "-o", tmp_path / "new")
    assert code == 0, output
    run = xr.load_dataset(tmp_path / "new" / "fig2.nc")
    assert run.hamjl.recipe.problem.objective.loss_weight == 1000.0
    assert float(run.hamjl.tracking_error()[0]) == pytest.approx(0.006, abs=0.005)
    assert (tmp_path / "new" / "fig2.png").stat().st_size > 10_000
    text = (tmp_path / "new" / "fig2.txt").read_text()
    assert "Guessed" in text
    assert "tanh" in text


def test_the_text_of_a_figure_says_what_was_tracked(tmp_path):
    """Figures 3 and 4 do not track Figure 1's cosine."""
    assert call("reproduce", "fig3", "-o", tmp_path)[0] == 0
    text = (tmp_path / "fig3.txt").read_text()
    assert "predictable: 0.35 cos(0.01 t) + 0.15 cos(0.02 t)" in text
    assert "unpredictable: patched, from seed 0" in text
    assert "0.5 cos(0.01 t)" not in text
    run = xr.load_dataset(tmp_path / "fig3-predictable.nc")
    np.testing.assert_allclose(run.z[:, 0], 0.35 * np.cos(0.01 * run.time) + 0.15 * np.cos(0.02 * run.time), atol=1e-12)


def test_doctor():
    code, output = call("doctor")
    assert code == 0
    assert "engine python: ready" in output


def test_a_diverging_run_is_saved_with_a_warning(problem_file, tmp_path):
    problem_file.write_text(problem_file.read_text().replace("costate_reversal", "cauchy").replace("= 20.0", "= 50.0"))
    command = [sys.executable, "-m", "hamjl", "run", str(problem_file), "-o", str(tmp_path / "out.nc")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stderr.startswith("warning: stopped at t = ")
    assert done.stderr.count("\n") == 1
    assert xr.load_dataset(tmp_path / "out.nc").attrs["status"] == "diverged"


@posix
def test_ctrl_c_saves_what_there_is(tmp_path):
    problem = hj.Problem(hj.Network.fully_connected(5), hj.Objective(dissipation=1.0), target=0.1, span=(0, 1e6))
    hj.Recipe(problem, method=hj.Euler(0.01), times=100_000).save(tmp_path / "long.toml")
    out = tmp_path / "out.nc"
    command = [sys.executable, "-m", "hamjl", "run", str(tmp_path / "long.toml"), "-o", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(8.0)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert "%|" not in stderr  # no progress bar when piped
    run = xr.load_dataset(out)
    assert run.attrs["status"] == "interrupted"
    assert run.sizes["time"] > 10
    assert "interrupted" in stdout


def test_a_run_into_a_store_is_resumed(problem_file, tmp_path):
    store, log = tmp_path / "run.zarr", tmp_path / "log.jsonl"
    code, output = call(
        "run",
        str(problem_file),
        "--store",
        str(store),
        "--thin",
        "w=5",
        "--float32",
        "--chunk",
        "50",
        "--log",
        str(log),
    )
    assert code == 0, output
    assert "success" in output
    assert '"status": "success"' in log.read_text().splitlines()[-1]
    with hj.open(store) as found:
        assert found.w.dims == ("time_5", "arc")
        assert found.w.dtype == "float32"
    code, output = call("resume", str(store), str(problem_file))
    assert code == 0
    assert "success" in output
    code, output = call("show", str(store))
    assert code == 0
    assert "time_5" in output
    other = tmp_path / "other.toml"
    other.write_text(problem_file.read_text().replace("costate_reversal", "cauchy"))
    code, output = call("resume", str(store), str(other))
    assert code == 1
    assert "another" in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one place"),
        (["-o", "a.nc", "--store", "b.zarr"], "one place"),
        (["--store", "b.zarr", "--thin", "w"], "NAME=K, got 'w':"),
        (["--store", "b.zarr", "--thin", "w=²"], "NAME=K, got 'w=²':"),
        (["--store", "b.zarr", "--thin", "w=2", "--thin", "w=5"], "once, got 'w=5' too:"),
        (["--store", "b.zarr", "--log", "no/x"], "log must be writable"),
        (["-o", "no/x.nc"], "folder must exist"),
        (["-o", "a.nc", "--chunk", "5"], "go with a store"),
    ],
)
def test_wrong_options_of_a_run(problem_file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, output = call("run", str(problem_file), *arguments)
    assert code == 1
    assert message in output
    assert output.count(" must ") <= 1  # one sentence
    assert not (tmp_path / "b.zarr").exists()


def test_a_thinned_store_is_shown_and_drawn(problem_file, tmp_path):
    assert call("run", problem_file, "--store", tmp_path / "run.zarr", "--thin", "w=10")[0] == 0
    code, output = call("show", tmp_path / "run.zarr", "-o", tmp_path / "s.png")
    assert code == 0, output
    assert "RMS error" in output
    listed = [line.split()[0] for line in output.splitlines()[2:-1]]
    assert listed == [*"uxyzw", "p_x", "p_w", "loss", "sign", "lagrangian", "hamiltonian"]
    assert (tmp_path / "s.png").stat().st_size > 10_000


def test_a_system_is_shown_and_drawn(tmp_path):
    system = hj.SymbolicSystem({"x": "v"}, ["v"], "x**2 + v**2", span=(0, 1), initial={"x": 1.0})
    hj.solve(system, times=21).to_netcdf(tmp_path / "run.nc")
    code, output = call("show", tmp_path / "run.nc", "-o", tmp_path / "run.png")
    assert code == 0, output
    assert (tmp_path / "run.png").stat().st_size > 10_000


def test_energies_without_a_value_are_told_of_stores_too(problem_file, tmp_path):
    """The loss log(z) has no value for a negative target, which sin(t + 1/2) becomes soon after t = 2.6."""
    text = problem_file.read_text()
    problem_file.write_text(text.replace("loss_weight", 'loss = "(y - z)**2 + log(z)"\nloss_weight'))
    code, output = call("run", problem_file, "--store", tmp_path / "run.zarr")
    assert code == 0, output
    assert "warning: formulas of the problem have no finite value for loss, lagrangian, " in output
    told = [line for line in call("show", tmp_path / "run.zarr")[1].splitlines() if "formulas of the" in line]
    assert len(told) == 1
    assert "first at t = 2." in told[0]


def test_foreign_text_cannot_steer_the_terminal(tmp_path):
    """Point 6: escapes, also those of one byte, changes of direction, and lines that look like hamjl's own."""
    problem = hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=0.1, span=(0, 1))
    run = hj.solve(problem, times=3)
    evil = "\x1b]0;owned\x07\x9b31m\u202eok\nrun: success"
    attrs = dict.fromkeys(("title", "message", "law", "method", "status"), evil)
    (run.assign_attrs(attrs).assign(x=run.x.assign_attrs(long_name=evil))).to_netcdf(tmp_path / "evil.nc")
    code, output = call("show", tmp_path / "evil.nc")
    assert code == 0
    assert all(c.isprintable() or c == "\n" for c in output)
    assert output.count("\n") == 2 + len(run.data_vars)
    assert "\\x1b]0;owned" in output
    code, output = call("show", tmp_path / f"none{evil}.nc")
    assert (code, output.count("\n"), "\x1b" in output) == (1, 1, False)


@posix
def test_outputs_never_overwrite_what_is_read(problem_file, tmp_path):
    """Point 6: the problem file and its data, under other names too."""
    (tmp_path / "link.csv").symlink_to(tmp_path / "data.csv")
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "data.csv")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("problem.toml", "data.csv", "link.csv", "hard.csv"):
        for options in (["-o", tmp_path / name], ["--store", tmp_path / "s.zarr", "--log", tmp_path / name]):
            code, output = call("run", problem_file, *options)
            assert (code, "must not be the problem file or its data" in output) == (1, True)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


@posix
def test_a_log_is_a_regular_file(problem_file, tmp_path):
    """Point 4: opening a FIFO would wait for a reader."""
    os.mkfifo(tmp_path / "pipe")
    code, output = call("run", problem_file, "--store", tmp_path / "s.zarr", "--log", tmp_path / "pipe")
    assert (code, "log must be a regular file" in output) == (1, True)


def test_a_run_that_fails_at_its_start_is_an_error(tmp_path):
    """Point 17: the exit code says so where nothing was computed but the start."""
    network = hj.Network.fully_connected(2, activation="identity")
    problem = hj.Problem(network, hj.Objective(), target=1.0, span=(0, 1), initial={"x": 1e100, "w": 1e99})
    hj.Recipe(problem, method=hj.Euler(0.1)).save(tmp_path / "p.toml")
    code, output = call("run", tmp_path / "p.toml", "-o", tmp_path / "out.nc")
    assert code == 1
    assert "diverged" in output
    assert xr.load_dataset(tmp_path / "out.nc").sizes["time"] == 1


def test_files_of_hamjl_of_other_kinds_are_named(problem_file, tmp_path):
    """Point 19: with what to do with them."""
    problem = hj.Problem(hj.Network.fully_connected(2), hj.Objective(), target=0.1, span=(0, 1))
    hj.Session(problem, method=hj.Euler(0.1)).checkpoint(tmp_path / "night.json")
    hj.sweep(problem, {"seed": [1]}, method=hj.Euler(0.1), store=tmp_path / "sweep", workers=1)
    for path, words in (
        (problem_file, "a problem file in .*: run it with 'hamjl run'"),
        (tmp_path / "night.json", "a checkpoint of a session in .*: restore it"),
        (tmp_path / "sweep", "the store of a sweep in .*: run the sweep again"),
    ):
        code, output = call("show", path)
        assert (code, output.count("\n")) == (1, 1)
        assert re.search(words, output)


@pytest.mark.parametrize("error", [RuntimeError("NetCDF: HDF error"), OSError(28, "No space left on device")], ids=str)
def test_a_full_disk_keeps_the_result_aside(error, problem_file, tmp_path, monkeypatch):
    """Point 19: the NetCDF library calls it an HDF error."""
    (tmp_path / "full").mkdir()
    (tmp_path / "aside").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "aside"))
    write = xr.Dataset.to_netcdf

    def fail(dataset, path, **options):
        if "full" in str(path):
            path.write_text("half")
            raise error
        return write(dataset, path, **options)

    monkeypatch.setattr(xr.Dataset, "to_netcdf", fail)
    code, output = call("run", problem_file, "-o", tmp_path / "full" / "out.nc")
    assert (code, output.count("\n")) == (1, 1)
    found = re.search(r"the result is kept in '(.*)'\.", output)
    assert found
    assert xr.load_dataset(found[1]).attrs["status"] == "success"
    assert list((tmp_path / "full").iterdir()) == []


INTERRUPTED = """
import sys
sys.argv[0] = {name!r}
class Interrupt:
    def find_spec(self, name, *rest):
        if name == "hamjl.recipe":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
import hamjl
"""


@pytest.mark.parametrize(("name", "traceback"), [("/usr/bin/hamjl", False), ("-m", False), ("script.py", True)])
def test_ctrl_c_during_the_import_ends_the_command_line_quietly(name, traceback):
    """Point 20: a script of the user's own gets the KeyboardInterrupt."""
    command = [sys.executable, "-c", INTERRUPTED.format(name=name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ("KeyboardInterrupt" in done.stderr) == traceback
    assert traceback or (done.returncode, done.stderr) == (130, "")
