"""What a record read from a file must hold: a table of rules for each kind of record, checked before it is used."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hamjl.errors import shown

Rule = Callable[[Any], bool]
Schema = Mapping[str, Any]  # from names to rules or to further schemas; a name that ends in "?" may be missing


def check(record: Any, schema: Schema, within: str = "") -> None:
    """ValueError, in a few words, where a record is not of its schema."""
    if not isinstance(record, Mapping):
        raise ValueError(f"{within or 'it'} must be a table")
    rules = {name.removesuffix("?"): rule for name, rule in schema.items()}
    if whole(1)(record.get("format")) and "format" in rules and not rules["format"](record["format"]):
        raise ValueError(f"{within or 'it'} is of format {record['format']}, which a newer hamjl reads")
    for name in record:
        if name not in rules:
            raise ValueError(f"{within or 'it'} has {shown(name)} too")
    for name, rule in rules.items():
        if name not in record:
            if f"{name}?" not in schema:
                raise ValueError(f"{within or 'it'} lacks {name!r}")
        elif isinstance(rule, Mapping):
            check(record[name], rule, name)
        elif not rule(record[name]):
            raise ValueError(f"its {name!r} is {shown(record[name])}")


def text(value: Any) -> bool:
    """Any text."""
    return isinstance(value, str)


def flag(value: Any) -> bool:
    """True or False."""
    return isinstance(value, bool | np.bool_)


def real(value: Any) -> bool:
    """A finite number."""
    return isinstance(value, int | float) and not flag(value) and abs(value) <= sys.float_info.max


def positive(value: Any) -> bool:
    """A finite number above zero."""
    return real(value) and value > 0


def whole(least: int = 0, most: int = 2**63 - 1) -> Rule:
    """An integer between two, both included."""
    return lambda value: isinstance(value, int) and not flag(value) and least <= value <= most


def one_of(*known: Any) -> Rule:
    """One of some texts or numbers."""
    return lambda value: isinstance(value, str | int | float) and not flag(value) and value in known


def maybe(rule: Rule) -> Rule:
    """None, or what another rule says."""
    return lambda value: value is None or rule(value)


def listed(rule: Rule) -> Rule:
    """A list of what another rule says."""
    return lambda value: isinstance(value, list | tuple) and all(map(rule, value))


def table(rule: Rule | None = None) -> Rule:
    """A table with texts for keys, and values as another rule says."""
    return lambda value: (
        isinstance(value, Mapping)
        and all(isinstance(name, str) and (rule is None or rule(one)) for name, one in value.items())
    )


def array(*shape: int, kind: str = "f") -> Rule:
    """An array of a shape, and of a kind of numbers: f, i, u or c."""
    return lambda value: isinstance(value, np.ndarray) and value.dtype.kind == kind and value.shape == shape
