"""Candidate sets, rearranged without touching their texts.

Which completion is best, which are dropped and which come first is computed on a frame of numbers, one row
per completion, and carried out by one `take` on the flattened completions. The texts, which are nearly all
of the bytes, are moved at most once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Mask, offsets
from pairkit.schema import COMPLETION, to_sets

Indices = npt.NDArray[np.int64]

# Sets per batch. No result depends on it; it bounds memory and keeps text offsets within 32 bits.
BATCH = 1024


def batches(sets: pa.Table) -> Iterator[pa.RecordBatch]:
    """Yield the rows of `sets`, cast to `SETS`, in batches small enough to rearrange in memory."""
    yield from to_sets(sets).to_batches(max_chunksize=BATCH)


def map_batches(sets: pa.Table, function: Callable[[pa.RecordBatch], pa.RecordBatch]) -> pa.Table:
    """Apply `function`, which has to return the same columns, to `sets` batch by batch."""
    sets = to_sets(sets)
    return pa.Table.from_batches([function(batch) for batch in batches(sets)], schema=sets.schema)


def completions(batch: pa.RecordBatch) -> pa.StructArray:
    """Return the completions of all sets of a batch, flattened."""
    return pc.list_flatten(batch["completions"])


def named_scores(flat: pa.StructArray, name: str) -> npt.NDArray[np.float64]:
    """Return the named score of each completion of `flat`; NaN is one that was given none."""
    scores = pc.struct_field(flat, "scores")
    entries, owners = pc.list_flatten(scores), pc.list_parent_indices(scores)
    named = pc.equal(pc.struct_field(entries, "name"), name)
    values = np.full(len(flat), np.nan)
    values[owners.filter(named).to_numpy()] = pc.struct_field(entries, "value").filter(named).to_numpy()
    return values


def numbers(batch: pa.RecordBatch, flat: pa.StructArray) -> pl.DataFrame:
    """Return one row per completion of `flat`: `set` and `row` (indices), `rank`, `score`, `noise`."""
    return pl.DataFrame(
        {
            # The set of each completion: all columns have one entry per completion of the batch.
            "set": pc.list_parent_indices(batch["completions"]).to_numpy(),
            "row": np.arange(len(flat)),
            "rank": pl.Series(pc.struct_field(flat, "rank")),
            "score": pl.Series(pc.struct_field(flat, "score")),
            "noise": pl.Series(pc.equal(pc.struct_field(flat, "origin"), "noise")),
        },
        schema_overrides={"set": pl.Int64, "row": pl.Int64},
    )


def best_first(frame: pl.DataFrame) -> pl.DataFrame:
    """Sort as completions are stored: ranked ones best first, then unranked ones, noise last; stable."""
    return frame.sort("set", pl.col("noise").fill_null(False), "rank", nulls_last=True, maintain_order=True)


def assemble(
    batch: pa.RecordBatch, pool: pa.StructArray, sets: Indices, rows: Indices, stays: Mask | None = None
) -> pa.RecordBatch:
    """Replace the completions of `batch` by `pool[rows]`; `sets` (ascending) gives the set of each row.

    Sets for which `stays` is false are left out; none of `rows` may belong to them.
    """
    # `[sets]`, one length per set, while `sets` and `rows` have one entry per completion that stays.
    lengths = np.bincount(sets, minlength=batch.num_rows)
    column = batch.schema.get_field_index("completions")
    rest = batch.drop_columns(["completions"])
    if stays is not None and not stays.all():
        rest, lengths = rest.filter(pa.array(stays)), lengths[stays]
    # Nothing moves in most sets, and then the texts are not copied.
    if not _is_identity(rows, len(pool)):
        pool = pc.take(pool, pa.array(rows))
    lists = pa.ListArray.from_arrays(offsets(lengths), pool, type=pa.list_(COMPLETION))
    return rest.add_column(column, batch.schema.field(column), lists)


def _is_identity(rows: Indices, length: int) -> bool:
    return len(rows) == length and bool((rows == np.arange(length)).all())
