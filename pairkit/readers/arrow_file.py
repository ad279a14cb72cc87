"""Arrow files as blocks of raw rows: IPC streams, IPC files and Feather, told apart by their content."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError
from pairkit.readers.arrow_types import as_bytes, plain, unreadable
from pairkit.readers.blocks import Block, RawBlock, rebatch, refuse_duplicates, skip_rows
from pairkit.readers.broken_texts import compact, separate_broken_texts

FILE, FEATHER_V1 = b"ARROW1", b"FEA1"


def arrow_blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    """Yield an Arrow file in blocks of `rows`. Record batches before the first block loaded are not decoded.

    A stream has no index of its batches, so that those are passed over one by one.
    Raises `InputError`, also while a block loads.
    """
    sizes = batch_sizes(path)
    with arrow_errors(path), pa.memory_map(str(path)) as source:
        stream: Iterator[pa.Table] | None = None

        def load(first: int) -> RawBlock:
            nonlocal stream
            # Opened by the first block that is loaded, which is not the first of the file after a resume.
            stream = stream or _tables_from(path, source, sizes, first, rows)
            with arrow_errors(path):
                table = next(stream)
            return separate_broken_texts(table, np.arange(first, first + table.num_rows) + 1)

        total = sum(sizes)
        for first in range(0, total, rows):
            yield Block(min(rows, total - first), partial(load, first))


def batch_sizes(path: Path) -> list[int]:
    """Return the number of rows of each record batch. Raises `InputError`."""
    with arrow_errors(path), pa.memory_map(str(path)) as source:
        schema = open_reader(path, source).schema
        # One column is enough to count, and the others stay compressed.
        options = pa.ipc.IpcReadOptions(included_fields=[_narrowest(schema)] if len(schema) else None)
        source.seek(0)
        return [batch.num_rows for batch in read_batches(open_reader(path, source, options))]


def _narrowest(schema: pa.Schema) -> int:
    return next((place for place, kind in enumerate(schema.types) if pa.types.is_primitive(kind)), 0)


def open_reader(
    path: Path, source: pa.MemoryMappedFile, options: pa.ipc.IpcReadOptions | None = None
) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    """Open the reader that a file's first bytes ask for."""
    head = source.read(len(FILE))
    source.seek(0)
    if head.startswith(FEATHER_V1):
        raise InputError(
            f"{path}: is Feather of version 1; write it again with pyarrow.feather.write_feather"
        )
    opener = pa.ipc.open_file if head == FILE else pa.ipc.open_stream
    reader = opener(source, options=options)
    refuse_duplicates(reader.schema.names, path)
    problem = unreadable(reader.schema.names, reader.schema.types)
    if problem:
        raise InputError(f"{path}: {problem}")
    return reader


def read_batches(
    reader: pa.RecordBatchFileReader | pa.RecordBatchStreamReader, first: int = 0
) -> Iterator[pa.RecordBatch]:
    """Yield the record batches from number `first` on."""
    if isinstance(reader, pa.RecordBatchFileReader):
        yield from (reader.get_batch(number) for number in range(first, reader.num_record_batches))
    else:
        yield from (batch for number, batch in enumerate(reader) if number >= first)


def _tables_from(
    path: Path, source: pa.MemoryMappedFile, sizes: list[int], first: int, rows: int
) -> Iterator[pa.Table]:
    """Yield tables of `rows` rows from row `first` on, of types that every source reads."""
    ends = np.cumsum(sizes)
    number = int(np.searchsorted(ends, first, side="right"))
    before = int(ends[number]) - sizes[number]
    batches = read_batches(open_reader(path, source), number)
    tables = (pa.Table.from_batches([checked(batch)]) for batch in batches if batch.num_rows)
    yield from (plain(compact(table)) for table in rebatch(skip_rows(tables, first - before), rows))


def checked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose buffers are what its types say, but for texts that are not UTF-8.

    Raises `pa.ArrowInvalid`. Once per batch and before anything else is done with it, because Arrow follows
    the offsets of a damaged file without looking.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" not in str(error):
            raise
        # A broken text may hide another damage; as bytes it has none.
        for column in batch.columns:
            column.view(as_bytes(column.type)).validate(full=True)
    return batch


@contextmanager
def arrow_errors(path: Path) -> Iterator[None]:
    """Raise `InputError` for what pyarrow raises on a file that is damaged or none of Arrow's."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not an Arrow file, or damaged: {error}; get the file again") from error
