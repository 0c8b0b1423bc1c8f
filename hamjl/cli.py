"""The command line: ``hamjl reproduce``, ``run``, ``resume``, ``show``, ``doctor``, ``setup-julia``."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from hamjl import errors, paper

INTERRUPTED = 130  # the exit code of a program ended by Ctrl-C


class _Commands(click.Group):
    """Shows hamjl's own errors and warnings as one line each."""

    def invoke(self, ctx: click.Context) -> Any:
        def show(message: Any, *_: Any, **__: Any) -> None:
            click.echo(errors.printable(f"warning: {message}"), err=True)

        with warnings.catch_warnings():
            warnings.simplefilter("always", errors.RunWarning)
            warnings.showwarning = show
            try:
                return super().invoke(ctx)
            except errors.HamjlError as error:
                raise click.ClickException(errors.printable(str(error))) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="hamjl")
def main() -> None:
    """Learning over time as Hamiltonian dynamics."""


_engine = click.option("--engine", default=None, help="auto, python or julia.")


@main.command()
@click.argument("figure", type=click.Choice([*paper.MODULES, "all"]))
@click.option("-o", "--output", default="figures", show_default=True, help="Folder for NetCDF, PNG and text files.")
@_engine
def reproduce(figure: str, output: str, engine: str | None) -> None:
    """Reproduce the figures of Betti and Gori's paper, and its limit of backpropagation as a sweep over velocities.

    By name only, since it takes minutes: regret, how far Algorithm 1 is from Theorem 1 over the paper's whole run.
    """
    if Path(output).exists() and not Path(output).is_dir():
        raise errors.ProblemError(f"the output must be a folder, got the file {errors.shown(output)}: name a folder.")
    for name in paper.ALL if figure == "all" else (figure,):
        try:
            written = paper.reproduce(name, output, engine or "auto")
        except OSError as error:
            raise errors.ProblemError(
                f"the output folder must be writable, got {errors.shown(output)} ({error.strerror})."
            ) from None
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        click.echo(f"{name}: " + ", ".join(str(path) for path in written))


_allow = click.option("--allow-files", is_flag=True, help="Let PROBLEM name data files outside of its own folder.")
_log = click.option("--log", default=None, help="Append lines of JSON to this file: time, rate, remaining, loss.")


@main.command()
@click.argument("problem")
@click.option("-o", "--output", default=None, help="NetCDF file for the trajectory.")
@click.option("--store", default=None, help="New Zarr folder for the trajectory instead, written as the run goes on.")
@click.option("--save-every", type=float, default=None, help="Time between samples.")
@click.option("--chunk", type=int, default=None, help="Samples per chunk of the store.")
@click.option("--thin", multiple=True, metavar="NAME=K", help="Store every k-th sample of a variable, e.g. w=10.")
@click.option("--float32", is_flag=True, help="Store single precision.")
@_allow
@_log
@_engine
def run(
    problem: str,
    output: str | None,
    store: str | None,
    save_every: float | None,
    chunk: int | None,
    thin: tuple[str, ...],
    float32: bool,
    allow_files: bool,
    log: str | None,
    engine: str | None,
) -> None:
    """Solve the problem file PROBLEM (TOML) and write its trajectory.

    Ctrl-C stops the run and writes what there is; a run into a store goes on with `hamjl resume`.
    """
    from hamjl.files import check_writable, save
    from hamjl.recipe import files_of
    from hamjl.solving import run as solve

    if (output is None) == (store is None):
        raise errors.ProblemError("a run is written to one place, got none or two: give -o run.nc or --store run.zarr.")
    if output is not None:
        check_writable(output)
    _check_apart({"the output": output, "the log": log}, files_of(problem))
    trajectory = solve(
        _load(problem, allow_files), engine=engine, store=store, save_every=save_every, chunk=chunk, thin=_thin(thin),
        float32=float32, log=log,
    )  # fmt: skip
    if output is not None:
        save(trajectory, output)
    _finish(str(output or store), trajectory)


@main.command()
@click.argument("store")
@click.argument("problem", required=False)
@_allow
@_log
def resume(store: str, problem: str | None, allow_files: bool, log: str | None) -> None:
    """Go on with the run in STORE; with PROBLEM, only if it is of that problem file."""
    from hamjl.recipe import files_of
    from hamjl.store import resume as go_on

    if problem is not None:
        _check_apart({"the log": log}, files_of(problem))
    _finish(store, go_on(store, None if problem is None else _load(problem, allow_files), log=log))


def _load(problem: str, allow_files: bool) -> Any:
    from hamjl.recipe import Recipe

    return Recipe.load(problem, Path(problem).absolute().anchor if allow_files else None)


def _check_apart(written: dict[str, str | None], read: list[Path]) -> None:
    """Refuse to write into a file that is read, under whatever name."""
    for what, given in written.items():
        for path in read:
            if given is not None and Path(given).exists() and path.exists() and Path(given).samefile(path):
                raise errors.ProblemError(
                    f"{what} must not be the problem file or its data, got {errors.shown(given)}: rename it."
                )


def _finish(output: str, trajectory: Any) -> None:
    click.echo(f"{output}: {errors.printable(_summary(trajectory))}")
    if trajectory.attrs["status"] == "interrupted":
        sys.exit(INTERRUPTED)
    if trajectory.attrs["status"] != "success" and trajectory.sizes["time"] <= 1:
        sys.exit(1)  # nothing but the start


def _thin(given: tuple[str, ...]) -> dict[str, int] | None:
    table: dict[str, int] = {}
    for text in given:
        name, _, factor = text.partition("=")
        if not factor.isdecimal():
            raise errors.ProblemError(f"thin must be NAME=K, got {errors.shown(text)}: write e.g. --thin w=10.")
        if name in table:
            raise errors.ProblemError(f"thin must name a variable once, got {errors.shown(text)} too: leave one out.")
        table[name] = int(factor)
    return table or None


@main.command()
@click.argument("trajectory")
@click.option("-o", "--output", default=None, help="Also draw an overview into this PNG, PDF or SVG file.")
def show(trajectory: str, output: str | None) -> None:
    """Say what is in the file or store TRAJECTORY."""
    from hamjl.files import load, write_whole
    from hamjl.store import open_store

    _check_kind(Path(trajectory))
    ds = open_store(trajectory) if Path(trajectory).is_dir() else load(trajectory)
    lines = [f"{ds.attrs.get('title', 'trajectory')}: {_summary(ds)}", ds.attrs.get("message", "")]
    for name, value in ds.data_vars.items():
        lines.append(f"  {name!s:12} {'×'.join(map(str, value.dims)):20} {value.attrs.get('long_name', '')}")
    for line in lines:
        click.echo(errors.printable(line))
    if output is not None:
        _draw(output, lambda: _overview(ds), write_whole)


def _check_kind(path: Path) -> None:
    """Say what to do with hamjl's files of other kinds."""
    kinds = {
        "a problem file": (path.suffix.lower() == ".toml", "run it with 'hamjl run'"),
        "a checkpoint of a session": (path.suffix.lower() == ".json", "restore it with hamjl.Session.restore"),
        "the store of a sweep": ((path / "sweep.json").exists(), "run the sweep again, which takes it up"),
    }
    for kind, (found, advice) in kinds.items():
        if found and path.exists():
            raise errors.ProblemError(
                f"what is shown must be a trajectory or a store, got {kind} in {errors.shown(str(path))}: {advice}."
            )


@main.command()
def doctor() -> None:
    """Say which engines are ready, and what to do for the others."""
    import platform
    from importlib.metadata import version

    from hamjl.engines import ENGINES, engine

    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "sympy", "xarray", "matplotlib"))
    click.echo(f"hamjl {version('hamjl')}, Python {platform.python_version()}, {packages}")
    for name in ENGINES:
        click.echo(engine(name).status())


@main.command(name="setup-julia")
@click.option("--julia", default=None, help="Julia executable of an installation of your own.")
@click.option("--project", default=None, help="Its project (environment) with PythonCall and HamJL's packages.")
def setup_julia(julia: str | None, project: str | None) -> None:
    """Prepare the Julia engine once, and remember where it is.

    Without options, Julia and its packages are found or downloaded by juliapkg; with both, an existing installation is
    checked and used as it is, offline.
    """
    from hamjl.engines.julia import setup

    setup(julia, project, say=click.echo)


def _summary(ds: Any) -> str:
    sizes = ", ".join(f"{size} {name}" for name, size in ds.sizes.items())
    words = [f"{ds.attrs['law']} by {ds.attrs['method']} on {ds.attrs['engine']}", ds.attrs["status"], sizes]
    with suppress(errors.ProblemError):  # no y or z, or too few samples
        error = ds.hamjl.tracking_error()
        if bool(error.notnull().any()):
            words.append("RMS error " + ", ".join(f"{float(e):.4g}" for e in error[:4]) + " over the second half")
    return "; ".join(words)


def _overview(ds: Any) -> Any:
    import matplotlib

    matplotlib.use("agg")
    return ds.hamjl.plot_overview()


def _draw(output: str, figure: Callable[[], Any], write_whole: Any) -> None:
    if Path(output).suffix.lower() not in (".png", ".pdf", ".svg"):
        raise errors.ProblemError(
            f"the figure must be a .png, .pdf or .svg file, got {errors.shown(output)}: rename it."
        )
    write_whole(output, lambda path: figure().savefig(path, dpi=150))
    click.echo(output)
