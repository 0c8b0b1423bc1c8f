"""What is released: its parts, its licence, its version, its types; and what a host runs is what is documented."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the wheel and the source distribution, the wheel built from the latter."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def metadata(built: Path) -> Message:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(wheel.read(name))


def test_the_wheel_holds_both_packages_and_nothing_else(built):
    """What there is in the folders of the package and of HamJL, but for its tests."""
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    python = {path.relative_to(ROOT).as_posix() for path in (ROOT / "hamjl").rglob("*.py")}
    julia = {f"hamjl/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "julia/HamJL").rglob("*.jl")}
    julia = {name for name in julia if "/test/" not in name}
    assert names == python | julia | {"hamjl/julia/HamJL/Project.toml", "hamjl/juliapkg.json", "hamjl/py.typed"}


def test_the_source_distribution_holds_what_the_tests_need(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as source:
        names = {name.partition("/")[2] for name in source.getnames()}
    here = {path.relative_to(ROOT).as_posix() for path in (*(ROOT / "tests").glob("*.py"), *(ROOT / "docs").glob("*"))}
    whole = {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "pyproject.toml", "PKG-INFO"}
    assert here | whole | {"julia/HamJL/test/runtests.jl", ".github/workflows/check.yml", ".ci/run"} <= names
    assert not [name for name in names if re.search(r"Manifest|__pycache__", name)]


def test_the_licence_is_told(built):
    told = metadata(built)
    assert told["License-Expression"] == "MIT"
    assert told.get_all("License-File") == ["LICENSE"]
    assert read("LICENSE").startswith("MIT License")
    assert "the hamjl developers" in read("LICENSE")
    assert re.search(r"^license: MIT$", read("CITATION.cff"), re.MULTILINE)


def test_twine_finds_nothing(built):
    pytest.importorskip("twine", reason="twine comes with the extra dev")
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_there_is_one_version(built):
    numbers = {
        "installed": version("hamjl"),
        "wheel": metadata(built)["Version"],
        "pyproject.toml": tomllib.loads(read("pyproject.toml"))["project"]["version"],
        "Project.toml": tomllib.loads(read("julia/HamJL/Project.toml"))["version"],
        "CITATION.cff": re.search(r"^version: (.*)$", read("CITATION.cff"), re.MULTILINE)[1],
    }
    assert len(set(numbers.values())) == 1, numbers
    assert numbers["wheel"] in read("CHANGELOG.md")


def test_julia_packages_are_asked_for_alike():
    """juliapkg.json, which installs them, and HamJL's Project.toml, which needs them."""
    import json

    asked = json.loads(read("hamjl/juliapkg.json"))
    needed = tomllib.loads(read("julia/HamJL/Project.toml"))
    uuids = needed["deps"] | needed["extras"]
    assert asked["julia"] == needed["compat"]["julia"]
    for name, entry in asked["packages"].items():
        assert (entry["uuid"], entry["version"]) == (uuids[name], needed["compat"][name]), name


# -- types -------------------------------------------------------------------------------------------------------------
def test_types_of_user_code_are_checked(tmp_path):
    """The strict checker finds the errors that are marked in ``user_code.py``, each of its kind, and no other."""
    if find_spec("mypy") is None:
        pytest.skip("mypy comes with the extra dev")
    (tmp_path / "empty.ini").write_text("[mypy]\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--no-error-summary", "--no-color-output"]
    command += ["--config-file", "empty.ini", str(ROOT / "tests" / "user_code.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    found = re.findall(r"user_code\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE)
    marked = re.findall(r"^(\d+) .*# error: (.*)$", numbered(read("tests/user_code.py")), re.MULTILINE)
    assert len(marked) > 20
    assert set(found) == {(k, kind) for k, kinds in marked for kind in kinds.split(", ")}
    assert done.stdout.count("error:") == len(found)  # none elsewhere


def numbered(text: str) -> str:
    return "\n".join(f"{k} {line}" for k, line in enumerate(text.splitlines(), 1))


def test_public_names_are_all_that_one_sees():
    import hamjl

    assert sorted(dir(hamjl)) == sorted([*hamjl.__all__, "__version__"])


# -- hosts -------------------------------------------------------------------------------------------------------------
COMMAND = r"^ +- run: (?:\|-\n((?: {10}.*\n)+)|(.*)\n)"  # in some lines or in one


def test_workflows_run_what_is_documented():
    """Each command of a workflow is that of the README or of CONTRIBUTING.md."""
    told = " ".join((read("README.md") + read("CONTRIBUTING.md") + read("docs/julia.md")).split())
    for path in sorted((ROOT / ".github/workflows").glob("*.yml")):
        commands = re.findall(COMMAND, path.read_text(encoding="utf-8"), re.MULTILINE)
        assert commands
        for several, one in commands:
            command = " ".join((several or one).split())
            assert command in told, f"{path.name}: {command}"


def test_workflows_try_the_pythons_and_julias_that_are_declared():
    tried = set(re.findall(r'"(3\.\d+)"', read(".github/workflows/check.yml")))
    declared = re.findall(r"Python :: (3\.\d+)", read("pyproject.toml"))
    assert {declared[0], declared[-1]} == tried
    assert f">={declared[0]}" in read("pyproject.toml")
    oldest = tomllib.loads(read("julia/HamJL/Project.toml"))["compat"]["julia"]
    assert f'julia: ["{oldest}"' in read(".github/workflows/julia.yml")
