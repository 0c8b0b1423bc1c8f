"""Importing is light, and starts nothing."""

import subprocess
import sys

import pytest


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
    import hamjl

    for name in hamjl.__all__:
        assert getattr(hamjl, name).__doc__, name
    assert hamjl.__version__
