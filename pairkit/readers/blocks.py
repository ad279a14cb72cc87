"""Raw rows in blocks: what the readers of all formats return, and the code that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError, listed, quoted
from pairkit.readers.row_sizes import Sizes, row_sizes

CHUNK = 4 << 20  # bytes per read
# Of raw text. What is larger is cut or refused, because a stranger's file must not decide how much memory a
# build takes; a text of more than some MB is no prompt or completion anyway (sources/reading/checks.py).
UNIT_BYTES = 32 << 20  # of a block, which ends before the row that would exceed it
ROW_BYTES = 64 << 20  # of one row
COLUMNS = 10_000


Item = TypeVar("Item")


class RowTable(NamedTuple):
    """Rows of one schema, their numbers in the file, increasing, from 1, and the texts of rows of JSON."""

    table: pa.Table
    numbers: np.ndarray[Any, Any]
    texts: pa.Array | None = None

    def head(self, count: int) -> RowTable:
        """Return the first `count` rows."""
        texts = None if self.texts is None else self.texts.slice(0, count)
        return RowTable(self.table.slice(0, count), self.numbers[:count], texts)


class BadLine(NamedTuple):
    """A row that cannot be read: its number, the reason, the field, what is wrong, and the row as JSON."""

    number: int
    reason: str
    field: str | None
    detail: str
    row: str


class RawBlock(NamedTuple):
    """`size` raw rows of a file: tables of rows that share a schema, and rows that cannot be read."""

    tables: list[RowTable]
    bad: list[BadLine]
    size: int

    def head(self, count: int) -> RawBlock:
        """Return the first `count` rows."""
        if count >= self.size:
            return self
        # By row number, because rows of several tables alternate in the file.
        numbers = [part.numbers for part in self.tables] + [np.array([line.number for line in self.bad])]
        last = np.sort(np.concatenate(numbers))[count - 1]
        tables = [
            part.head(length)
            for part in self.tables
            # Row numbers of a part increase, so the rows to keep are its first ones.
            if (length := int(np.searchsorted(part.numbers, last, side="right")))
        ]
        return RawBlock(tables, [line for line in self.bad if line.number <= last], count)


class Block(NamedTuple):
    """`size` rows that `load` reads. Blocks are loaded in order; a resumed build skips the first ones."""

    size: int
    load: Callable[[], RawBlock]


@contextmanager
def open_stream(path: Path, compression: str | None) -> Iterator[pa.NativeFile]:
    """Open a file for reading, decompressed. Raises `InputError`, also while the block reads."""
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            yield stream
    # Here too, because a damaged stream shows only when it is read.
    except OSError as error:
        if compression is None:
            raise InputError(f"{path}: cannot be read: {error}") from error
        raise InputError(
            f"{path}: the {compression} stream is damaged or ends early ({error}); get the file again"
        ) from error


def refuse_columns(names: Collection[str], path: Path) -> None:
    """Raise `InputError` for more columns than any file of rows has: keys of a dictionary are their names."""
    if len(names) > COLUMNS:
        raise InputError(
            f"{path}: has {len(names):,} columns, more than {COLUMNS:,} ({listed(names)}); what differs "
            "from row to row belongs into values: put the names into a column, or the whole into one text"
        )


def refuse_duplicates(names: Sequence[str], path: Path) -> None:
    """Raise `InputError` for two columns of one name, one of which could never be read, or far too many."""
    refuse_columns(names, path)
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise InputError(f"{path}: two columns are named {quoted(duplicates[0])}; rename one of them")


def bounded(items: Iterator[Item], rows: int, size: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Yield items in lists of at most `rows`, and of at most `UNIT_BYTES` unless one item is larger.

    Where a list ends depends on the items alone, so that a build that continues finds the same units.
    """
    unit: list[Item] = []
    total = 0
    for item in items:
        length = size(item)
        if unit and (len(unit) == rows or total + length > UNIT_BYTES):
            yield unit
            unit, total = [], 0
        unit.append(item)
        total += length
    if unit:
        yield unit


def rebatch(tables: Iterator[pa.Table], rows: int, most: int | None = None) -> Iterator[pa.Table]:
    """Yield the same rows in tables of exactly `rows`, the last one shorter.

    With `most`, a table ends also before the row that would give it more than so many bytes.
    """
    waiting: pa.Table | None = None
    sizes = np.zeros(0, np.int64)
    for table in tables:
        waiting = table if waiting is None else pa.concat_tables([waiting, table])
        if most is not None:
            # Once per table: a block of nothing but separators has millions of rows.
            sizes = np.concatenate([sizes, row_sizes(table)])
        start = 0
        for count in _counts(waiting.num_rows, rows, sizes, most):
            yield waiting.slice(start, count)
            start += count
        waiting, sizes = waiting.slice(start), sizes[start:]
    if waiting is not None and waiting.num_rows:
        yield waiting


def _counts(number: int, rows: int, sizes: Sizes, most: int | None) -> Iterator[int]:
    """Yield the numbers of rows of the tables that are full, of `number` rows with `sizes` in bytes."""
    if most is None:
        yield from [rows] * (number // rows)
        return
    ends = np.cumsum(sizes)
    start, before = 0, 0
    while number - start >= rows or (number > start and ends[-1] - before > most):
        fitting = int(np.searchsorted(ends, before + most, side="right")) - start
        count = min(rows, max(1, fitting))
        yield count
        start += count
        before = int(ends[start - 1])


def skip_rows(tables: Iterator[pa.Table], count: int) -> Iterator[pa.Table]:
    """Yield the tables without their first `count` rows."""
    for table in tables:
        dropped = min(count, table.num_rows)
        count -= dropped
        if dropped < table.num_rows:
            yield table.slice(dropped)
