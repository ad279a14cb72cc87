"""Raw rows in blocks: what the readers of all formats return, and the code that they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError

CHUNK = 4 << 20  # bytes per read


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


def refuse_duplicates(names: Sequence[str], path: Path) -> None:
    """Raise `InputError` for two columns of one name: found by name, one of them could never be read."""
    duplicates = {name for name in names if names.count(name) > 1}
    if duplicates:
        raise InputError(f"{path}: two columns are named {sorted(duplicates)[0]!r}; rename one of them")


def rebatch(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Yield the same rows in tables of exactly `rows`, the last one shorter."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(part.num_rows for part in waiting) >= rows:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, rows)
            waiting = [joined.slice(rows)]
    rest = pa.concat_tables(waiting) if waiting else None
    if rest is not None and rest.num_rows:
        yield rest


def skip_rows(tables: Iterator[pa.Table], count: int) -> Iterator[pa.Table]:
    """Yield the tables without their first `count` rows."""
    for table in tables:
        dropped = min(count, table.num_rows)
        count -= dropped
        if dropped < table.num_rows:
            yield table.slice(dropped)
