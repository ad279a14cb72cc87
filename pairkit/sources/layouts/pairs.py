"""Pairs in forms of their own: after a dialogue that ends in the chosen reply, and lists against lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, interleave, listed, present, with_fields
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.messages import Conversation, read_messages, with_thoughts
from pairkit.sources.reading.pairs import (
    common_prompt,
    holds_replies,
    pair,
    read_replies,
    read_reply,
    report_contradictions,
    shared_prompt,
)

SCORES = ("score_chosen", "score_rejected")
THOUGHTS = ("reasoning_chosen", "reasoning_rejected")


def read_pairs(columns: Columns, fields: Mapping[str, Any]) -> tuple[pa.Array, pa.Array]:
    """Return the prompts and the sets of rows with the fields `chosen` and `rejected`."""
    prompt, sets = _contents(columns, fields)
    models = [columns.text(fields[name]) for name in ("model_chosen", "model_rejected") if name in fields]
    cuts, flat = flatten(sets)
    if len(models) == 2 and np.all(np.diff(cuts) == 2):
        both = pa.concat_arrays(models).take(pa.array(np.arange(len(flat)).reshape(2, -1).T.ravel()))
        flat = with_fields(flat, model=both)
    return prompt, _with_thoughts(columns, fields, listed(cuts, flat))


def _with_thoughts(columns: Columns, fields: Mapping[str, Any], sets: pa.Array) -> pa.Array:
    """Give each side of a pair the thought next to it."""
    if not any(name in fields for name in THOUGHTS):
        return sets
    cuts, flat = flatten(sets)
    sides = [columns.text(fields[name]) if name in fields else _nothing(columns) for name in THOUGHTS]
    several = np.diff(cuts) != 2
    for side, name in zip(sides, THOUGHTS, strict=True):
        detail = "is one thought, next to several replies"
        columns.report(several & present(side), "length_mismatch", detail, fields.get(name))
    # One index per completion: its row, and its place in a pair.
    rows = np.repeat(np.arange(columns.size), np.diff(cuts))
    places = 2 * rows + np.minimum(np.arange(len(flat)) - cuts[rows], 1)
    beside = flatten(interleave(sides))[1].take(pa.array(places))
    own = flat.field("reasoning_content")
    return listed(cuts, with_fields(flat, reasoning_content=with_thoughts(own, beside)))


def _nothing(columns: Columns) -> pa.Array:
    return pa.nulls(columns.size, pa.string())


def _contents(columns: Columns, fields: Mapping[str, Any]) -> tuple[pa.Array, pa.Array]:
    name = fields.get("prompt") or fields.get("messages")
    if name is not None and name == fields["chosen"]:
        return _after_dialogue(columns, name, fields)
    # Without a prompt column, the prompt is what the two dialogues share.
    column = read_messages(columns, name) if name else None
    if column is not None and holds_replies(columns, fields["rejected"]):
        return _all_against_all(columns, column, _replies(columns, fields["chosen"]), fields["rejected"])
    chosen, rejected = (
        read_reply(columns, fields[side], whole=column is None) for side in ("chosen", "rejected")
    )
    prompt = shared_prompt(columns, column, chosen, rejected, fields["rejected"])
    first, second = (
        columns.number(fields[score]) if score in fields else pa.nulls(columns.size, pa.float64())
        for score in SCORES
    )
    report_contradictions(columns, (first, second), fields.get("score_chosen", ""))
    return prompt, pair(chosen, rejected, (first, second))


def _after_dialogue(columns: Columns, name: str, fields: Mapping[str, Any]) -> tuple[pa.Array, pa.Array]:
    """Read a dialogue that ends in the chosen reply, and what could have been said instead of that reply.

    The rejected reply is a text, messages, the whole dialogue once more, or a list of texts.
    """
    chosen = read_reply(columns, name, whole=True)
    if holds_replies(columns, fields["rejected"]):
        alone = np.arange(columns.size + 1), chosen
        return _all_against_all(columns, chosen.prompt, alone, fields["rejected"])
    rejected = read_reply(columns, fields["rejected"], whole=False)
    # The rejected side may hold the reply alone, and then follows the same messages.
    alone = pa.array(np.diff(flatten(rejected.prompt)[0]) == 0)
    again = rejected._replace(prompt=pc.if_else(alone, chosen.prompt, rejected.prompt))
    prompt = shared_prompt(columns, None, chosen, again, fields["rejected"])
    none = pa.nulls(columns.size, pa.float64())
    return prompt, pair(chosen, again, (none, none))


def _replies(columns: Columns, name: str) -> tuple[Any, Conversation]:
    """Read a column of replies, or of lists of them: offsets, and one reply per item."""
    if not holds_replies(columns, name):
        return np.arange(columns.size + 1), read_reply(columns, name, whole=False)
    cuts, replies = read_replies(columns, name)
    empty = present(columns.arrays[name]) & (np.diff(cuts) == 0)
    columns.report(empty, "missing_completion", "is empty", name)
    return cuts, replies


def _all_against_all(
    columns: Columns, column: pa.Array, replies: tuple[Any, Conversation], name: str
) -> tuple[pa.Array, pa.Array]:
    """Build sets of the chosen `replies`, all rank 1, and the list of rejected ones, all rank 2."""
    cuts, chosen = replies
    others, rejected = read_replies(columns, name)
    sets = _joined(listed(cuts, chosen.completions(rank=1)), listed(others, rejected.completions(rank=2)))
    both, prompts = flatten(_joined(listed(cuts, chosen.prompt), listed(others, rejected.prompt)))
    return common_prompt(columns, column, both, prompts, name), sets


def _joined(first: pa.Array, second: pa.Array) -> pa.Array:
    """Put the lists of `second` after those of `first`."""
    parts = [flatten(lists) for lists in (first, second)]
    counts = [np.diff(cuts) for cuts, _ in parts]
    rows = np.concatenate([np.repeat(np.arange(len(count)), count) for count in counts])
    # Stable, so that a row has its first list first.
    order = np.argsort(rows, kind="stable")
    flat = pa.concat_arrays([values for _, values in parts]).take(pa.array(order))
    return listed(np.concatenate([[0], np.cumsum(counts[0] + counts[1])]), flat)
