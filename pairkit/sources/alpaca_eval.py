"""AlpacaEval's annotation files: many models' outputs to 805 instructions, each judged against one reference.

A row is one model's output beside the reference's, so a set is made of all rows of an instruction: the
reference first, with the score 0.5 of a model against itself, then the models in the order of the file.
The files of outputs alone (`output`, `generator`) give sets without scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import mask, present
from pairkit.readers.json_text import json_objects
from pairkit.schema import UNIDENTIFIED
from pairkit.sources.base import Draft, SourceRecipe
from pairkit.sources.reading.columns import Columns, completions, interleave, named_scores
from pairkit.sources.reading.messages import user_prompt

OUTPUT = ("output", "generator")
PAIR = ("output_1", "generator_1", "output_2", "generator_2", "preference")
OF_THE_SET = ("dataset", "example_idx")


def convert(table: pa.Table, recipe: SourceRecipe) -> Draft:
    """Rows as sets of the reference and one output, to be joined by `merge`."""
    columns = Columns.of(table)
    prompt = user_prompt(columns.text("instruction"))
    mine = {name: columns.arrays[name] for name in OF_THE_SET if name in columns}
    rest = json_objects(columns.rest(["instruction", *OUTPUT, *PAIR, *OF_THE_SET]), columns.size)
    if "output_2" not in columns:
        flat = completions(columns.text("output"), model=columns.text("generator"), metadata=rest)
        return Draft(prompt, interleave([flat]), json_objects(mine, columns.size), columns.problems)
    mine["reference"] = columns.text("generator_1")
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
        prompt, interleave([reference, candidate]), json_objects(mine, columns.size), columns.problems
    )


def _win(columns: Columns, preference: pa.Array) -> pa.Array:
    """The judge's probability that the output beats the reference; null where it gave no preference.

    1 is a win of the reference, 2 one of the output, 1.5 a draw; older files write a draw as 0.
    """
    draw = pc.equal(preference, 0.0)
    outside = present(preference) & ~mask(
        pc.or_(draw, pc.and_(pc.greater_equal(preference, 1.0), pc.less_equal(preference, 2.0)))
    )
    columns.report(outside, "invalid_score", "is neither 0 nor between 1 and 2", "preference")
    return pc.if_else(draw, 0.5, pc.subtract(preference, 1.0))


def merge(sets: pa.Table) -> tuple[pa.Table, np.ndarray[Any, np.dtype[np.int64]]]:
    """Joins the sets of one prompt, metadata and reference, in order of first appearance.

    The reference is kept once, without copies of it: where its model is also among those compared, that
    row tells nothing.
    """
    import polars as pl

    frame = pl.from_arrow(sets.select(["prompt", "completions", "metadata"]))
    assert isinstance(frame, pl.DataFrame)
    pairs = frame.with_columns(
        key=pl.col("prompt").list.last().struct.field("content"),
        reference=pl.when(pl.col("completions").list.len() > 1).then(pl.col("completions").list.first()),
        output=pl.col("completions").list.last(),
    )
    same = [
        pl.col("output").struct.field(name) == pl.col("reference").struct.field(name)
        for name in ("text", "model")
    ]
    own = (same[0] & same[1]).fill_null(False)
    joined = (
        pairs.with_columns(own=own)
        .group_by(
            "key", "metadata", pl.col("reference").struct.field("text").alias("against"), maintain_order=True
        )
        .agg(
            pl.col("prompt").first(),
            pl.col("reference").first(),
            pl.col("output").filter(~pl.col("own")),
            pl.len().alias("used"),
        )
        .with_columns(
            completions=pl.when(pl.col("reference").is_null())
            .then(pl.col("output"))
            .otherwise(pl.concat_list(pl.concat_list("reference"), "output")),
            source=pl.lit(sets["source"][0].as_py() if sets.num_rows else "", pl.String),
        )
    )
    table = joined.select(UNIDENTIFIED.names).to_arrow().cast(UNIDENTIFIED)
    return table, joined["used"].cast(pl.Int64).to_numpy()
