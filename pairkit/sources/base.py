"""What a source is, and what it hands on.

A source is one file with a pure function `convert`, from a table of raw rows to a `Draft` of candidate
sets, and one row in the table of `pairkit.sources`. Reading, checking and quarantine are the same for all
(readers.py, checks.py). A source that makes its rows instead of reading them brings its own `open`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from pydantic import Field, PositiveInt

from pairkit.recipes import Strict
from pairkit.schema import StageResult

STAGE = "source"


class SourceRecipe(Strict):
    """The `source:` block of a build recipe. An option that the named source does not read is refused."""

    name: str = Field(description="a name of `pairkit sources`, or the id of a data set on the hub")
    path: str | None = Field(None, description="a file, folder or glob to read instead of the hub")
    split: str | None = Field(None, description="of the hub data set or folder; None: the source's first")
    config: str | None = Field(None, description="of the hub data set; None: the source's own")
    revision: str | None = Field(None, description="branch, tag or commit of the hub data set")
    limit: PositiveInt | None = Field(None, description="raw rows to read; None: all")
    map: dict[str, str] = Field({}, description="field of `files` -> column, as prompt=instruction")
    score: Literal["mean_rating", "overall_score"] | None = Field(
        None, description="what becomes the score in `ultrafeedback`; None: mean_rating"
    )


def converted(sets: pa.Table, quarantine: pa.Table, rows: int) -> StageResult:
    """Return the result of one batch of `rows` raw rows, of which those not in `quarantine` are in `sets`.

    A source that joins several rows into a set (`Source.merge`) has fewer sets than rows used.

    Args:
        sets: an `UNIDENTIFIED` table.
        quarantine: stage "source", detail "FILE, row N, field F: what is wrong".
    """
    return StageResult(sets, quarantine, counts={"rows": rows, "rows_quarantined": quarantine.num_rows})


class Problem(NamedTuple):
    """Why some rows of a table cannot be used: `rows` is boolean, one value a row."""

    rows: np.ndarray[Any, np.dtype[np.bool_]]
    reason: str
    detail: str
    field: str | None = None


class Draft(NamedTuple):
    """Candidate sets, one a row of the raw table, before they are checked.

    Rows named in a problem may hold anything, nulls included: they go to quarantine.
    """

    prompt: pa.Array  # PROMPT
    completions: pa.Array  # list of COMPLETION
    metadata: pa.Array  # JSON objects
    problems: Sequence[Problem] = ()


@dataclass(frozen=True)
class Opened:
    """A source whose input has been found. `stream(start, rows)` yields batches `start`, `start` + 1, ...

    `fingerprint` identifies the input: it changes when the content or the order of the files does.
    `total_rows` is None where counting would mean reading.
    """

    source: Source
    files: Sequence[Path]
    fingerprint: str
    total_rows: int | None
    stream: Callable[[int, int], Iterator[StageResult]] = field(repr=False)

    def batches(self, *, start: int = 0, rows: int = 1000) -> Iterator[StageResult]:
        """The batches from number `start` on, in order; what is in a batch depends on `rows` alone.

        Raises `InputError` for a file that cannot be read to its end or holds other columns.
        """
        return self.stream(start, rows)


@dataclass(frozen=True)
class Source:
    """One row of the table of sources."""

    name: str
    summary: str  # one line
    open: Callable[[Source, SourceRecipe], Opened]
    convert: Callable[[pa.Table, SourceRecipe], Draft] | None = None
    # Alternatives: the columns of one of them have to be there, or the file is another one's.
    columns: tuple[tuple[str, ...], ...] = ()
    options: frozenset[str] = frozenset()  # of the recipe's map and score, what it reads
    # The `map` of a file with these columns, of a source that goes by their names where none is given.
    layout: Callable[[Sequence[str]], Mapping[str, str]] | None = None
    # Joins sets that belong together, where a set is made of several rows, and says of how many rows each
    # joined set is made. Such a source is read whole before its first batch.
    merge: Callable[[pa.Table], tuple[pa.Table, np.ndarray[Any, np.dtype[np.int64]]]] | None = None
    hub_id: str | None = None
    config: str | None = None
    splits: tuple[str, ...] = ("train",)  # the first is the default
    licence: str = "see the data set"
    homepage: str = ""
    citation: str = ""

    def expects(self, recipe: SourceRecipe) -> tuple[tuple[str, ...], ...]:
        """The columns that a file has to hold: one of these groups. A mapped field needs its columns."""
        if not recipe.map:
            return self.columns
        return (tuple(name for names in recipe.map.values() for name in names.split("+")),)
