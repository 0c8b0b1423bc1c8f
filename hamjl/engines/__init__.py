"""The engines below the waist: each takes a `Lowered` record and returns a `Result`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hamjl.checks import choice

ENGINES = ("auto", "python")


def select(name: str) -> Any:
    """Return the engine of that name (see `hamjl.lowered.Engine`)."""
    choice(name, ENGINES, "engine")
    return import_module("hamjl.engines.python")
