"""The dialect of a CSV file: its delimiter, and the line before the header in which Excel names it."""

from __future__ import annotations

import csv
import io
import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from pairkit.readers.text import UTF8_MARK, open_text

# In the order of preference among equals.
DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 1 << 20  # bytes
SAMPLE_ROWS = 100
# Excel reads this line as a setting, not as a row.
NAMED = re.compile(rb'"?sep=([^\r\n])"?\r?\n', re.IGNORECASE)


class Dialect(NamedTuple):
    """A delimiter, and the number of lines before the header."""

    delimiter: str
    skipped: int


def dialect_of(path: Path, compression: str | None) -> Dialect:
    """Find the delimiter by the header, and check it on the first rows. Raises `InputError`.

    A delimiter counts only if most of the first rows have as many cells as the header, so that one in the
    text of a prompt cuts nothing. A file in which none does has one column.
    """
    with open_text(path, compression) as stream:
        sample = stream.read(SAMPLE)
    whole = len(sample) < SAMPLE
    sample = sample.removeprefix(UTF8_MARK)
    match = NAMED.match(sample)
    if match:
        return Dialect(match[1].decode("latin-1"), 1)
    # Bytes that are not UTF-8 are reported by the reader, with their place.
    text = sample.decode(errors="replace")
    fits = {delimiter: _fit(text, whole, delimiter) for delimiter in DELIMITERS}
    best = max(DELIMITERS, key=lambda delimiter: fits[delimiter])
    return Dialect(best if fits[best] > (0.0, 0) else ",", 0)


def _fit(text: str, whole: bool, delimiter: str) -> tuple[float, int]:
    """Return the share of rows with as many cells as the header, and that number; zeros for no delimiter."""
    cells = _cell_counts(text, delimiter)
    if not cells or cells[0] < 2:
        return 0.0, 0
    header, *rest = cells
    if not whole and len(cells) < SAMPLE_ROWS:
        rest = rest[:-1]  # cut by the end of the sample
    share = sum(count == header for count in rest) / len(rest) if rest else 1.0
    return (share, header) if share > 0.5 else (0.0, 0)


def _cell_counts(text: str, delimiter: str) -> list[int]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    counts: list[int] = []
    # A cell beyond Python's limit of length is an error: then the rows before it decide.
    with suppress(csv.Error):
        # Blank lines are no rows.
        counts.extend(len(row) for row in islice(filter(None, rows), SAMPLE_ROWS))
    return counts
