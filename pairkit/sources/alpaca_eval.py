"""AlpacaEval's annotation files: models' outputs for 805 instructions, each judged against one reference.

A row is one model's output next to the reference's, so a set is made of all rows of an instruction: the
reference first, with the score 0.5 of a model against itself, then the models in the order of the file.
Files of outputs alone (`output`, `generator`) become sets without scores.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import interleave, mask, present
from pairkit.readers.json_text import json_objects
from pairkit.schema import UNIDENTIFIED, with_all_columns
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions, named_scores
from pairkit.sources.reading.messages import user_prompt

OUTPUT = ("output", "generator")
PAIR = ("output_1", "generator_1", "output_2", "generator_2", "preference")
SET_FIELDS = ("dataset", "example_idx")


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Convert rows to sets of the reference and one output, which `merge` joins."""
    columns = Columns.of(table)
    prompt = user_prompt(columns.text("instruction"))
    fields = {name: columns.arrays[name] for name in SET_FIELDS if name in columns}
    rest = json_objects(columns.rest(["instruction", *OUTPUT, *PAIR, *SET_FIELDS]), columns.size)
    if "output_2" not in columns:
        flat = completions(columns.text("output"), model=columns.text("generator"), metadata=rest)
        return Draft(prompt, interleave([flat]), json_objects(fields, columns.size), columns.problems)
    fields["reference"] = columns.text("generator_1")
    # A model against itself wins half of the time.
    reference = completions(columns.text("output_1"), model=columns.text("generator_1"), score=0.5)
    preference = columns.number("preference")
    candidate = completions(
        columns.text("output_2"),
        model=columns.text("generator_2"),
        score=_win(columns, preference),
        scores=named_scores({"preference": preference}, columns.size),
        metadata=rest,
    )
    return Draft(
        prompt, interleave([reference, candidate]), json_objects(fields, columns.size), columns.problems
    )


def _win(columns: Columns, preference: pa.Array) -> pa.Array:
    """Return the judge's probability that the output beats the reference; null without a preference.

    A preference of 1 is a win of the reference, 2 of the output, 1.5 a tie; older files write a tie as 0.
    """
    tie = pc.equal(preference, 0.0)
    outside = present(preference) & ~mask(
        pc.or_(tie, pc.and_(pc.greater_equal(preference, 1.0), pc.less_equal(preference, 2.0)))
    )
    columns.report(outside, "invalid_score", "is neither 0 nor between 1 and 2", "preference")
    return pc.if_else(tie, 0.5, pc.subtract(preference, 1.0))


def merge(sets: pa.Table) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """Join the sets of one prompt, metadata and reference, in order of first appearance.

    The reference is kept once. Where its model is also among those compared, that row is dropped, because it
    compares the text with itself.
    """
    frame = pl.from_arrow(sets.select(["prompt", "completions", "metadata"]))
    assert isinstance(frame, pl.DataFrame)
    pairs = frame.with_columns(
        # The prompt is one user turn, so that its text identifies it.
        key=pl.col("prompt").list.last().struct.field("content"),
        reference=pl.when(pl.col("completions").list.len() > 1).then(pl.col("completions").list.first()),
        output=pl.col("completions").list.last(),
    )
    same = [
        pl.col("output").struct.field(name) == pl.col("reference").struct.field(name)
        for name in ("text", "model")
    ]
    # A null model compares as null, which is not proof of a copy.
    own = (same[0] & same[1]).fill_null(False)
    # In order, because groups would otherwise come in any order and the build must be repeatable.
    groups = (
        pairs.with_columns(own=own)
        .group_by(
            "key", "metadata", pl.col("reference").struct.field("text").alias("against"), maintain_order=True
        )
        .agg(
            pl.col("prompt").first(),
            pl.col("reference").first(),
            pl.col("output").filter(~pl.col("own")),
            # The rows of the file in each set, because progress and limits count rows.
            pl.len().alias("used"),
        )
        .with_columns(
            completions=pl.when(pl.col("reference").is_null())
            .then(pl.col("output"))
            .otherwise(pl.concat_list(pl.concat_list("reference"), "output")),
            source=pl.lit(sets["source"][0].as_py() if sets.num_rows else "", pl.String),
        )
    )
    # polars has wider types than the schema.
    read = [name for name in UNIDENTIFIED.names if name in groups.columns]
    table = with_all_columns(groups.select(read).to_arrow()).cast(UNIDENTIFIED)
    return table, groups["used"].cast(pl.Int64).to_numpy()
