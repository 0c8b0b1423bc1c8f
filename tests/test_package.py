"""Importing is light, and starts nothing."""

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import hamjl


def fresh(code: str) -> str:
    """What a new Python prints for `code`."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("module", ["sympy", "scipy", "matplotlib", "click", "tqdm", "juliacall", "juliapkg"])
def test_import_leaves_heavy_modules_alone(module):
    """Beyond xarray's own import there is NumPy and hamjl."""
    check = f"print({module!r} in sys.modules)"
    before, after = fresh(f"import sys, xarray; {check}\nimport hamjl; {check}").split()
    assert after == before


def test_public_names_exist_and_are_documented():
    for name in hamjl.__all__:
        assert getattr(hamjl, name).__doc__, name
    assert hamjl.__version__


@pytest.mark.parametrize(
    ("platform", "folder"), [("linux", ".config/hamjl"), ("darwin", "Library/Application Support/hamjl")]
)
def test_the_configuration_is_where_the_platform_has_them(platform, folder):
    code = "import importlib, os, platformdirs, sys; from hamjl.engines.julia import configuration as c"
    code = f"{code}; sys.platform = {platform!r}; importlib.reload(platformdirs)"
    code = f"{code}; os.environ.pop('XDG_CONFIG_HOME', 0); os.environ.pop('HAMJL_CONFIG', 0)"
    told = fresh(f"{code}; os.environ['HOME'] = '/home/someone'; print(c.configuration_file())")
    assert told.strip() == f"/home/someone/{folder}/config.toml"


ROOT = Path(hamjl.__file__).parent
WITH_EXAMPLES = sorted(
    path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if ">>> " in path.read_text("utf-8")
)


@pytest.mark.parametrize("file", WITH_EXAMPLES)
def test_examples_in_docstrings_run(file):
    module = import_module("hamjl." + file.removesuffix(".py").replace("/", "."))
    found = doctest.testmod(module, extraglobs={"hj": hamjl, "np": np, "xr": xr})
    assert found.attempted > 0
    assert found.failed == 0
