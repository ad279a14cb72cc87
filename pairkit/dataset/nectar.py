"""Candidate sets as the rows of berkeley-nest/Nectar: texts with speakers, and their ranked answers."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import offsets, structs
from pairkit.schema import ROLES
from pairkit.sets import batches, completions

ANSWER = pa.struct([("answer", pa.string()), ("model", pa.string()), ("rank", pa.float64())])
NECTAR = pa.schema(
    [
        ("prompt", pa.string()),
        ("answers", pa.list_(ANSWER)),
        ("turns", pa.int64()),
        ("num_responses", pa.int64()),
        ("source", pa.list_(pa.string())),
        ("good_natured", pa.bool_()),
    ]
)


def nectar(sets: pa.Table) -> pa.Table:
    """Make a `NECTAR` table: one row per set; noise and unranked completions have no rank.

    `source` and `good_natured` are those of the set's metadata; without them the source is pairkit's name
    for it and `good_natured` is null. A system turn comes first, without a speaker's name. The sets hold
    nothing of `extras.EXTRAS`, which Nectar has no place for: see `left_out`.
    """
    return pa.Table.from_batches([_nectar(batch) for batch in batches(sets)], schema=NECTAR)


def _nectar(batch: pa.RecordBatch) -> pa.RecordBatch:
    flat, prompts = completions(batch), batch["prompt"]
    answers = structs(
        ANSWER,
        len(flat),
        answer=pc.struct_field(flat, "text"),
        model=pc.struct_field(flat, "model"),
        rank=pc.struct_field(flat, "rank").cast(pa.float64()),
    )
    messages, lengths = pc.list_flatten(prompts), pc.list_value_length(batch["completions"])
    role = pc.struct_field(messages, "role")
    heads = pa.array(["", "\n\nHuman: ", "\n\nAssistant: "]).take(pc.index_in(role, pa.array(ROLES)))
    texts = pc.binary_join_element_wise(heads, pc.struct_field(messages, "content"), "")
    # One offset per set and one more; `texts` has one entry per message.
    starts = offsets(pc.list_value_length(prompts).to_numpy())
    dialogues = pc.binary_join(pa.ListArray.from_arrays(starts, texts), "")
    # The set of each message.
    owners = pc.list_parent_indices(prompts).to_numpy()
    turns = np.bincount(owners[pc.equal(role, "user").to_numpy(zero_copy_only=False)], minlength=len(prompts))
    # A loop, because metadata is JSON text.
    metadata = [json.loads(text) if text else {} for text in batch["metadata"].to_pylist()]
    names = batch["source"].to_pylist()
    sources = [fields.get("source", name) for fields, name in zip(metadata, names, strict=True)]
    good_natured = [fields.get("good_natured") for fields in metadata]
    return pa.record_batch(
        [
            pc.binary_join_element_wise(dialogues, "\n\nAssistant: ", ""),
            pa.ListArray.from_arrays(offsets(lengths.to_numpy()), answers),
            pa.array(turns, pa.int64()),
            lengths.cast(pa.int64()),
            pa.array(
                # Nectar has a list of sources, other data one name.
                [source if isinstance(source, list) else [str(source)] for source in sources],
                pa.list_(pa.string()),
            ),
            # Metadata of other data may have anything under this name.
            pa.array([value if isinstance(value, bool) else None for value in good_natured], pa.bool_()),
        ],
        schema=NECTAR,
    )
