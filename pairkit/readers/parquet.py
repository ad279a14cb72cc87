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
from pairkit.readers.blocks import BadLine, Block, RawBlock, RowTable, rebatch
from pairkit.readers.json_text import json_row


def parquet_file(path: Path) -> pq.ParquetFile:
    """Open a Parquet file. Raises `InputError`."""
    try:
        # Without pre-buffering, memory holds the pages being decoded instead of the whole row group.
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from error


def parquet_blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    """Yield a Parquet file in blocks of `rows`. Row groups before the first block loaded are not read."""
    with parquet_file(path) as file:
        total = file.metadata.num_rows
        stream: Iterator[pa.Table] | None = None

        def load(first: int) -> RawBlock:
            nonlocal stream
            # Opened by the first block that is loaded, which is not the first of the file after a resume.
            stream = stream or _tables_from(file, first, rows)
            try:
                table = next(stream)
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(f"{path}: the Parquet file is damaged: {error}") from error
            return _separate_bad_rows(table, np.arange(first, first + table.num_rows) + 1)

        for first in range(0, total, rows):
            yield Block(min(rows, total - first), partial(load, first))


def _tables_from(file: pq.ParquetFile, first: int, rows: int) -> Iterator[pa.Table]:
    """Yield tables of `rows` rows from row `first` on, reading from the row group that holds it."""
    group, before = 0, 0
    # By the footer alone: row groups before it are not decoded when a build continues.
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


def _separate_bad_rows(table: pa.Table, numbers: np.ndarray[Any, Any]) -> RawBlock:
    """Separate rows whose texts are not UTF-8, because Parquet's own reader does not check them."""
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
        table.combine_chunks().validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _bad_line(row: pa.Table, number: int) -> BadLine:
    names = [name for name in row.column_names if not _is_valid(row.select([name]))]
    values = {name: "(not UTF-8)" if name in names else row[name][0].as_py() for name in row.column_names}
    return BadLine(number, "invalid_utf8", names[0], "is not UTF-8", json_row(values))
