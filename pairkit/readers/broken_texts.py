"""Rows of Parquet and Arrow files whose texts are not UTF-8."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.readers.blocks import BadLine, RawBlock, RowTable
from pairkit.readers.written.exact_json import json_row


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
    values = {name: "(not UTF-8)" if name in names else row[name][0].as_py() for name in row.column_names}
    return BadLine(number, "invalid_utf8", names[0], "is not UTF-8", json_row(values))
