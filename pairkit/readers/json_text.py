"""Columns as JSON texts: how fields that a candidate set has no column for are kept.

The text depends on the row alone: keys are sorted and nulls left out. A field that another row of the same
batch has, or that another file format writes as null, therefore changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_json, is_list, is_number, is_text, listed, repeat, struct_fields

# In JSON a quote inside a text is escaped, and between the end of one text and the start of the next there is
# a comma or a colon. A pattern without those two therefore matches keys only.
NULL_AFTER = r',"[^"\\,:]*":null'
SHOWN_LEVELS = 200  # of a row in quarantine
NULL_FIRST = r'\{"[^"\\,:]*":null,?'


def json_objects(columns: Mapping[str, pa.Array], size: int) -> pa.Array:
    """Return one JSON object per row: the columns' values, sorted keys, no nulls; `{}` if all are null."""
    # Sorted, because the order of a file's columns must not change the text.
    sorted_columns = {name: canonical(columns[name]) for name in sorted(columns)}
    filled = {name: column for name, column in sorted_columns.items() if not pa.types.is_null(column.type)}
    if not filled or not size:
        return repeat("{}", size, pa.string())
    structs = pa.StructArray.from_arrays(list(filled.values()), list(filled))
    series = pl.from_arrow(structs)
    assert isinstance(series, pl.Series)
    texts = series.struct.json_encode()
    if texts.str.contains(":null", literal=True).any():
        texts = texts.str.replace_all(NULL_AFTER, "").str.replace_all(NULL_FIRST, "{")
    return texts.to_arrow().cast(pa.string())


def canonical(array: pa.Array) -> pa.Array:
    """Return the same values with the fields of structs sorted, and only of types that JSON has.

    Dates become texts, decimals floats; bytes have no form in JSON and become null.
    """
    kind = array.type
    # The type Json of `datasets`: its texts are the JSON.
    if isinstance(kind, pa.BaseExtensionType):
        return canonical(array.storage)
    if is_list(kind):
        offsets, flat = flatten(array)
        inner = canonical(flat)
        # A list of nothing but nulls needs some type that polars can encode.
        if pa.types.is_null(inner.type):
            inner = pa.nulls(len(flat), pa.string())
        lists = listed(offsets, inner)
        return (
            # `listed` makes a null list an empty one.
            pc.if_else(pc.is_valid(array), lists, pa.scalar(None, lists.type)) if array.null_count else lists
        )
    if pa.types.is_struct(kind):
        return _canonical_struct(array)
    if is_text(kind):
        return array if pa.types.is_string(kind) else array.cast(pa.string())
    if pa.types.is_decimal(kind):
        return array.cast(pa.float64())
    if pa.types.is_temporal(kind):
        return array.cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return array
    return pa.nulls(len(array))


def has_json(kind: pa.DataType) -> bool:
    """Return whether `canonical` keeps values of a type, or a part of them: of bytes nothing is left."""
    if is_list(kind):
        return pa.types.is_null(kind.value_type) or has_json(kind.value_type)
    if pa.types.is_struct(kind) or pa.types.is_union(kind):
        return any(has_json(field.type) for field in kind)
    plain = is_json(kind) or is_text(kind) or is_number(kind)
    return bool(plain or pa.types.is_boolean(kind) or pa.types.is_temporal(kind))


def _canonical_struct(array: pa.Array) -> pa.Array:
    fields = {name: canonical(values) for name, values in sorted(struct_fields(array).items())}
    typed = {name: values for name, values in fields.items() if not pa.types.is_null(values.type)}
    if not typed:
        return pa.nulls(len(array))
    missing = pc.is_null(array) if array.null_count else None
    return pa.StructArray.from_arrays(list(typed.values()), list(typed), mask=missing)


def json_row(row: Any) -> str:
    """Return a raw row as strict JSON, for quarantine: values that JSON has no form for become texts.

    What is below the level `SHOWN_LEVELS` is left out.
    """
    return json.dumps(_plain(row), ensure_ascii=False, default=repr)


def _plain(value: Any, levels: int = SHOWN_LEVELS) -> Any:
    if not levels:
        return "..."
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(item, levels - 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item, levels - 1) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no UTF-8
    return value
