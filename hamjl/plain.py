"""Plain forms: tables, lists, text and numbers, with arrays as leaves; what objects are packed as, and equal by."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from copy import copy, deepcopy
from functools import cached_property
from typing import Any, Self

import numpy as np
import xarray as xr

ARRAY, LABELLED = "$array", "$data"  # no name of a vertex, signal or option begins like this


class Plain:
    """An immutable object that is what its plain form says: equal where that is, and hashable."""

    def _tree(self) -> dict[str, Any]:
        """The plain form; what is in it may be in use, and is not to be changed."""
        raise NotImplementedError

    def _identity(self) -> Any:
        """The plain form of all that makes it this object and no other."""
        return self._tree()

    def to_dict(self) -> dict[str, Any]:
        """Return the plain form read by `from_dict`: tables, text and numbers, with arrays as leaves. It is a copy."""
        return deepcopy(self._tree())

    @cached_property
    def packed(self) -> str:
        """The plain form as one text (JSON), arrays included."""
        return pack(self._tree())

    @cached_property
    def _key(self) -> str:
        return pack(self._identity())

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and self._key == other._key)

    def __hash__(self) -> int:
        return hash((type(self), self._key))

    def _with(self, **changes: Any) -> Self:
        """A copy with other attributes, unchecked."""
        later = copy(self)
        for name in ("packed", "_key"):
            later.__dict__.pop(name, None)
        later.__dict__.update(changes)
        return later


def pack(tree: Any) -> str:
    """A plain form as one text, arrays included."""
    return json.dumps(encode(tree))


def digest(given: Any) -> str:
    """A hash of a text, or of a table of texts and numbers whatever the order of its keys."""
    text = given if isinstance(given, str) else json.dumps(given, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def unpack(text: str) -> Any:
    """The inverse of `pack`; ValueError, TypeError, LookupError or RecursionError for another text."""
    return json.loads(text, object_hook=decoded)


def encode(tree: Any) -> Any:
    """A plain form with arrays as tables of text and numbers; dates and objects are no arrays of a plain form."""
    if isinstance(tree, Mapping):
        return {key: encode(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [encode(value) for value in tree]
    if isinstance(tree, xr.DataArray):
        coords = {str(name): encode(tree[name].values) for name in tree.dims if name in tree.coords}
        return {LABELLED: encode(tree.values), "dims": [str(dim) for dim in tree.dims], "coords": coords}
    if isinstance(tree, np.ndarray):
        if tree.dtype.kind in "OUT":
            return {ARRAY: [str(text) for text in tree.ravel()], "dtype": "str", "shape": list(tree.shape)}
        text = base64.b64encode(np.ascontiguousarray(tree).tobytes()).decode("ascii")
        return {ARRAY: text, "dtype": tree.dtype.str, "shape": list(tree.shape)}
    return tree.item() if isinstance(tree, np.generic) else tree


def decoded(table: dict[str, Any]) -> Any:
    """A table of `encode`, as what it stands for."""
    if ARRAY in table and "dtype" in table:
        if table["dtype"] == "str":
            return np.array(table[ARRAY], dtype=np.str_).reshape(table["shape"])
        values = np.frombuffer(base64.b64decode(table[ARRAY], validate=True), np.dtype(table["dtype"]))
        return values.reshape(table["shape"]).copy()
    if LABELLED in table:
        coords = {name: values for name, values in dict(table["coords"]).items() if name in table["dims"]}
        return xr.DataArray(table[LABELLED], coords, table["dims"])
    return table
