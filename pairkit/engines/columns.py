"""Completions of engines as columns of candidate sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit import schema
from pairkit.arrow import listed, offsets, repeat, structs
from pairkit.engines.base import Completion
from pairkit.sets import assemble


def completions_array(
    rows: Sequence[Sequence[Completion]], model: str, about: Sequence[Mapping[str, Any]] | None = None
) -> pa.ListArray:
    """Convert completions of engines to a `completions` column, one list per row.

    Args:
        about: what is added to the metadata of a row's completions, one mapping per row.
    """
    flat = [completion for row in rows for completion in row]
    count = len(flat)
    sampling = pa.StructArray.from_arrays(
        [
            pa.array([getattr(completion.sampling, field.name) for completion in flat], field.type)
            for field in schema.SAMPLING
        ],
        fields=list(schema.SAMPLING),
    )
    # COMPLETION has no field for the number of tokens.
    details = [{} if completion.tokens is None else {"tokens": completion.tokens} for completion in flat]
    if about is not None:
        of_row = [each for each, row in zip(about, rows, strict=True) for _ in row]
        details = [{**mine, **more} for mine, more in zip(details, of_row, strict=True)]
    metadata = [schema.canonical_json(fields) if fields else None for fields in details]
    fields = {
        "text": pa.array([completion.text for completion in flat], pa.string()),
        "model": repeat(model, count, pa.string()),
        "scores": pa.array([[]] * count, schema.SCORES),
        "sampling": sampling,
        "finish_reason": pa.array([completion.finish_reason for completion in flat], pa.string()),
        "origin": repeat("generated", count, pa.string()),
        "metadata": pa.array(metadata, pa.string()),
    }
    for name in ("reasoning_content", "tool_calls", "token_ids", "tokenizer"):
        values = [getattr(completion, name) for completion in flat]
        fields[name] = pa.array(values, schema.COMPLETION.field(name).type)
    # One offset per row and one more; the structs are one per completion.
    return listed(offsets([len(row) for row in rows]), structs(schema.COMPLETION, count, **fields))


def drop_completions(sets: pa.Table) -> pa.Table:
    """Empty the lists of completions of `sets`."""
    index = sets.schema.get_field_index("completions")
    return sets.set_column(
        index, schema.SETS.field(index), pa.array([[]] * sets.num_rows, schema.SETS.field(index).type)
    )


def append_completions(sets: pa.Table, new: pa.ListArray) -> pa.Table:
    """Append row i of `new` to the completions of row i of `sets`."""
    # An empty table has no batch, which the next line takes for granted.
    if not sets.num_rows:
        return sets
    batch = schema.to_sets(sets).combine_chunks().to_batches()[0]
    lists = (batch["completions"], new)
    pool = pa.concat_arrays([pc.list_flatten(part) for part in lists])
    # The row of each completion: first all that were there, then all new ones.
    owner = np.concatenate([pc.list_parent_indices(part).to_numpy() for part in lists]).astype(np.int64)
    # Stable, so that each set keeps its own completions first, in their order.
    order = np.argsort(owner, kind="stable")
    return pa.Table.from_batches([assemble(batch, pool, owner[order], order)])
