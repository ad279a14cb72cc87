"""How many rows a unit of a columnar file may have, from what its rows need in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.readers.blocks import UNIT_BYTES

WORST_BYTES = 512 << 20  # of a unit, if each row had the longest texts
# What a whole file may unpack to, unless it is smaller than the other times the file.
UNPACKED_BYTES = 64 << 30
RATIO = 1000


class Needs(NamedTuple):
    """Bytes that some rows need: of a row on average, and of the largest that is possible."""

    rows: int
    mean: float
    most: float


def fitting_rows(needs: Iterable[Needs], path: Path, rows: int) -> int:
    """Return how many rows a unit may have, at most `rows`, so that it stays within `UNIT_BYTES` on average.

    Raises `InputError` for a file that unpacks to more than any build could read.
    """
    total = 0.0
    for need in needs:
        total += need.rows * need.mean
        rows = min(rows, int(UNIT_BYTES // max(need.mean, 1)), int(WORST_BYTES // max(need.most, 1)))
    size = path.stat().st_size
    if total > max(UNPACKED_BYTES, RATIO * size):
        times = total / size
        raise InputError(
            f"{path}: would unpack to about {total:,.0f} bytes, {times:,.0f} times its size; "
            "leave it out, or write the rows that you need to another file"
        )
    return max(rows, 1)
