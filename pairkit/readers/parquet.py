"""Parquet files as blocks of raw rows."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.errors import InputError, shortened
from pairkit.readers.arrow_types import has_views, plain, unreadable
from pairkit.readers.blocks import Block, RawBlock, rebatch, refuse_duplicates, skip_rows
from pairkit.readers.broken_texts import separate_broken_texts
from pairkit.readers.unpacked.parquet_pages import unit_rows


def parquet_file(path: Path) -> pq.ParquetFile:
    """Open a Parquet file. Raises `InputError`."""
    try:
        # Without pre-buffering, memory holds the pages being decoded instead of the whole row group.
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    # The last for names of columns that are not UTF-8.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a Parquet file: {shortened(str(error))}") from error
    refuse_duplicates(file.schema_arrow.names, path)
    problem = unreadable(file.schema_arrow.names, file.schema_arrow.types)
    if problem:
        raise InputError(f"{path}: {problem}")
    total = sum(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
    if total != file.metadata.num_rows:
        raise InputError(
            f"{path}: the Parquet file is damaged: its row groups have {total:,} rows, its footer has "
            f"{file.metadata.num_rows:,}"
        )
    return file


def parquet_blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    """Yield a Parquet file in blocks of `rows`, or of fewer for the whole file if its rows are long.

    Row groups before the first block loaded are not read.
    """
    with parquet_file(path) as file:
        total = file.metadata.num_rows
        rows = unit_rows(file, path, rows)
        stream: Iterator[pa.Table] | None = None

        def load(first: int) -> RawBlock:
            nonlocal stream
            # Opened by the first block that is loaded, which is not the first of the file after a resume.
            stream = stream or _tables_from(file, first, rows)
            try:
                table = next(stream, None)
                if table is None or table.num_rows != min(rows, total - first):
                    raise InputError(
                        f"{path}: the Parquet file is damaged: its rows are not the {total:,} of its footer"
                    )
                if any(has_views(kind) for kind in table.schema.types):
                    table = plain(table)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise InputError(f"{path}: the Parquet file is damaged: {shortened(str(error))}") from error
            return separate_broken_texts(table, np.arange(first, first + table.num_rows) + 1)

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
    return rebatch(skip_rows((pa.Table.from_batches([batch]) for batch in batches), first - before), rows)
