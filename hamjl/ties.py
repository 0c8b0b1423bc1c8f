"""Ties: arcs that share one weight, each with a factor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamjl.checks import choice, number
from hamjl.errors import ProblemError, shown
from hamjl.vertices import names_of

Tied = Mapping[str, Iterable[Any] | Mapping[Any, float]]  # arcs by the name of the weight that they share


def tie(tied: Any, arcs: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.floating]]:
    """Names of the weights, and the weight and factor of each arc, in order of their first arcs."""
    if not isinstance(tied, Mapping):
        raise ProblemError(
            f"tied must be a mapping from names of weights to arcs, got {shown(tied)}: write {{'kernel': ['u->x', …]}}."
        )
    name_of, factor = list(arcs), np.ones(len(arcs))
    position = {arc: k for k, arc in enumerate(arcs)}
    for name, given in tied.items():
        names_of([name], "names of tied weights")
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise ProblemError(f"tied weight {shown(name)} must list its arcs, got {shown(given)}: write ['u->x', …].")
        pairs = list(given.items() if isinstance(given, Mapping) else ((arc, 1.0) for arc in given))
        if not pairs:
            raise ProblemError(f"tied weight {shown(name)} must have an arc, got none: name some, or leave it out.")
        for arc, value in pairs:
            k = position[choice(arc_label(arc), position, f"An arc of the tied weight {shown(name)}")]
            if name_of[k] != arcs[k]:
                raise ProblemError(
                    f"an arc may be of one weight, got {arcs[k]!r} in {shown(name_of[k])} and {shown(name)}: tie "
                    "it once."
                )
            factor[k] = number(value, f"factor of {arcs[k]!r}")
            if factor[k] == 0.0:
                raise ProblemError(f"factor of {arcs[k]!r} must not be 0: leave the arc out.")
            name_of[k] = str(name)
    names = tuple(dict.fromkeys(name_of))
    place = {name: k for k, name in enumerate(names)}
    return names, np.array([place[name] for name in name_of], dtype=np.int64), factor


def arc_label(arc: Any) -> Any:
    """The label of an arc that may be a pair of names."""
    if isinstance(arc, tuple | list) and len(arc) == 2:
        return f"{arc[0]}->{arc[1]}"
    return arc
