"""Bad rows of CSV files that pyarrow does not tell, or cannot give to a handler."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, BinaryIO

import numpy as np

CSV_BLOCK = 16 << 20  # bytes; a CSV row has to fit in one, and the rows of one are in memory together


class Watched:
    """A stream of CSV that tells whether text may follow the closing quote of a cell in what was read of it.

    Any cell that is not quoted may have a quote within; `loose_rows` tells them apart.
    """

    closed = False

    def __init__(self, stream: Any, delimiter: str) -> None:
        self._stream = stream
        self._edges = np.frombuffer(delimiter.encode() + b"\r\n", np.uint8)
        self._tail = b"\n"
        self.suspicious = False

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes of the stream."""
        chunk = bytes(self._stream.read(size))
        # In parts, because what numpy makes of a part is many times its size.
        for start in range(0, len(chunk), PART):
            if self.suspicious:
                break
            part = chunk[start : start + PART]
            self.suspicious = self._may_be_loose(self._tail + part)
            self._tail = (self._tail + part[-TAIL:])[-TAIL:]
        return chunk

    def _may_be_loose(self, data: bytes) -> bool:
        values = np.frombuffer(data, np.uint8)
        quotes = np.flatnonzero(values == ord('"'))
        if not len(quotes):
            return False
        new = np.diff(quotes) > 1
        first, last = quotes[np.r_[True, new]], quotes[np.r_[new, True]]
        # What follows the last byte is told by the next chunk.
        first, last = first[last + 1 < len(values)], last[last + 1 < len(values)]
        within = ~np.isin(values[np.maximum(first - 1, 0)], self._edges) | (first == 0)
        odd = (last - first) % 2 == 0
        # In a cell of quotes, an odd number closes it; at its beginning, an even number opens and closes it.
        return bool(((odd == within) & ~np.isin(values[last + 1], self._edges)).any())


TAIL = 64  # bytes: more quotes in a row are suspicious
PART = 1 << 20  # bytes


def header_row(stream: Any, delimiter: str, skipped: int) -> bytes:
    """Return the bytes of a file up to the end of its first row that is not blank; at most `CSV_BLOCK`."""
    csv.field_size_limit(max(csv.field_size_limit(), CSV_BLOCK))
    content, more = b"", b"first"
    while more and len(content) < CSV_BLOCK:
        more = bytes(stream.read(len(content) or SAMPLE))
        content += more
        row = _first_row(content, delimiter, skipped)
        # A row that ends where the content does may continue.
        if row < len(content):
            return content[:row]
    return content


def _first_row(content: bytes, delimiter: str, skipped: int) -> int:
    """Return where the first row ends that is not blank."""
    end = 0

    def lines() -> Iterator[str]:
        nonlocal end
        # One character per byte, because the bytes are what pyarrow has to see.
        for number, line in enumerate(io.StringIO(content.decode("latin-1"), newline="")):
            end += len(line)
            if number >= skipped:
                yield line

    # A name beyond the limit is an error, of a file that pyarrow refuses in its turn.
    with suppress(csv.Error):
        next(filter(None, csv.reader(lines(), delimiter=delimiter)), None)
    return end


SAMPLE = 1 << 16  # bytes of a file in which most headers are


def loose_rows(stream: BinaryIO, delimiter: str, skipped: int) -> Generator[tuple[int, str], None, None]:
    """Yield the numbers and texts of rows in which text follows the closing quote of a cell, as in "a"b.

    Parsers read such a cell as ab, each without a word.
    """
    # Python refuses cells of more characters, the longest that pyarrow reads are of this length.
    csv.field_size_limit(max(csv.field_size_limit(), CSV_BLOCK))
    read: list[str] = []

    def lines() -> Iterator[str]:
        with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="") as text:
            for line in islice(text, skipped, None):
                read.append(line)
                yield line

    number = -1  # of the header, which is not a row
    # A cell beyond the limit is an error, of a file that pyarrow refuses in its turn.
    with suppress(csv.Error):
        for row in csv.reader(lines(), delimiter=delimiter):
            row_text = "".join(read)
            read.clear()
            if not row:
                continue  # blank lines are no rows
            number += 1
            if number and '"' in row_text and _is_loose(row_text, delimiter):
                yield number, row_text.rstrip("\r\n")


def _is_loose(row_text: str, delimiter: str) -> bool:
    try:
        list(csv.reader(io.StringIO(row_text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        return "expected after" in str(error)
    return False
