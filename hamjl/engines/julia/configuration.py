"""Which Julia to use: found by `setup`, checked once, remembered in the user's configuration file.

The file is ``hamjl/config.toml`` in the platform's configuration folder, or what ``HAMJL_CONFIG`` names. juliacall's
own variables ``PYTHON_JULIACALL_EXE`` and ``PYTHON_JULIACALL_PROJECT``, set together, come before it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import platformdirs

from hamjl.errors import EngineError

EXE, PROJECT = "PYTHON_JULIACALL_EXE", "PYTHON_JULIACALL_PROJECT"
REMEDY = "run 'hamjl setup-julia' (or 'hamjl setup-julia --julia EXE --project DIR' for an installation of your own)"
OLDEST = (1, 10)

# Prints what a working installation has; the HamJL of this package comes in through the load path.
PROBE = """
VERSION >= v"{oldest}" || error("Julia {oldest} or newer is needed, this is $VERSION")
push!(LOAD_PATH, ARGS[1])
import PythonCall, HamJL
println("Julia=$VERSION")
for name in ("PythonCall", "OrdinaryDiffEqBDF", "OrdinaryDiffEqTsit5", "SciMLBase", "LinearSolve")
    found = [key for key in keys(Base.loaded_modules) if key.name == name]
    isempty(found) || println("$name=$(pkgversion(Base.loaded_modules[first(found)]))")
end
"""


@dataclass(frozen=True)
class Installation:
    """A Julia executable, the project (environment) whose packages are used, and its PythonCall's version, if known."""

    julia: Path
    project: Path
    pythoncall: str | None = None


def configuration_file() -> Path:
    """Where the configuration is, whether it exists or not."""
    given = os.environ.get("HAMJL_CONFIG")
    if given:
        return Path(given)
    return platformdirs.user_config_path("hamjl", appauthor=False, roaming=True) / "config.toml"


def configured() -> Installation | None:
    """The installation that juliacall's variables or the configuration file name, or None. Nothing is started."""
    exe, project = os.environ.get(EXE), os.environ.get(PROJECT)
    if exe and project:
        return Installation(Path(exe), Path(project))
    try:
        table = tomllib.loads(configuration_file().read_text(encoding="utf-8")).get("julia", {})
        return Installation(Path(table["exe"]), Path(table["project"]), table.get("pythoncall"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return None


def missing() -> str | None:
    """What the Julia engine lacks, or None where it is ready. A look at files only."""
    if find_spec("juliacall") is None:
        return "juliacall is not installed"
    found = configured()
    if found is None:
        return "no Julia is set up"
    if not (found.julia.is_file() or shutil.which(str(found.julia))):
        return f"the Julia set up, {str(found.julia)!r}, is gone"
    if not found.project.is_dir():
        return f"the Julia project set up, {str(found.project)!r}, is gone"
    return _apart(found.pythoncall)


def _apart(pythoncall: str | None) -> str | None:
    """What is wrong with a version of PythonCall: it must be juliacall's own."""
    if pythoncall in (None, version("juliacall")):
        return None
    return f"juliacall is {version('juliacall')} and the PythonCall set up is {pythoncall}, which must be the same"


def ready() -> bool:
    """Whether the Julia engine can be taken, as far as files tell."""
    return missing() is None


def remedy() -> str:
    """What to do about `missing`."""
    if find_spec("juliacall") is None:
        return "install it with 'pip install \"hamjl[julia]\"', then run 'hamjl setup-julia'"
    found = configured()
    if found is not None and _apart(found.pythoncall):
        return f"run 'hamjl setup-julia', or 'pip install juliacall=={found.pythoncall}' for your own installation"
    return REMEDY


def status() -> str:
    """One line for ``hamjl doctor``."""
    lack, found = missing(), configured()
    if lack is not None:
        return f"engine julia: not ready, {lack}: {remedy()}"
    assert found is not None
    return f"engine julia: ready, {found.julia} with the project {found.project}"


def package_folder() -> Path:
    """The folder of the Julia package HamJL: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[2]
    for folder in (here / "julia" / "HamJL", here.parent / "julia" / "HamJL"):
        if (folder / "Project.toml").is_file():
            return folder
    raise EngineError(f"hamjl must come with its Julia package HamJL, got none in {str(here)!r}: install hamjl again.")


def setup(
    julia: str | Path | None = None, project: str | Path | None = None, say: Callable[[str], None] = print
) -> Installation:
    """Prepare the Julia engine once, and remember it in the configuration file.

    Parameters
    ----------
    julia, project : path, optional
        An installation of one's own, both together: it is checked and used as it is, nothing is downloaded. Without
        them juliapkg finds or downloads Julia and installs the packages.
    say : function
        Told what is going on.

    Raises
    ------
    EngineError
        If juliacall is missing, an argument names nothing usable, or Julia or its packages fail.
    """
    if find_spec("juliacall") is None:
        raise EngineError(f"the Julia engine needs juliacall, got no such package: {remedy()}.")
    if (julia is None) != (project is None):
        raise EngineError(
            "an installation of one's own is an executable and a project, got only one of them: give --julia EXE and "
            "--project DIR together, or neither."
        )
    found = _own(julia, project) if julia is not None and project is not None else _resolved(say)
    say(f"checking {found.julia} with the project {found.project} (the first time packages are compiled: minutes)")
    versions = _probe(found)
    for name, number in versions.items():
        say(f"  {name} {number}")
    found = replace(found, pythoncall=versions["PythonCall"])
    if lack := _apart(found.pythoncall):
        raise EngineError(f"{lack}: run 'pip install juliacall=={found.pythoncall}', or change PythonCall there.")
    _remember(found)
    say(f"the Julia engine is ready; remembered in {configuration_file()}")
    return found


def _own(julia: str | Path, project: str | Path) -> Installation:
    exe, folder = shutil.which(str(julia)), Path(project).expanduser().resolve()
    if exe is None:
        raise EngineError(f"--julia must name an executable, got {str(julia)!r}: give the path of julia.")
    if not any((folder / name).is_file() for name in ("Project.toml", "JuliaProject.toml")):
        raise EngineError(f"--project must be a folder with a Project.toml, got {str(project)!r}: name one.")
    return Installation(Path(exe).absolute(), folder)


def _resolved(say: Callable[[str], None]) -> Installation:
    say("resolving Julia and its packages (the first time they are downloaded: minutes)")
    try:
        import juliapkg

        juliapkg.resolve()
        return Installation(Path(juliapkg.executable()), Path(juliapkg.project()))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # juliapkg raises plain Exception, or ends the process
        raise EngineError(
            f"Julia and its packages could not be installed ({_first_line(error)}): check the network, or give an "
            "installation with --julia EXE --project DIR."
        ) from None


def _probe(found: Installation) -> dict[str, str]:
    """Load all packages in a separate process, and return their versions by name, Julia's own too."""
    code = PROBE.format(oldest=".".join(map(str, OLDEST)))
    command = [str(found.julia), "--startup-file=no", f"--project={found.project}", "-e", code, str(package_folder())]
    environment = {**os.environ, "JULIA_CONDAPKG_BACKEND": "Null", "JULIA_PYTHONCALL_EXE": sys.executable}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    except OSError as error:
        raise EngineError(f"Julia must be executable, got {str(found.julia)!r} ({error.strerror}).") from None
    if done.returncode != 0:
        reasons = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()[-1:]
        raise EngineError(
            f"the Julia project must load PythonCall and HamJL's packages, got {str(found.project)!r} "
            f"({reasons[0].strip() if reasons else 'no reason given'}): add the packages of "
            f"{package_folder() / 'Project.toml'} and PythonCall to it."
        )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def _remember(found: Installation) -> None:
    import tomli_w

    path = configuration_file()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError):
        table = {}
    table["julia"] = {"exe": str(found.julia), "project": str(found.project), "pythoncall": found.pythoncall}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(tomli_w.dumps(table), encoding="utf-8")
    except OSError as error:
        raise EngineError(
            f"the configuration must be writable, got {str(path)!r} ({error.strerror}): name another with HAMJL_CONFIG."
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
