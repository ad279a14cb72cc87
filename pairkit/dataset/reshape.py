"""Pairs in the layouts of other libraries: a `views.FULL_PAIRS` batch in, the columns of the consumer out.

Nothing is chosen here: the rows are those of the pairs, in their order. `CHAT` layouts are for data with
tools or tool calls; what a layout has no place for is not in the pairs that it is given (see `left_out`).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, listed, offsets, structs, with_fields
from pairkit.dataset.chat_json import CHAT, JSON, as_json, chats, map_json, with_arguments
from pairkit.dataset.views import TURNS, turns
from pairkit.schema import ROLES

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
RANKED = pa.struct([("rank", pa.int64()), ("completion", TURNS)])
NEMO_RL = pa.schema([("context", TURNS), ("completions", pa.list_(RANKED))])
# OpenAI, "Direct preference optimization": the tools are part of the documented structure.
INPUT = pa.struct(
    [("messages", TURNS), ("tools", pa.list_(pa.string())), ("parallel_tool_calls", pa.bool_())]
)
OPENAI = pa.schema([("input", INPUT), ("preferred_output", TURNS), ("non_preferred_output", TURNS)])
CHAT_INPUT = pa.struct([("messages", CHAT), ("tools", JSON), ("parallel_tool_calls", pa.bool_())])
CHAT_OPENAI = pa.schema([("input", CHAT_INPUT), ("preferred_output", CHAT), ("non_preferred_output", CHAT)])
# LLaMA-Factory, data/README.md, "Sharegpt format", preference dataset.
TURN = pa.struct([("from", pa.string()), ("value", pa.string())])
SHAREGPT = pa.schema([("conversations", pa.list_(TURN)), ("chosen", TURN), ("rejected", TURN)])
CHAT_SHAREGPT = SHAREGPT.append(pa.field("tools", pa.string()))
_SPEAKERS = pa.array(["system", "human", "gpt", "observation"])  # in the order of `ROLES`


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
    both = pa.concat_arrays([turns(pairs["chosen"]), turns(pairs["rejected"])])
    order = np.arange(2 * count).reshape(2, count).T.ravel()  # chosen and rejected of one pair in turn
    ranks = pa.array(np.tile([0, 1], count), pa.int64())
    completions = structs(RANKED, 2 * count, rank=ranks, completion=both.take(pa.array(order)))
    lists = pa.ListArray.from_arrays(offsets(np.full(count, 2)), completions)
    return pa.record_batch([turns(pairs["prompt"]), lists], schema=NEMO_RL)


def openai(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Make `OPENAI` rows."""
    count = pairs.num_rows
    tools = pa.ListArray.from_arrays(offsets(np.zeros(count, np.int64)), pa.array([], pa.string()))
    calls = pa.repeat(pa.scalar(True), count)
    prompt, *replies = (turns(pairs[side]) for side in ("prompt", "chosen", "rejected"))
    inputs = structs(INPUT, count, messages=prompt, tools=tools, parallel_tool_calls=calls)
    return pa.record_batch([inputs, *replies], schema=OPENAI)


def chat_openai(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Make `CHAT_OPENAI` rows; the arguments of a call are JSON in a text."""
    count = pairs.num_rows
    # The name of a tool is that of the call with the same id, and no part of OpenAI's message.
    prompt, *replies = (
        chats(_without(pairs[side], "name"), "text") for side in ("prompt", "chosen", "rejected")
    )
    tools, calls = as_json(pc.fill_null(pairs["tools"], "[]")), pa.repeat(pa.scalar(True), count)
    inputs = structs(CHAT_INPUT, count, messages=prompt, tools=tools, parallel_tool_calls=calls)
    return pa.record_batch([inputs, *replies], schema=CHAT_OPENAI)


def sharegpt(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Make `SHAREGPT` rows; a system turn is the first of `conversations`."""
    prompts = pairs["prompt"]
    lengths = pc.list_value_length(prompts).to_numpy()
    spoken = pa.ListArray.from_arrays(offsets(lengths), _turns(pc.list_flatten(prompts)))
    replies = [_turns(pc.list_flatten(pairs[side])) for side in ("chosen", "rejected")]
    return pa.record_batch([spoken, *replies], schema=SHAREGPT)


def chat_sharegpt(pairs: pa.RecordBatch) -> pa.RecordBatch:
    """Make `CHAT_SHAREGPT` rows: tool calls are turns of their own kind, `tools` lists bare functions."""
    tools = pc.fill_null(map_json(pairs["tools"], lambda tools: [_bare(tool) for tool in tools]), "")
    return pa.record_batch([*sharegpt(pairs).columns, tools], schema=CHAT_SHAREGPT)


def _bare(tool: dict[str, Any]) -> Any:
    return tool.get("function", tool)


def _bare_calls(calls: list[dict[str, Any]]) -> Any:
    """Return the name and arguments of a call, or a list of them where there are several."""
    bare = [{name: call["function"].get(name) for name in ("name", "arguments")} for call in calls]
    return bare[0] if len(bare) == 1 else bare


def by_batch(
    pairs: pa.Table, reshape: Callable[[pa.RecordBatch], pa.RecordBatch], schema: pa.Schema
) -> pa.Table:
    """Apply a function of this module to a `views.FULL_PAIRS` table."""
    return pa.Table.from_batches([reshape(batch) for batch in pairs.to_batches()], schema=schema)


def _turns(messages: pa.StructArray) -> pa.StructArray:
    speakers = _SPEAKERS.take(pc.index_in(pc.struct_field(messages, "role"), pa.array(ROLES)))
    calls = map_json(with_arguments(pc.struct_field(messages, "tool_calls"), "object"), _bare_calls)
    speakers = pc.if_else(pc.is_valid(calls), "function_call", speakers)
    values = pc.coalesce(calls, pc.struct_field(messages, "content"))
    return structs(TURN, len(messages), **{"from": speakers, "value": values})


def _without(prompts: pa.ListArray, name: str) -> pa.ListArray:
    cuts, flat = flatten(prompts)
    return listed(cuts, with_fields(flat, **{name: pa.nulls(len(flat), pa.string())}))


def _conversations(prompts: pa.ListArray, replies: pa.ListArray) -> pa.ListArray:
    """Join each prompt with its reply of one turn."""
    messages = pc.list_flatten(prompts)
    pool = pa.concat_arrays([messages, pc.list_flatten(replies)])
    fields = {name: pc.struct_field(pool, name) for name in ("role", "content")}
    entries = structs(CONVERSATION.value_type, len(pool), **fields)
    lengths = pc.list_value_length(prompts).to_numpy() + 1
    ends = np.cumsum(lengths) - 1
    order = np.empty(len(entries), np.int64)
    order[ends] = len(messages) + np.arange(len(replies))
    order[np.delete(np.arange(len(entries)), ends)] = np.arange(len(messages))
    return pa.ListArray.from_arrays(offsets(lengths), pc.take(entries, pa.array(order)))
