"""Rows of one response each, joined into sets by their prompt."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pairkit.arrow import flatten, listed, with_fields
from pairkit.schema import UNIDENTIFIED
from pairkit.schema.identity import prompt_ids
from pairkit.sources.layouts.outcomes import from_one
from pairkit.sources.reading.checks import GROUP


def join_rows(sets: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """Join the sets of one prompt and group, in order of first appearance.

    Return how many rows each set was made of as well. A set without a group stays as it is.
    """
    if GROUP not in sets.column_names or not sets.num_rows:
        return sets.select(UNIDENTIFIED.names), np.ones(sets.num_rows, np.int64)
    # Two prompts with the same id are the same messages and tools, so a set takes the first of them.
    frame = pl.DataFrame(
        {
            "prompt_id": prompt_ids(sets["prompt"], sets["tools"]),
            GROUP: pl.Series(sets[GROUP].to_pylist(), dtype=pl.String),
            "kwargs": pl.Series(sets["chat_template_kwargs"].to_pylist(), dtype=pl.String),
            "completions": pl.from_arrow(sets["completions"]),
        }
    ).with_row_index("row")
    alone = pl.when(pl.col(GROUP).is_null()).then(pl.col("row"))
    groups = (
        # In order, because a build must be repeatable.
        frame.group_by("prompt_id", GROUP, "kwargs", alone.alias("alone"), maintain_order=True).agg(
            pl.col("row").first(), pl.col("completions").explode(), pl.len().alias("used")
        )
    )
    table = sets.select(UNIDENTIFIED.names).take(groups["row"].to_arrow())
    place = UNIDENTIFIED.get_field_index("completions")
    cuts, flat = flatten(groups["completions"].to_arrow().cast(UNIDENTIFIED.field(place).type))
    completions = listed(cuts, with_fields(flat, rank=from_one(flat.field("rank"), cuts)))
    table = table.set_column(place, UNIDENTIFIED.field(place), completions)
    return table, groups["used"].cast(pl.Int64).to_numpy()
