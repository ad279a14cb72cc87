"""Arrow files as blocks of raw rows: IPC streams, IPC files and Feather, told apart by their content."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError
from pairkit.readers.arrow_types import as_bytes, has_views, plain, unreadable
from pairkit.readers.blocks import Block, RawBlock, rebatch, refuse_duplicates, skip_rows
from pairkit.readers.broken_texts import compact, separate_broken_texts
from pairkit.readers.row_sizes import row_sizes
from pairkit.readers.unpacked.arrow_messages import batch_messages
from pairkit.readers.unpacked.unit_size import Needs, fitting_rows

FILE, FEATHER_V1 = b"ARROW1", b"FEA1"
# A batch is unpacked as a whole: more than this is refused, unless it is little more than in the file.
BATCH_BYTES = 1 << 30
BATCH_RATIO = 50


def arrow_blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    """Yield an Arrow file in blocks of `rows`, or of fewer for the whole file if its rows are long.

    Record batches before the first block loaded are not decoded, unless they hold texts of dictionaries.

    A stream has no index of its batches, so that those are passed over one by one.
    Raises `InputError`, also while a block loads.
    """
    sizes = batch_sizes(path)
    rows = unit_rows(path, rows)
    with arrow_errors(path), _opened(path) as source:
        stream: Iterator[pa.Table] | None = None

        def load(first: int) -> RawBlock:
            nonlocal stream
            # Opened by the first block that is loaded, which is not the first of the file after a resume.
            stream = stream or _tables_from(path, source, sizes, first, rows)
            with arrow_errors(path):
                table = next(stream, None)
            # A stream that is cut between two batches is one that ends there.
            if table is None or table.num_rows != min(rows, total - first):
                raise InputError(f"{path}: was changed while it was read; get the file again")
            return separate_broken_texts(table, np.arange(first, first + table.num_rows) + 1)

        total = sum(sizes)
        for first in range(0, total, rows):
            yield Block(min(rows, total - first), partial(load, first))


def _opened(path: Path) -> pa.NativeFile:
    # Not mapped into memory: a file that is cut while it is read would end the process.
    return pa.OSFile(str(path))


def batch_sizes(path: Path) -> list[int]:
    """Return the number of rows of each record batch. Raises `InputError`."""
    with arrow_errors(path), _opened(path) as source:
        schema = open_reader(path, source).schema
        # One column is enough to count, and the others stay compressed.
        options = pa.ipc.IpcReadOptions(included_fields=[_narrowest(schema)] if len(schema) else None)
        source.seek(0)
        return [batch.num_rows for batch in read_batches(open_reader(path, source, options))]


def unit_rows(path: Path, rows: int) -> int:
    """Return how many rows a unit may have, at most `rows`; it depends on the file alone.

    Raises `InputError` for batches, or a file, that unpack to more than any memory should hold.
    """
    with arrow_errors(path), _opened(path) as source:
        return fitting_rows(_needs(path, source), path, rows)


def _needs(path: Path, source: pa.NativeFile) -> Iterator[Needs]:
    reader = open_reader(path, source)
    is_file = isinstance(reader, pa.RecordBatchFileReader)
    shared = [place for place, kind in enumerate(reader.schema.types) if _is_shared(kind)]
    sizes = []
    for message in batch_messages(source, is_file=is_file):
        if message.unpacked > max(BATCH_BYTES, BATCH_RATIO * message.packed):
            raise InputError(
                f"{path}: a batch unpacks to {message.unpacked:,} bytes, "
                f"{message.unpacked // message.packed:,} times its size; write the file again with smaller "
                "batches (max_chunksize)"
            )
        if message.is_rows:
            sizes.append(message.unpacked)
    source.seek(0)
    fields = [*shared, _narrowest(reader.schema)] if len(reader.schema) else None
    options = pa.ipc.IpcReadOptions(included_fields=fields)
    for size, batch in zip(sizes, read_batches(open_reader(path, source, options)), strict=False):
        if not batch.num_rows:
            continue
        # A text of a dictionary is in memory once until the rows are read.
        own = row_sizes(checked(batch)) if shared else np.zeros(1)
        mean = size / batch.num_rows + own.sum() / batch.num_rows
        yield Needs(batch.num_rows, float(mean), float(own.max()))


def _is_shared(kind: pa.DataType) -> bool:
    """Return whether a text of a column may be stored once for several rows."""
    if isinstance(kind, pa.BaseExtensionType):
        return _is_shared(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) or has_views(kind):
        return True
    return any(_is_shared(kind.field(place).type) for place in range(kind.num_fields))


def _narrowest(schema: pa.Schema) -> int:
    return next((place for place, kind in enumerate(schema.types) if pa.types.is_primitive(kind)), 0)


def open_reader(
    path: Path, source: pa.NativeFile, options: pa.ipc.IpcReadOptions | None = None
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
    path: Path, source: pa.NativeFile, sizes: list[int], first: int, rows: int
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
