"""What a ranker that asks a model gives: scored sets, what it could not score, counts, verdicts."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import pyarrow as pa

from pairkit.progress import Advance
from pairkit.schema import VERDICTS


class Scored(NamedTuple):
    """Sets with `score` and the ranker's named score; `sets` and `quarantine` are all the rows given.

    Ranks of before are taken away: `annotations.rank` ranks by the new score. `verdicts` is a `VERDICTS`
    table of what a judge has said, empty for other rankers.
    """

    sets: pa.Table
    quarantine: pa.Table
    counts: dict[str, int]
    verdicts: pa.Table = VERDICTS.empty_table()


class Ranker(Protocol):
    """A loaded ranker. `name` is that of its number among the named scores."""

    @property
    def name(self) -> str: ...

    def score(self, sets: pa.Table, advance: Advance, /) -> Scored:
        """Scores all completions but noise of a `SETS` table; `advance` is told of every completion."""
        ...
