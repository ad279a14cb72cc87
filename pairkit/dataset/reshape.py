"""Pairs in the layouts of other libraries: a `views.PAIRS` batch in, the columns of the consumer out.

Nothing is chosen here: the rows are those of the pairs, in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import offsets, structs
from pairkit.schema import PROMPT, ROLES

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
# NVIDIA NeMo-RL, docs/guides/dpo.md: the lower rank is preferred, and there are exactly two completions.
RANKED = pa.struct([("rank", pa.int64()), ("completion", PROMPT)])
NEMO_RL = pa.schema([("context", PROMPT), ("completions", pa.list_(RANKED))])
# OpenAI, "Direct preference optimization": the tools are part of the documented structure.
INPUT = pa.struct(
    [("messages", PROMPT), ("tools", pa.list_(pa.string())), ("parallel_tool_calls", pa.bool_())]
)
OPENAI = pa.schema([("input", INPUT), ("preferred_output", PROMPT), ("non_preferred_output", PROMPT)])
# LLaMA-Factory, data/README.md, "Sharegpt format", preference dataset.
TURN = pa.struct([("from", pa.string()), ("value", pa.string())])
SHAREGPT = pa.schema([("conversations", pa.list_(TURN)), ("chosen", TURN), ("rejected", TURN)])
_SPEAKERS = pa.array(["system", "human", "gpt"])  # in the order of `ROLES`


def binarized(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Make `BINARIZED` rows: whole conversations.

    `prompt` is the last user turn and `prompt_id` its sha256, as published; `messages` repeats `chosen`.
    """
    prompts = pairs["prompt"]
    ends = np.cumsum(pc.list_value_length(prompts).to_numpy()) - 1
    last = pc.struct_field(pc.list_flatten(prompts), "content").take(pa.array(ends, pa.int64()))
    ids = pa.array([sha256(text.encode()).hexdigest() for text in last.to_pylist()], pa.string())
    chosen, rejected = (_conversations(prompts, pairs[side]) for side in ("chosen", "rejected"))
    scores = [pairs["score_chosen"], pairs["score_rejected"]]
    return pa.record_batch([last, ids, chosen, rejected, chosen, *scores], schema=BINARIZED)


def nemo_rl(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Make `NEMO_RL` rows: the chosen completion has rank 0, the rejected one rank 1."""
    count = pairs.num_rows
    both = pa.concat_arrays([pairs["chosen"], pairs["rejected"]])
    order = np.arange(2 * count).reshape(2, count).T.ravel()  # chosen and rejected of one pair in turn
    ranks = pa.array(np.tile([0, 1], count), pa.int64())
    completions = structs(RANKED, 2 * count, rank=ranks, completion=both.take(pa.array(order)))
    lists = pa.ListArray.from_arrays(offsets(np.full(count, 2)), completions)
    return pa.record_batch([pairs["prompt"], lists], schema=NEMO_RL)


def openai(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Make `OPENAI` rows."""
    count = pairs.num_rows
    tools = pa.ListArray.from_arrays(offsets(np.zeros(count, np.int64)), pa.array([], pa.string()))
    calls = pa.repeat(pa.scalar(True), count)
    inputs = structs(INPUT, count, messages=pairs["prompt"], tools=tools, parallel_tool_calls=calls)
    return pa.record_batch([inputs, pairs["chosen"], pairs["rejected"]], schema=OPENAI)


def sharegpt(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Make `SHAREGPT` rows; a system turn is the first of `conversations`."""
    prompts = pairs["prompt"]
    lengths = pc.list_value_length(prompts).to_numpy()
    turns = pa.ListArray.from_arrays(offsets(lengths), _turns(pc.list_flatten(prompts)))
    replies = [_turns(pc.list_flatten(pairs[side])) for side in ("chosen", "rejected")]
    return pa.record_batch([turns, *replies], schema=SHAREGPT)


def alternates(sets: pa.RecordBatch) -> pa.Array:
    """Tell for each set whether its prompt is user, assistant, user, ..., after at most one system turn."""
    prompts = sets["prompt"]
    roles = pc.index_in(pc.struct_field(pc.list_flatten(prompts), "role"), pa.array(ROLES)).to_numpy()
    lengths = pc.list_value_length(prompts).to_numpy()
    starts = np.cumsum(lengths) - lengths
    owners = np.repeat(np.arange(len(lengths)), lengths)
    turn = np.arange(len(roles)) - starts[owners] - (roles[starts] == 0)[owners]
    expected = np.where(turn < 0, 0, 1 + turn % 2)
    broken = np.zeros(len(lengths), np.bool_)
    broken[owners[roles != expected]] = True
    return pa.array(~broken)


def by_batch(
    pairs: pa.Table, reshape: Callable[[pa.RecordBatch], pa.RecordBatch], schema: pa.Schema
) -> pa.Table:
    """Apply a function of this module to a `views.PAIRS` table."""
    return pa.Table.from_batches([reshape(batch) for batch in pairs.to_batches()], schema=schema)


def _turns(messages: pa.StructArray) -> pa.StructArray:
    speakers = _SPEAKERS.take(pc.index_in(pc.struct_field(messages, "role"), pa.array(ROLES)))
    return structs(TURN, len(messages), **{"from": speakers, "value": pc.struct_field(messages, "content")})


def _conversations(prompts: pa.ListArray, replies: pa.ListArray) -> pa.ListArray:
    """Join each prompt with its reply of one turn."""
    messages = pc.list_flatten(prompts)
    joined = pa.concat_arrays([messages, pc.list_flatten(replies)])
    fields = {name: pc.struct_field(joined, name) for name in ("role", "content")}
    turns = structs(CONVERSATION.value_type, len(joined), **fields)
    lengths = pc.list_value_length(prompts).to_numpy() + 1
    ends = np.cumsum(lengths) - 1
    order = np.empty(len(turns), np.int64)
    order[ends] = len(messages) + np.arange(len(replies))
    order[np.delete(np.arange(len(turns)), ends)] = np.arange(len(messages))
    return pa.ListArray.from_arrays(offsets(lengths), pc.take(turns, pa.array(order)))
