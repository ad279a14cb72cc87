"""Pairs in forms of their own: after a dialogue that ends in the chosen reply, and lists against lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, interleave, is_list, is_text, listed, present, with_fields
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.messages import read_messages
from pairkit.sources.reading.pairs import pair, read_reply, shared_prompt

SCORES = ("score_chosen", "score_rejected")


def read_pairs(columns: Columns, fields: Mapping[str, Any]) -> tuple[pa.Array, pa.Array]:
    """Return the prompts and the sets of rows with the fields `chosen` and `rejected`."""
    prompt, sets = _contents(columns, fields)
    models = [columns.text(fields[name]) for name in ("model_chosen", "model_rejected") if name in fields]
    cuts, flat = flatten(sets)
    if len(models) == 2 and np.all(np.diff(cuts) == 2):
        both = pa.concat_arrays(models).take(pa.array(np.arange(len(flat)).reshape(2, -1).T.ravel()))
        flat = with_fields(flat, model=both)
    return prompt, listed(cuts, flat)


def _contents(columns: Columns, fields: Mapping[str, Any]) -> tuple[pa.Array, pa.Array]:
    name = fields.get("prompt") or fields.get("messages")
    if name is not None and name == fields["chosen"]:
        return _after_dialogue(columns, name, fields)
    # Without a prompt column, the prompt is what the two dialogues share.
    column = read_messages(columns, name) if name else None
    if column is not None and _are_texts(columns, fields["rejected"]):
        return column, _all_against_all(columns, fields)
    chosen, rejected = (
        read_reply(columns, fields[side], whole=column is None) for side in ("chosen", "rejected")
    )
    prompt = shared_prompt(columns, column, chosen, rejected, fields["rejected"])
    first, second = (
        columns.number(fields[score]) if score in fields else pa.nulls(columns.size, pa.float64())
        for score in SCORES
    )
    return prompt, pair(chosen, rejected, (first, second))


def _after_dialogue(columns: Columns, name: str, fields: Mapping[str, Any]) -> tuple[pa.Array, pa.Array]:
    """Read a dialogue that ends in the chosen reply, and what could have been said instead of that reply.

    The rejected reply is a text, messages, the whole dialogue once more, or a list of texts.
    """
    chosen = read_reply(columns, name, whole=True)
    if _are_texts(columns, fields["rejected"]):
        cuts, texts = flatten(columns.arrays[fields["rejected"]])
        return chosen.prompt, _joined(
            interleave([chosen.completions(rank=1)]), listed(cuts, _ranked(texts, 2))
        )
    rejected = read_reply(columns, fields["rejected"], whole=False)
    # The rejected side may hold the reply alone, and then follows the same messages.
    alone = pa.array(np.diff(flatten(rejected.prompt)[0]) == 0)
    again = rejected._replace(prompt=pc.if_else(alone, chosen.prompt, rejected.prompt))
    prompt = shared_prompt(columns, None, chosen, again, fields["rejected"])
    none = pa.nulls(columns.size, pa.float64())
    return prompt, pair(chosen, again, (none, none))


def _are_texts(columns: Columns, name: str) -> bool:
    values = columns.arrays.get(name)
    return values is not None and is_list(values.type) and is_text(values.type.value_type)


def _all_against_all(columns: Columns, fields: Mapping[str, Any]) -> pa.Array:
    """Build sets of chosen replies, all rank 1, and a list of rejected ones, all rank 2."""
    if _are_texts(columns, fields["chosen"]):
        cuts, texts = flatten(columns.arrays[fields["chosen"]])
        chosen = listed(cuts, _ranked(texts, 1))
        empty = present(columns.arrays[fields["chosen"]]) & (np.diff(cuts) == 0)
        columns.report(empty, "missing_completion", "is empty", fields["chosen"])
    else:
        chosen = interleave([_ranked(columns.text(fields["chosen"]), 1)])
    cuts, texts = flatten(columns.arrays[fields["rejected"]])
    return _joined(chosen, listed(cuts, _ranked(texts, 2)))


def _ranked(texts: pa.Array, rank: int) -> pa.Array:
    return completions(texts.cast(pa.string()), rank=rank)


def _joined(first: pa.Array, second: pa.Array) -> pa.Array:
    """Put the lists of `second` after those of `first`."""
    parts = [flatten(lists) for lists in (first, second)]
    counts = [np.diff(cuts) for cuts, _ in parts]
    rows = np.concatenate([np.repeat(np.arange(len(count)), count) for count in counts])
    # Stable, so that a row has its first list first.
    order = np.argsort(rows, kind="stable")
    flat = pa.concat_arrays([values for _, values in parts]).take(pa.array(order))
    return listed(np.concatenate([[0], np.cumsum(counts[0] + counts[1])]), flat)
