"""What the rows of a Parquet file need in memory, from the headers of its pages, before Arrow reads any.

A page of some kB may unpack to gigabytes, and a dictionary page holds a text once for any number of rows.
The footer may say anything; the headers of pages are what Arrow allocates by. They are Thrift structs in the
compact protocol (https://github.com/apache/parquet-format, parquet.thrift, PageHeader).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from struct import Struct
from typing import BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.errors import InputError, quoted
from pairkit.readers.blocks import UNIT_BYTES
from pairkit.readers.unpacked.parquet_footer import Column, check_sizes, columns_of
from pairkit.readers.unpacked.thrift import read_struct
from pairkit.readers.unpacked.unit_size import Needs, fitting_rows

# Of the largest pages of all columns together, which are in memory at the same time. Writers make pages of
# about 1 MiB, but Arrow's of at least 1,024 rows.
PAGES_BYTES = 1 << 30
DICTIONARY_BYTES = 64 << 20  # writers end a dictionary at about 1 MiB
HEADER = 1 << 12  # bytes to read first; statistics of long texts make a header longer
LONGEST_HEADER = 16 << 20
SMALL = UNIT_BYTES // 1000
LEAST = 4  # bytes of a value in memory
PLAIN = 0
CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}  # CompressionCodec
LENGTH = Struct("<I")
DATA, DATA_V2, DICTIONARY = 0, 3, 2  # PageType


class Page(NamedTuple):
    """A page: its type, its sizes in bytes, the number of its values, and where it is."""

    kind: int
    unpacked: int
    packed: int
    values: int
    place: int  # of its content in the file


def unit_rows(file: pq.ParquetFile, path: Path, rows: int) -> int:
    """Return how many rows a unit may have, at most `rows`, so that it stays within `UNIT_BYTES` on average.

    It depends on the file alone. Raises `InputError` for pages, dictionaries, or files that unpack to more
    than any memory should hold, and for headers that are damaged.
    """
    return fitting_rows(list(_needs(file, path)), path, rows)


def _needs(file: pq.ParquetFile, path: Path) -> Iterator[Needs]:
    with path.open("rb") as raw:
        for number, columns in enumerate(columns_of(file, raw, path)):
            group = file.metadata.row_group(number)
            if not group.num_rows:
                continue
            page_lists = [list(_pages(raw, column, path)) for column in columns]
            _check_held(columns, page_lists, path)
            mean = most = 0.0
            for column, pages in zip(columns, page_lists, strict=True):
                data = [page for page in pages if page.kind != DICTIONARY and page.values]
                words = [page for page in pages if page.kind == DICTIONARY and page.values]
                # Of a list, a row has several.
                per_row = sum(page.values for page in data) / group.num_rows
                mean += sum(page.unpacked for page in data) / group.num_rows
                mean += sum(page.unpacked / page.values for page in words) * per_row
                sizes = [page.unpacked / page.values for page in data]
                sizes += [_longest(raw, column, page) for page in words]
                most += max(sizes, default=0.0) * per_row
            # Nulls take memory and time too, and a page of some bytes may hold any number of them.
            yield Needs(group.num_rows, max(mean, LEAST * len(columns)), most)


def _check_held(columns: list[Column], page_lists: list[list[Page]], path: Path) -> None:
    largest = [max((page.unpacked for page in pages), default=0) for pages in page_lists]
    if sum(largest) > PAGES_BYTES:
        place = max(range(len(largest)), key=largest.__getitem__)
        raise InputError(
            f"{path}: its pages unpack to {sum(largest):,} bytes at a time, more than {PAGES_BYTES:,} "
            f"(the largest to {largest[place]:,}, in the column {quoted(columns[place].path)}); "
            "write the file again with smaller pages (pyarrow: write_batch_size=16)"
        )


def _longest(raw: BinaryIO, column: Column, page: Page) -> float:
    """Return the length of the longest value in a dictionary, at most that of the whole dictionary."""
    if column.kind != "BYTE_ARRAY":
        return page.unpacked / max(page.values, 1)
    # A dictionary that could not matter is not unpacked.
    if page.unpacked <= SMALL or (column.codec != PLAIN and column.codec not in CODECS):
        return page.unpacked
    raw.seek(page.place)
    content = raw.read(page.packed)
    try:
        if column.codec != PLAIN:
            content = pa.decompress(content, page.unpacked, CODECS[column.codec], asbytes=True)
    except (pa.ArrowException, OSError):
        # Arrow reports the damage when it reads the page.
        return page.unpacked
    longest = place = 0
    length_at, end = LENGTH.unpack_from, len(content) - 4
    # Each value is its length, and its bytes; there may be a hundred thousand of them.
    while place <= end:
        length = length_at(content, place)[0]
        if length > longest:
            longest = length
        place += 4 + length
    return min(longest, page.unpacked)


def _pages(raw: BinaryIO, column: Column, path: Path) -> Iterator[Page]:
    """Yield the pages of a column of a row group. Raises `InputError`."""
    place, values = column.start, 0
    while place < column.start + column.size and values < column.values:
        page = _page_at(raw, place, path)
        if page.kind == DICTIONARY and page.unpacked > DICTIONARY_BYTES:
            raise InputError(
                f"{path}: the dictionary of the column {quoted(column.path)} unpacks to "
                f"{page.unpacked:,} bytes, more than {DICTIONARY_BYTES:,}; write the file again with "
                "use_dictionary=False"
            )
        yield page
        place = page.place + page.packed
        values += page.values if page.kind in (DATA, DATA_V2) else 0


def _page_at(raw: BinaryIO, place: int, path: Path) -> Page:
    """Return the page whose header is at `place`."""
    size = HEADER
    while True:
        content = b""
        try:
            raw.seek(place)
            content = raw.read(size)
            stream = BytesIO(content)
            fields = read_struct(stream)
            about: dict[int, int] = next((fields[name] for name in (5, 7, 8) if name in fields), {})
            page = Page(fields[1], fields[2], fields[3], about.get(1, 0), place + stream.tell())
            check_sizes(page)
        except (EOFError, KeyError, TypeError, AttributeError, ValueError, OSError) as error:
            if isinstance(error, EOFError) and len(content) == size and size < LONGEST_HEADER:
                size *= 8
                continue
            raise InputError(f"{path}: the Parquet file is damaged: no page at byte {place:,}") from error
        return page
