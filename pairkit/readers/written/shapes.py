"""The shape of a JSON value: all on which its type in Arrow depends, which takes Arrow longer to find."""

from __future__ import annotations

from collections.abc import Hashable
from types import NoneType
from typing import Any

_EXACT = 2**53  # up to which integers are floats too; beyond it, what else is in a list decides
_LEAVES = {NoneType: "null", bool: "truth", float: "float"}


def shape_of(value: Any) -> Hashable:
    """Return the shape of a value; None where its values decide too, and not their kinds alone.

    >>> shape_of({"a": [1, 2, 0.5]}) == shape_of({"a": [3, 0.25]})
    True
    """
    try:
        return _shape(value)
    except (_Undecided, UnicodeEncodeError):  # half of a surrogate pair, which Arrow refuses
        return None


class _Undecided(Exception):
    """A value whose kind does not decide its type."""


def _shape(value: Any) -> Hashable:
    kind = type(value)
    if kind is str:
        if not value.isascii():
            value.encode()
        return "text"
    if kind is int:
        if -_EXACT <= value <= _EXACT:
            return "integer"
        raise _Undecided
    if kind is dict:
        # The names in their order, because that is the order of the fields.
        return tuple(value), tuple(map(_shape, value.values()))
    if kind is list:
        # Each shape once, because others like it add nothing to the type of the items.
        return "items", *dict.fromkeys(map(_shape, value))
    if kind in _LEAVES:
        return _LEAVES[kind]
    raise _Undecided
