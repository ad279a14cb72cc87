"""Arrow values in the forms that JSON has, one spelling for each type.

- Dates and times as Arrow writes them, in their time zone: "2024-01-31", "2024-01-31 12:30:00.000000Z";
  durations as whole numbers of their unit; intervals as objects of months, days and nanoseconds.
- Decimals as numbers with all their digits; NaN and infinities as "NaN", "Infinity" and "-Infinity".
- Maps as lists of objects with key and value.
- Bytes in base64 in quarantine; metadata leaves them out.
"""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_json, is_list, is_number, is_text, listed, struct_fields
from pairkit.readers.arrow_types import is_binary, plain_array
from pairkit.readers.written.exact_json import Number

_INTERVAL = ("months", "days", "nanoseconds")


def canonical(array: pa.Array, *, binary: bool = False) -> pa.Array:
    """Return the same values, of types that JSON has or `plain_values` writes; bytes null unless `binary`."""
    if isinstance(array.type, pa.BaseExtensionType):
        # Of the type Json of `datasets`, the texts are the JSON.
        return canonical(array.storage, binary=binary)
    array = plain_array(array)
    kind = array.type
    if is_list(kind):
        return _canonical_list(array, binary)
    if pa.types.is_struct(kind):
        return _canonical_struct(array, binary)
    if is_text(kind) or pa.types.is_decimal(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return array
    if pa.types.is_floating(kind):
        # Through their texts: 0.1 of 32 bits is not 0.10000000149011612.
        return array if pa.types.is_float64(kind) else _widened(array)
    if pa.types.is_duration(kind):
        return array.cast(pa.int64())
    if pa.types.is_interval(kind):
        parts = [
            None if each is None else dict(zip(_INTERVAL, each, strict=True)) for each in array.to_pylist()
        ]
        return pa.array(parts, pa.struct([(name, pa.int64()) for name in _INTERVAL]))
    if pa.types.is_temporal(kind):
        return _times(array)
    return array if binary and is_binary(kind) else pa.nulls(len(array))


def _times(array: pa.Array) -> pa.Array:
    try:
        return array.cast(pa.string())
    except pa.ArrowInvalid:
        # A time zone that this machine does not know: the same times in UTC.
        return pc.binary_join_element_wise(
            array.cast(pa.timestamp(array.type.unit)).cast(pa.string()), "Z", ""
        )


def _widened(array: pa.Array) -> pa.Array:
    return array.cast(pa.float32()).cast(pa.string()).cast(pa.float64())


def _canonical_list(array: pa.Array, binary: bool) -> pa.Array:
    offsets, flat = flatten(array)
    inner = canonical(flat, binary=binary)
    # A list of nothing but nulls needs some type that polars can encode.
    if pa.types.is_null(inner.type):
        inner = pa.nulls(len(flat), pa.string())
    lists = listed(offsets, inner)
    # `listed` makes a null list an empty one.
    return pc.if_else(pc.is_valid(array), lists, pa.scalar(None, lists.type)) if array.null_count else lists


def _canonical_struct(array: pa.Array, binary: bool) -> pa.Array:
    fields = {name: canonical(values, binary=binary) for name, values in struct_fields(array).items()}
    typed = {name: values for name, values in fields.items() if not pa.types.is_null(values.type)}
    if not typed:
        return pa.nulls(len(array))
    missing = pc.is_null(array) if array.null_count else None
    return pa.StructArray.from_arrays(list(typed.values()), list(typed), mask=missing)


def has_json(kind: pa.DataType) -> bool:
    """Return whether `canonical` keeps values of a type, or a part of them: of bytes nothing is left."""
    if is_list(kind):
        return pa.types.is_null(kind.value_type) or has_json(kind.value_type)
    if pa.types.is_struct(kind) or pa.types.is_union(kind):
        return any(has_json(field.type) for field in kind)
    plain = is_json(kind) or is_text(kind) or is_number(kind)
    return bool(plain or pa.types.is_boolean(kind) or pa.types.is_temporal(kind))


def is_odd(array: pa.Array) -> bool:
    """Return whether canonical values have to be written one by one: decimals, NaN and infinities."""
    kind = array.type
    if is_list(kind):
        return is_odd(flatten(array)[1])
    if pa.types.is_struct(kind):
        return any(map(is_odd, struct_fields(array).values()))
    if pa.types.is_decimal(kind):
        return True
    return bool(pa.types.is_floating(kind) and pc.any(pc.invert(pc.is_finite(array))).as_py())


def plain_values(array: pa.Array) -> list[Any]:
    """Return canonical values as Python's, with numbers that are written as `json_encode` of polars does."""
    return [_plain(value) for value in array.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return Number(f"{value:f}")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return _float(value) if isinstance(value, float) else value


def _float(value: float) -> float | Number:
    text = repr(value)
    number, mark, exponent = text.partition("e-")
    if not mark:
        return value
    # Python writes 1.5e-05 and 1e-07, polars 0.000015 and 1e-7.
    places = int(exponent)
    return Number(f"{Decimal(text):f}" if places <= 5 else f"{number}e-{places}")


def without_nulls(value: Any) -> Any:
    """Leave out the keys of objects that have no value."""
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value
