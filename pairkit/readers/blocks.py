"""Raw rows in blocks: what the readers of all formats give, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError
from pairkit.readers.jsonlines import Bad, Piece

CHUNK = 4 << 20  # bytes read at once


class Raw(NamedTuple):
    """`size` raw rows of a file: tables of rows that share a schema, and rows that cannot be read."""

    pieces: list[Piece]
    bad: list[Bad]
    size: int

    def head(self, count: int) -> Raw:
        """The first `count` rows."""
        if count >= self.size:
            return self
        numbers = [piece.numbers for piece in self.pieces] + [np.array([bad.number for bad in self.bad])]
        last = np.sort(np.concatenate(numbers))[count - 1]
        pieces = [
            Piece(piece.table.slice(0, kept), piece.numbers[:kept])
            for piece in self.pieces
            if (kept := int(np.searchsorted(piece.numbers, last, side="right")))
        ]
        return Raw(pieces, [bad for bad in self.bad if bad.number <= last], count)


class Block(NamedTuple):
    """`size` rows that `load` reads. Blocks are loaded in order; earlier ones may be left out."""

    size: int
    load: Callable[[], Raw]


@contextmanager
def opened(path: Path, compression: str | None) -> Iterator[pa.NativeFile]:
    """The file's bytes, decompressed. Raises `InputError`, also while they are read."""
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            yield stream
    except OSError as error:
        if compression is None:
            raise InputError(f"{path}: cannot be read: {error}") from error
        raise InputError(
            f"{path}: the {compression} stream is damaged or ends early ({error}); get the file again"
        ) from error


def rebatch(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `rows`, the last one shorter."""
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
