"""A ranker's numbers: `score`, which decides the order, and one of the named scores."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit import schema
from pairkit.arrow import offsets, with_fields
from pairkit.schema import to_sets
from pairkit.sets import assemble, completions, map_batches, named_scores


def with_score(flat: pa.StructArray, name: str, values: pa.Array) -> pa.StructArray:
    """Return the completions `flat` with `score` and the named score `name` set to `values` (float64).

    An earlier score of that name is replaced; the rank is removed, because it belonged to another order.
    """
    scores = pc.struct_field(flat, "scores")
    # One entry per named score, with the completion that has it; `flat` has one per completion.
    entries, owners = pc.list_flatten(scores), pc.list_parent_indices(scores)
    other = pc.not_equal(pc.struct_field(entries, "name"), name)
    # A completion without a score gets no entry, because a named score is never null.
    indices = pc.indices_nonzero(pc.is_valid(values))
    new = pa.StructArray.from_arrays(
        [pa.repeat(pa.scalar(name, pa.string()), len(indices)), values.take(indices)],
        fields=list(schema.SCORES.value_type),
    )
    pool = pa.concat_arrays([entries.filter(other), new])
    owner = pa.concat_arrays([owners.filter(other).cast(pa.int64()), indices.cast(pa.int64())])
    # Sorted by name within a completion, as in every file, so that the order of rankers changes no byte.
    order = pc.sort_indices(
        pa.table({"owner": owner, "name": pc.struct_field(pool, "name")}),
        sort_keys=[("owner", "ascending"), ("name", "ascending")],
    )
    lengths = np.bincount(owner.to_numpy(), minlength=len(flat))
    all_scores = pa.ListArray.from_arrays(offsets(lengths), pool.take(order), type=schema.SCORES)
    rank = pa.nulls(len(flat), pa.int32())
    return with_fields(flat, score=values, scores=all_scores, rank=rank)


def keep_own_order(scored_sets: pa.Table, own: pa.Table) -> pa.Table:
    """Return `scored_sets` with the ranks and scores of `own`, which contains all of its sets.

    Both have the completions of a set in the same order.
    """
    # Sets that the ranker sent to quarantine are missing in `scored_sets`.
    same = own.filter(pc.is_in(own["set_id"], scored_sets["set_id"].combine_chunks()))
    if not scored_sets.num_rows:
        return scored_sets
    before = pc.list_flatten(to_sets(same)["completions"]).combine_chunks()
    batch = to_sets(scored_sets).combine_chunks().to_batches()[0]
    flat = completions(batch)
    fields = {name: pc.struct_field(before, name) for name in ("rank", "score")}
    owner = pc.list_parent_indices(batch["completions"]).to_numpy()
    result = assemble(batch, with_fields(flat, **fields), owner, np.arange(len(flat)))
    return pa.Table.from_batches([result])


def order_by(sets: pa.Table, name: str, *, others: bool = False) -> pa.Table:
    """Return `sets` with the named score `name` as `score`, null where there is none, and without ranks.

    Noise is below every ranked completion and has neither. With `others`, sets in which no completion has
    that score keep the scores and ranks that they have.
    """

    def order(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        values = named_scores(flat, name)
        score = pa.array(values, pa.float64(), mask=np.isnan(values))
        owner = pc.list_parent_indices(batch["completions"]).to_numpy()
        rank = pa.nulls(len(flat), pa.int32())
        if others:
            # `[sets]`: how many completions of each have the score.
            without = np.bincount(owner[~np.isnan(values)], minlength=batch.num_rows) == 0
            keep = pa.array(without[owner])
            score, rank = (
                pc.if_else(keep, pc.struct_field(flat, field), new)
                for field, new in (("score", score), ("rank", rank))
            )
        return assemble(batch, with_fields(flat, score=score, rank=rank), owner, np.arange(len(flat)))

    return map_batches(sets, order)
