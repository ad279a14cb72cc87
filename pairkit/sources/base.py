"""The contract of a source, and the types that sources return.

A source is one file with a pure function `convert`, from a table of raw rows to a `Draft` of candidate
sets, and one row in the table of `pairkit.sources`. Reading, checking and quarantine are the same for all
(reading/). A source that computes its rows instead of reading them provides its own `open`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from pairkit.arrow import Mask
from pairkit.hashing import Stamp
from pairkit.mixture import check_names
from pairkit.readers.blocks import RowTable
from pairkit.readers.survey import Survey
from pairkit.recipes import Name, Strict
from pairkit.schema import StageResult

STAGE = "source"
OPTIONS = ("layout", "map", "score")  # of the recipe: a source reads some of them


class SourceRecipe(Strict):
    """The `source:` block of a build recipe; an option that the source does not read is an error."""

    name: str = Field(description="a name listed by `pairkit sources`, or the id of a dataset on the hub")
    path: str | None = Field(None, description="a file, folder or glob to read instead of the hub")
    split: str | None = Field(None, description="split of a hub dataset or folder; None: the source's first")
    config: str | None = Field(None, description="configuration of a hub dataset; None: the source's own")
    revision: str | None = Field(None, description="branch, tag or commit of a hub dataset")
    limit: PositiveInt | None = Field(None, description="number of raw rows to read; None: all")
    layout: str | None = Field(
        None, description="layout of the rows of `files`, a name of docs/formats.md; None: recognized"
    )
    map: dict[str, str | bool | dict[str | int | bool, str]] = Field(
        {}, description="field of `files` -> column, path or quoted text, such as prompt=input.question"
    )
    score: Literal["mean_rating", "overall_score"] | None = Field(
        None, description="the number that `ultrafeedback` uses as score; None: mean_rating"
    )


class MixedSource(Strict):
    """An entry of the `sources:` of a build recipe, or the name of a source alone.

    name      what its sets have as `source`; null: the source's own name. Each entry needs another one.
    source    as in a build of one source.
    weight    its share of the mixture, for all entries or for none; null: all of its sets.
    limit     number of raw rows to read; null: all.
    fraction  share of its sets to take, drawn by a hash of (seed, name, number of the set); null: all.
    """

    name: Name | None = None
    source: SourceRecipe
    weight: PositiveFloat | None = None
    limit: PositiveInt | None = None
    fraction: float | None = Field(None, gt=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _named(cls, content: Any) -> Any:
        content = {"source": content} if isinstance(content, str) else content
        if isinstance(content, Mapping) and isinstance(content.get("source"), str):
            return {**content, "source": {"name": content["source"]}}
        return content

    @model_validator(mode="after")
    def _one_bound(self) -> MixedSource:
        bounds = {"fraction": self.fraction, "limit": self.limit, "source.limit": self.source.limit}
        names = [name for name, value in bounds.items() if value is not None]
        if len(names) > 1:
            raise ValueError(f"source {self.title!r} has {' and '.join(names)}: give one of them")
        return self

    @property
    def title(self) -> str:
        """The name of the entry, or else of its source."""
        return self.name or self.source.name

    @property
    def read(self) -> SourceRecipe:
        """The source with the limit of the entry."""
        return self.source if self.limit is None else self.source.model_copy(update={"limit": self.limit})


class Mixture(NamedTuple):
    """The sources of a build that has several, and the seed that draws and orders their sets."""

    sources: tuple[MixedSource, ...]
    seed: int


def check_mixture(sources: Sequence[MixedSource]) -> None:
    """Raise `ValueError` for entries with one name, and for weights of some of them only."""
    check_names("sources", sources, "give each a name of its own")


def converted(sets: pa.Table, quarantine: pa.Table, rows: int) -> StageResult:
    """Return the result of one batch of `rows` raw rows, of which those not in `quarantine` are in `sets`.

    A source that joins several rows into a set (`Source.merge`) has fewer sets than rows used.

    Args:
        sets: an `UNIDENTIFIED` table.
        quarantine: stage "source", detail "FILE, row N, field F: what is wrong".
    """
    return StageResult(sets, quarantine, counts={"rows": rows, "rows_quarantined": quarantine.num_rows})


class RowProblem(NamedTuple):
    """The reason why some rows of a table cannot be used; `rows` is boolean, one value per row."""

    rows: Mask
    reason: str
    detail: str
    field: str | None = None


class Reading(NamedTuple):
    """How the rows of one file are read: the layout, what each field is, and what no field reads."""

    layout: str
    summary: str
    # Field -> path, paths joined by +, or a constant in quotes; also `roles`, `winners` and `rank_by_order`.
    map: Mapping[str, Any]
    # Column -> share of the file's rows in which it is not null. Without columns of nothing but nulls.
    unread: Mapping[str, float]
    whole: bool = False  # the rows mean something only all together
    # Those of `unread` that metadata does not keep either.
    discarded: Sequence[str] = ()
    # Paths within columns that a field reads a part of.
    unread_parts: Sequence[str] = ()


class Draft(NamedTuple):
    """Candidate sets before they are checked, one per row of the raw table.

    Rows named in a problem may hold anything, nulls included, because they go to quarantine.
    """

    prompt: pa.Array  # PROMPT
    completions: pa.Array  # list of COMPLETION
    metadata: pa.Array  # JSON objects
    problems: Sequence[RowProblem] = ()
    tools: pa.Array | None = None  # JSON lists; None: no row has any
    chat_template_kwargs: pa.Array | None = None  # JSON objects; None: no row has any
    # Texts; rows of one prompt and one text are joined into a set. None: every row is a set of its own.
    group: pa.Array | None = None


class PartSize(NamedTuple):
    """A source of a mixture: its name, its sets, and how many of them are taken."""

    name: str
    sets: int
    taken: int


@dataclass(frozen=True)
class Opened:
    """A source whose input exists. `stream(start, rows)` yields batches `start`, `start` + 1, ...

    `fingerprint` identifies the input: it changes with the content and the order of the files.
    `total_rows` is None if the rows can only be counted by reading the files.
    """

    source: Source
    files: Sequence[Path]
    fingerprint: str
    total_rows: int | None
    # Per file, for sources that recognize layouts.
    readings: Mapping[str, Reading]
    stream: Callable[[int, int], Iterator[StageResult]] = field(repr=False)
    # Per file, as `readings`: what they were recognized from.
    surveys: Mapping[str, Survey] = field(default_factory=dict, repr=False)
    # The sha256 of each file as it was when the source was opened.
    hashes: Mapping[Path, str] = field(default_factory=dict, repr=False)
    # The state of each file just before it was hashed.
    stamps: Mapping[Path, Stamp] = field(default_factory=dict, repr=False)
    # Of a mixture: each source, how many sets it has, and how many of them are taken.
    parts: Sequence[PartSize] = ()

    def batches(self, *, start: int = 0, rows: int = 1000) -> Iterator[StageResult]:
        """Yield the batches from number `start` on, in order; the content of a batch depends on `rows` alone.

        Raises `InputError` for a file that cannot be read to its end or has other columns.
        """
        return self.stream(start, rows)


@dataclass(frozen=True)
class Source:
    """One row of the table of sources."""

    name: str
    summary: str  # one line
    open: Callable[[Source, SourceRecipe], Opened]
    convert: Callable[[pa.Table, SourceRecipe], Draft] | None = None
    # Alternatives: a file needs all columns of one of these groups, or it belongs to another source.
    columns: tuple[tuple[str, ...], ...] = ()
    prompts: bool = False  # its rows may be prompts without completions, as problems to be solved are
    options: frozenset[str] = frozenset()  # those of OPTIONS that the source reads
    # Says how a file with these columns is read; for sources that recognize layouts.
    recognize: Callable[[SourceRecipe, Path, Survey], Reading] | None = None
    # Turns raw rows into others, for layouts with several prompts per row; each keeps the number of its row,
    # and counts as a row.
    expand: Callable[[RowTable, SourceRecipe], RowTable] | None = None
    # Joins the sets of one prompt, for sources that spread a set over several rows, and returns how many rows
    # each joined set was made of. Such a source is read completely before its first batch.
    merge: Callable[[pa.Table], tuple[pa.Table, npt.NDArray[np.int64]]] | None = None
    hub_id: str | None = None
    config: str | None = None
    splits: tuple[str, ...] = ("train",)  # the first is the default
    license: str = "see the dataset"
    homepage: str = ""
    citation: str = ""
