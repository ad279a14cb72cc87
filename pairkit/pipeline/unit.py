"""A unit of a build: the rows that are processed together and resumed together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pyarrow as pa

from pairkit.dataset.histograms import Histograms
from pairkit.schema import StageResult

UNITS_PER_RELEASE = 8


class Unit(NamedTuple):
    """A unit between two stages: `result` is that of the stages so far.

    `prompt_ids` are those of all sets of the source, whichever stay. `shown` is the number of its rows that
    were reported as progress already.
    """

    result: StageResult
    prompt_ids: pa.ChunkedArray
    shown: int = 0

    @property
    def rows(self) -> int:
        """The number of raw rows."""
        # Counted by the source, because stages remove rows.
        return self.result.counts["source.rows"]


class FinishedUnit(NamedTuple):
    """A unit after the last stage.

    `tables` are named by where they are written: "data/train", "data/test", "pairs/train", "pairs/test",
    "verdicts/all", "dropped/all". `bytes` is the size of the texts in the sets.
    """

    unit: Unit
    tables: dict[str, pa.Table]
    histograms: Histograms
    bytes: int


def releasing(units: Iterable[FinishedUnit]) -> Iterator[FinishedUnit]:
    """Return freed memory to the system once per `UNITS_PER_RELEASE` units: the allocator would keep it."""
    for number, unit in enumerate(units):
        if number % UNITS_PER_RELEASE == 0:
            pa.default_memory_pool().release_unused()
        yield unit
