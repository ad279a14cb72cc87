"""Parts of a survey: what some rows of a file hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa


class Part(NamedTuple):
    """Some rows of a file: their number, the type of each column, and how many rows have a value of it."""

    rows: int
    types: Mapping[str, pa.DataType]
    non_null: Mapping[str, int]


def part_of(table: pa.Table) -> Part:
    """Return what the rows of a table hold."""
    columns = dict(zip(table.column_names, table.columns, strict=True))
    return Part(
        table.num_rows,
        {name: column.type for name, column in columns.items()},
        {name: len(column) - column.null_count for name, column in columns.items()},
    )
