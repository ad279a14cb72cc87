"""Sources whose rows are computed: no file is read, and the options of files are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import polars as pl
import pyarrow as pa

from pairkit import schema
from pairkit.errors import RecipeError
from pairkit.sources.base import Opened, Source, SourceRecipe, converted


def open_made(make: Callable[[str], pa.Table], source: Source, recipe: SourceRecipe) -> Opened:
    """Open a source whose split `make` computes as an `UNIDENTIFIED` table.

    Raises `RecipeError` for options of sources that read files, and what `make` raises for a split.
    """
    for option in ("path", "config", "revision"):
        if getattr(recipe, option) is not None:
            raise RecipeError(f"source {source.name!r} is generated and has no `{option}`; leave it out")
    table = make(recipe.split or source.splits[0]).slice(0, recipe.limit)
    # The prompts in their order, so that split, limit and seed are all in it.
    fingerprint = schema.short_hash(table["prompt"].to_pylist())
    return Opened(source, (), fingerprint, table.num_rows, {}, partial(_stream, table))


def groups_of(sets: pa.Table) -> list[str]:
    """Return the metadata's `group` of each set, for `bootstrap_mean`."""
    metadata = pl.Series(sets["metadata"].to_pylist(), dtype=pl.String)
    return metadata.str.json_path_match("$.group").to_list()


def _stream(table: pa.Table, start: int, rows: int) -> Iterator[schema.StageResult]:
    for offset in range(start * rows, table.num_rows, rows):
        batch = table.slice(offset, rows)
        yield converted(batch, schema.QUARANTINE.empty_table(), batch.num_rows)
