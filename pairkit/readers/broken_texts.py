"""Rows of Parquet and Arrow files whose texts are not UTF-8."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_list, is_text, listed, struct_fields
from pairkit.readers.arrow_types import as_bytes, plain_array
from pairkit.readers.blocks import BadLine, RawBlock, RowTable
from pairkit.readers.written.exact_json import json_row
from pairkit.readers.written.typed_values import canonical, plain_values


def separate_broken_texts(table: pa.Table, numbers: np.ndarray[Any, Any]) -> RawBlock:
    """Separate rows whose texts are not UTF-8, because the readers of these formats do not check them."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        # Row by row, but only in a batch that failed: valid files pay for one check.
        broken = np.array([not _is_valid(table.slice(row, 1)) for row in range(table.num_rows)])
        good = RowTable(table.filter(pa.array(~broken)), numbers[~broken])
        bad = [_bad_line(table.slice(int(row), 1), int(numbers[row])) for row in np.flatnonzero(broken)]
        return RawBlock([good] if len(good.numbers) else [], bad, table.num_rows)
    return RawBlock([RowTable(table, numbers)], [], table.num_rows)


def _is_valid(table: pa.Table) -> bool:
    try:
        compact(table).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def compact(table: pa.Table) -> pa.Table:
    """Return a slice without the rest of the lists that it is a part of, which would be checked with it."""
    return pa.table(
        [
            pa.chunked_array([pa.concat_arrays([chunk]) for chunk in column.chunks], column.type)
            for column in table.columns
        ],
        schema=table.schema,
    )


def _bad_line(row: pa.Table, number: int) -> BadLine:
    names = [name for name in row.column_names if not _is_valid(row.select([name]))]
    values = {}
    for name, column in zip(row.column_names, compact(row).columns, strict=True):
        array = plain_array(pa.concat_arrays(column.chunks))
        array = _escaped(array) if name in names else array
        (values[name],) = plain_values(canonical(array, binary=True))
    return BadLine(number, "invalid_utf8", names[0], "is not UTF-8", json_row(values))


def _escaped(array: pa.Array) -> pa.Array:
    """Return values of a plain type with the bytes of their texts that are not UTF-8 as `\\xff`."""
    kind = array.type
    if is_text(kind):
        texts = array.view(as_bytes(kind)).to_pylist()
        escaped = [None if text is None else text.decode("utf-8", "backslashreplace") for text in texts]
        return pa.array(escaped, pa.string())
    if is_list(kind):
        offsets, flat = flatten(array)
        lists = listed(offsets, _escaped(flat))
        return pc.if_else(pc.is_valid(array), lists, pa.scalar(None, lists.type))
    if pa.types.is_struct(kind):
        fields = {name: _escaped(values) for name, values in struct_fields(array).items()}
        return pa.StructArray.from_arrays(list(fields.values()), list(fields), mask=pc.is_null(array))
    return array
