"""Columns as JSON texts: where the fields that a candidate set has no column for are kept.

The text depends on the row alone: keys are sorted and nulls left out, so that a field which another row of
the same batch has, or another file format spells as null, changes nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_list, is_text, listed, struct_fields

# In JSON a quote inside a text is escaped, and between the end of one text and the start of the next
# stands a comma or a colon: a key without those two can only be matched where it is a key.
NULL_AFTER = r',"[^"\\,:]*":null'
NULL_FIRST = r'\{"[^"\\,:]*":null,?'


def json_objects(columns: Mapping[str, pa.Array], size: int) -> pa.Array:
    """One JSON object a row with the columns' values, sorted keys and no nulls; `{}` where all are null."""
    import polars as pl

    sorted_columns = {name: canonical(columns[name]) for name in sorted(columns)}
    kept = {name: column for name, column in sorted_columns.items() if not pa.types.is_null(column.type)}
    if not kept or not size:
        return pa.repeat(pa.scalar("{}"), size)
    structs = pa.StructArray.from_arrays(list(kept.values()), list(kept))
    series = pl.from_arrow(structs)
    assert isinstance(series, pl.Series)
    texts = series.struct.json_encode()
    if texts.str.contains(":null", literal=True).any():
        texts = texts.str.replace_all(NULL_AFTER, "").str.replace_all(NULL_FIRST, "{")
    return texts.to_arrow().cast(pa.string())


def canonical(array: pa.Array) -> pa.Array:
    """The same values with the fields of structs sorted, and only of kinds that JSON has.

    Dates become texts, decimals floats; bytes have no form in JSON and become null.
    """
    kind = array.type
    if is_list(kind):
        offsets, flat = flatten(array)
        inner = canonical(flat)
        if pa.types.is_null(inner.type):
            inner = pa.nulls(len(flat), pa.string())
        lists = listed(offsets, inner)
        return (
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


def _canonical_struct(array: pa.Array) -> pa.Array:
    fields = {name: canonical(values) for name, values in sorted(struct_fields(array).items())}
    kept = {name: values for name, values in fields.items() if not pa.types.is_null(values.type)}
    if not kept:
        return pa.nulls(len(array))
    missing = pc.is_null(array) if array.null_count else None
    return pa.StructArray.from_arrays(list(kept.values()), list(kept), mask=missing)


def json_row(row: Any) -> str:
    """A raw row as strict JSON, for quarantine: what JSON has no form for is kept as a text."""
    return json.dumps(_speakable(row), ensure_ascii=False, default=repr)


def _speakable(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(_speakable(key)): _speakable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_speakable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no UTF-8
    return value
