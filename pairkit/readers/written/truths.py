"""Truth values that Arrow takes for numbers: it reads true after 0.5 as 1.0, and refuses 0.5 after true."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from pairkit.arrow import is_list

# The places of floating-point numbers in values of a type: True, those of the items of a list, or those of
# the fields of an object; None if there is none.
Floats = bool | list[Any] | dict[str, Any] | None


def floats_in(kind: pa.DataType) -> Floats:
    """Return the places of floating-point numbers in values of a type, None if there is none."""
    if pa.types.is_floating(kind):
        return True
    if is_list(kind):
        items = floats_in(kind.value_type)
        return None if items is None else [items]
    if not pa.types.is_struct(kind):
        return None
    fields = {field.name: floats_in(field.type) for field in kind}
    return {name: below for name, below in fields.items() if below is not None} or None


def holds_truths(value: Any, floats: Floats) -> bool:
    """Return whether a JSON value of a type has a truth value in one of the places of its numbers."""
    if value is None or floats is None:
        return False
    if isinstance(floats, dict):
        return any(holds_truths(value.get(name), below) for name, below in floats.items())
    if isinstance(floats, list):
        return any(holds_truths(item, floats[0]) for item in value)
    return isinstance(value, bool)
