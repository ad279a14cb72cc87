"""Ranks from the ranks and scores of the source: no model is asked.

rank = 1 + number of strictly better completions of the set        (ties share a rank)
"""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from pairkit.arrow import with_fields
from pairkit.sets import assemble, best_first, completions, map_batches, numbers


def rank(sets: pa.Table) -> pa.Table:
    """Fill `rank` from `score` where it is null, and sort the completions of each set best first.

    The source's ranks stay, a completion without rank and score stays unranked, and noise is never ranked.
    Equals keep the source's order; unranked completions follow the ranked ones, noise is last.
    """
    return map_batches(sets, _rank)


def _rank(batch: pa.RecordBatch) -> pa.RecordBatch:
    flat = completions(batch)
    frame = numbers(batch, flat)
    # Noise, unscored and NaN completions are better than no other completion.
    score = pl.when(~pl.col("noise")).then(pl.col("score").fill_nan(None))
    by_score = score.rank("min", descending=True).over("set").cast(pl.Int32)
    frame = frame.with_columns(rank=pl.coalesce("rank", by_score))
    flat = with_fields(flat, rank=frame["rank"].to_arrow())
    order = best_first(frame)
    return assemble(batch, flat, order["set"].to_numpy(), order["row"].to_numpy())
