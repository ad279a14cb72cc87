"""Parquet files as blocks of raw rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.errors import InputError
from pairkit.readers.blocks import Block, Raw, rebatch
from pairkit.readers.json_text import json_row
from pairkit.readers.jsonlines import Bad, Piece


def parquet_file(path: Path) -> pq.ParquetFile:
    """An open Parquet file. Raises `InputError`."""
    try:
        # Without pre-buffering memory holds the pages being decoded, not the whole row group.
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from error


def parquet_blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    with parquet_file(path) as file:
        total = file.metadata.num_rows
        stream: Iterator[pa.Table] | None = None

        def load(first: int) -> Raw:
            nonlocal stream
            stream = stream or _parquet_tables(file, first, rows)
            try:
                table = next(stream)
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(f"{path}: the Parquet file is damaged: {error}") from error
            return _checked(table, np.arange(first, first + table.num_rows) + 1)

        for first in range(0, total, rows):
            yield Block(min(rows, total - first), partial(load, first))


def _parquet_tables(file: pq.ParquetFile, first: int, rows: int) -> Iterator[pa.Table]:
    """Tables of `rows` rows from row `first` on, starting at the row group that holds it."""
    group, before = 0, 0
    while before + file.metadata.row_group(group).num_rows <= first:
        before += file.metadata.row_group(group).num_rows
        group += 1
    batches = file.iter_batches(rows, row_groups=range(group, file.num_row_groups), use_threads=True)
    return rebatch(_drop_rows((pa.Table.from_batches([batch]) for batch in batches), first - before), rows)


def _drop_rows(tables: Iterator[pa.Table], count: int) -> Iterator[pa.Table]:
    for table in tables:
        dropped = min(count, table.num_rows)
        count -= dropped
        if dropped < table.num_rows:
            yield table.slice(dropped)


def _checked(table: pa.Table, numbers: np.ndarray[Any, Any]) -> Raw:
    """The table's rows, those with texts that are not UTF-8 apart: Parquet does not look."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        broken = np.array([not _is_valid(table.slice(row, 1)) for row in range(table.num_rows)])
        kept = Piece(table.filter(pa.array(~broken)), numbers[~broken])
        bad = [_broken_row(table.slice(int(row), 1), int(numbers[row])) for row in np.flatnonzero(broken)]
        return Raw([kept] if len(kept.numbers) else [], bad, table.num_rows)
    return Raw([Piece(table, numbers)], [], table.num_rows)


def _is_valid(table: pa.Table) -> bool:
    try:
        table.combine_chunks().validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _broken_row(row: pa.Table, number: int) -> Bad:
    names = [name for name in row.column_names if not _is_valid(row.select([name]))]
    values = {name: "(not UTF-8)" if name in names else row[name][0].as_py() for name in row.column_names}
    return Bad(number, "invalid_utf8", names[0], "is not UTF-8", json_row(values))
