"""Views of candidate sets, each of exactly the schema that its consumers read.

A pair is a completion of the best rank (the first of them) and one that is strictly below it; noise is below
every ranked completion. A set in which no completion is ranked, or nothing is below the best, makes no pair.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from typing import get_args

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import offsets, structs
from pairkit.errors import unknown
from pairkit.mining import draws
from pairkit.mining.policies import NEGATIVE, RANKED, with_best
from pairkit.mining.recipe import Chosen, Rejected
from pairkit.schema import MESSAGE, PROMPT, ROLES
from pairkit.sets import batches, best_first, completions, numbers

# TRL's conversational preference format, with the scores as trl-lib publishes them.
PAIRS = pa.schema(
    [
        ("prompt", PROMPT),
        ("chosen", PROMPT),
        ("rejected", PROMPT),
        ("score_chosen", pa.float64()),
        ("score_rejected", pa.float64()),
    ]
)
# TRL's conversational unpaired preference format.
UNPAIRED = pa.schema([("prompt", PROMPT), ("completion", PROMPT), ("label", pa.bool_())])
# berkeley-nest/Nectar.
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
# HuggingFaceH4/ultrafeedback_binarized.
CONVERSATION = pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))
BINARIZED = pa.schema(
    [
        ("prompt", pa.string()),
        ("prompt_id", pa.string()),
        ("chosen", CONVERSATION),
        ("rejected", CONVERSATION),
        ("messages", CONVERSATION),
        ("score_chosen", pa.float64()),
        ("score_rejected", pa.float64()),
    ]
)


def pairs(
    sets: pa.Table, *, chosen: Chosen = "best", rejected: Rejected = "random", seed: int = 0
) -> pa.Table:
    """`PAIRS`: one row a pair, in the order of the sets.

    `rejected` is "worst" (the last completion: noise, where there is some), "random" or "policy" (one drawn
    by `seed` and `set_id`) or "all" (a row for each completion below the best). Unknown scores are null.
    """

    def view(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        picked = _pick(batch, flat, chosen, rejected, seed)
        return pa.record_batch(
            [
                pc.take(batch["prompt"], picked["set"].to_arrow()),
                _replies(flat, picked["chosen"]),
                _replies(flat, picked["rejected"]),
                *_scores(flat, picked),
            ],
            schema=PAIRS,
        )

    return _view(sets, view, PAIRS)


def binarized(
    sets: pa.Table, *, chosen: Chosen = "best", rejected: Rejected = "random", seed: int = 0
) -> pa.Table:
    """`BINARIZED`: the same pairs, as whole conversations.

    `prompt` is the last user turn and `prompt_id` its sha256, as published; `messages` is the chosen one.
    """

    def view(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        picked = _pick(batch, flat, chosen, rejected, seed)
        prompts = pc.take(batch["prompt"], picked["set"].to_arrow())
        ends = np.cumsum(pc.list_value_length(prompts).to_numpy()) - 1
        last = pc.struct_field(pc.list_flatten(prompts), "content").take(pa.array(ends))
        good = _conversations(prompts, flat, picked["chosen"])
        bad = _conversations(prompts, flat, picked["rejected"])
        ids = pa.array([sha256(text.encode()).hexdigest() for text in last.to_pylist()], pa.string())
        return pa.record_batch([last, ids, good, bad, good, *_scores(flat, picked)], schema=BINARIZED)

    return _view(sets, view, BINARIZED)


def unpaired(sets: pa.Table) -> pa.Table:
    """`UNPAIRED`: one row a completion of each set that makes a pair, true where it is of the best rank.

    Completions below the best, noise among them, are false; unranked ones are left out.
    """

    def view(batch: pa.RecordBatch) -> pa.RecordBatch:
        flat = completions(batch)
        frame = with_best(best_first(numbers(batch, flat)), RANKED)
        frame = frame.filter(RANKED | NEGATIVE, NEGATIVE.any().over("set"))
        return pa.record_batch(
            [
                pc.take(batch["prompt"], frame["set"].to_arrow()),
                _replies(flat, frame["row"]),
                frame.select(~NEGATIVE).to_series().to_arrow(),
            ],
            schema=UNPAIRED,
        )

    return _view(sets, view, UNPAIRED)


def nectar(sets: pa.Table) -> pa.Table:
    """`NECTAR`: one row a set, in Nectar's own layout; noise and unranked completions have no rank.

    `source` and `good_natured` are those of the set's metadata; without them the source is pairkit's name
    for it and `good_natured` is null. A system turn stands, without a name, before the first `Human:`.
    """
    return _view(sets, _nectar, NECTAR)


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
    spoken = pc.binary_join_element_wise(heads, pc.struct_field(messages, "content"), "")
    starts = offsets(pc.list_value_length(prompts).to_numpy())
    dialogues = pc.binary_join(pa.ListArray.from_arrays(starts, spoken), "")
    owners = pc.list_parent_indices(prompts).to_numpy()
    turns = np.bincount(owners[pc.equal(role, "user").to_numpy(zero_copy_only=False)], minlength=len(prompts))
    metadata = [json.loads(text) if text else {} for text in batch["metadata"].to_pylist()]
    named = zip(metadata, batch["source"].to_pylist(), strict=True)
    sources = [fields.get("source", name) for fields, name in named]
    good_natured = [fields.get("good_natured") for fields in metadata]
    return pa.record_batch(
        [
            pc.binary_join_element_wise(dialogues, "\n\nAssistant: ", ""),
            pa.ListArray.from_arrays(offsets(lengths.to_numpy()), answers),
            pa.array(turns, pa.int64()),
            lengths.cast(pa.int64()),
            pa.array(
                [one if isinstance(one, list) else [str(one)] for one in sources], pa.list_(pa.string())
            ),
            pa.array([one if isinstance(one, bool) else None for one in good_natured], pa.bool_()),
        ],
        schema=NECTAR,
    )


def _view(sets: pa.Table, view: Callable[[pa.RecordBatch], pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_batches([view(batch) for batch in batches(sets)], schema=schema)


def _pick(
    batch: pa.RecordBatch, flat: pa.StructArray, chosen: Chosen, rejected: Rejected, seed: int
) -> pl.DataFrame:
    """The pairs: `set`, and the rows `chosen` and `rejected` of `flat`."""
    for kind, value, known in (("chosen", chosen, Chosen), ("rejected", rejected, Rejected)):
        if value not in get_args(known):
            raise unknown(f"way to choose the {kind} completion", value, get_args(known))
    frame = with_best(best_first(numbers(batch, flat)), RANKED).filter(NEGATIVE)
    frame = frame.select("set", chosen="best_row", rejected="row")
    if rejected == "all":
        return frame
    if rejected == "worst":
        return frame.group_by("set", maintain_order=True).last()
    keys = draws.keys(seed, "rejected", batch["set_id"].to_pylist())
    frame = frame.with_columns(place=pl.int_range(pl.len()).over("set"), count=pl.len().over("set"))
    wanted = draws.below(draws.draw(keys)[frame["set"].to_numpy()], frame["count"].to_numpy())
    return frame.filter(pl.col("place") == pl.Series(wanted))


def _replies(flat: pa.StructArray, rows: pl.Series) -> pa.ListArray:
    """Each completion as a conversation of one assistant turn."""
    return pa.ListArray.from_arrays(offsets(np.ones(len(rows), np.int64)), _turns(flat, rows, MESSAGE))


def _turns(flat: pa.StructArray, rows: pl.Series, kind: pa.StructType) -> pa.StructArray:
    texts = pc.take(pc.struct_field(flat, "text"), rows.to_arrow())
    role = pa.array(["assistant"]).take(pa.array(np.zeros(len(rows), np.int64)))
    return structs(kind, len(rows), role=role, content=texts)


def _conversations(prompts: pa.ListArray, flat: pa.StructArray, rows: pl.Series) -> pa.ListArray:
    """Each prompt with its completion as the last turn."""
    kind = CONVERSATION.value_type
    messages = pc.list_flatten(prompts)
    spoken = {name: pc.struct_field(messages, name) for name in ("role", "content")}
    turns = pa.concat_arrays([structs(kind, len(messages), **spoken), _turns(flat, rows, kind)])
    lengths = pc.list_value_length(prompts).to_numpy() + 1
    ends = np.cumsum(lengths) - 1
    order = np.empty(len(turns), np.int64)
    order[ends] = len(messages) + np.arange(len(rows))
    order[np.delete(np.arange(len(turns)), ends)] = np.arange(len(messages))
    return pa.ListArray.from_arrays(offsets(lengths), pc.take(turns, pa.array(order)))


def _scores(flat: pa.StructArray, picked: pl.DataFrame) -> list[pa.Array]:
    scores = pc.struct_field(flat, "score")
    return [pc.take(scores, picked[name].to_arrow()) for name in ("chosen", "rejected")]
