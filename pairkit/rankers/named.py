"""A ranker's number on completions: the score that orders, and one of the named scores that are kept."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit import schema
from pairkit.columns import offsets, with_fields


def with_score(completions: pa.StructArray, name: str, values: pa.Array) -> pa.StructArray:
    """`completions` with `score` and the named score `name` set to `values` (float64, null: no number).

    A score of that name from before is replaced; the rank of before is taken away, since it belonged to
    another order.
    """
    scores = pc.struct_field(completions, "scores")
    entries, owners = pc.list_flatten(scores), pc.list_parent_indices(scores)
    other = pc.not_equal(pc.struct_field(entries, "name"), name)
    numbered = pc.indices_nonzero(pc.is_valid(values))
    new = pa.StructArray.from_arrays(
        [pa.repeat(pa.scalar(name, pa.string()), len(numbered)), values.take(numbered)],
        fields=list(schema.SCORES.value_type),
    )
    pool = pa.concat_arrays([entries.filter(other), new])
    owner = pa.concat_arrays([owners.filter(other).cast(pa.int64()), numbered.cast(pa.int64())])
    order = pc.sort_indices(
        pa.table({"owner": owner, "name": pc.struct_field(pool, "name")}),
        sort_keys=[("owner", "ascending"), ("name", "ascending")],
    )
    lengths = np.bincount(owner.to_numpy(), minlength=len(completions))
    merged = pa.ListArray.from_arrays(offsets(lengths), pool.take(order), type=schema.SCORES)
    rank = pa.nulls(len(completions), pa.int32())
    return with_fields(completions, score=values, scores=merged, rank=rank)
