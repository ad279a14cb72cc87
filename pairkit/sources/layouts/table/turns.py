"""Judgments of one turn of a dialogue: MT-bench's `turn: 1` compares the first replies of two turns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    flatten,
    is_list,
    is_number,
    is_text,
    listed,
    mask,
    parse_numbers,
    struct_fields,
)
from pairkit.sources.layouts.paths import parsed
from pairkit.sources.reading.roles import known_roles, normal_names

DIALOGUES = ("conversation_a", "conversation_b")


def up_to_turn(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Return the dialogues up to the reply of the row's `turn`, from 1; whole where they have no such turn.

    In Chatbot Arena it is the number of turns, so that nothing is cut.
    """
    turns = columns.get("turn")
    if turns is None or not (is_number(turns.type) or is_text(turns.type)):
        return {}
    numbers = parse_numbers(turns) if is_text(turns.type) else turns.cast(pa.float64())
    number = numbers.fill_null(0).to_numpy(zero_copy_only=False)
    return {name: _cut(columns[name], number) for name in DIALOGUES if name in columns}


def _cut(values: pa.Array, turn: npt.NDArray[np.float64]) -> pa.Array:
    lists = parsed(values) if is_text(values.type) else values
    if not is_list(lists.type) or not pa.types.is_struct(lists.type.value_type):
        return values
    cuts, flat = flatten(lists)
    owners = np.repeat(np.arange(len(lists)), np.diff(cuts))
    replies = np.concatenate([[0], np.cumsum(_is_reply(flat))])
    # Replies of the dialogue before each message.
    before = replies[:-1] - replies[cuts[:-1]][owners]
    selection = (before < turn[owners]) | (turn[owners] < 1)
    counts = np.bincount(owners, weights=selection, minlength=len(lists)).astype(np.int64)
    return listed(np.concatenate([[0], np.cumsum(counts)]), flat.filter(pa.array(selection)))


def _is_reply(messages: pa.Array) -> Mask:
    fields = struct_fields(messages)
    names = next((fields[name] for name in ("role", "from") if name in fields), None)
    if names is None or not is_text(names.type):
        return np.zeros(len(messages), np.bool_)
    roles = known_roles({})
    assistants = pa.array([name for name, role in roles.items() if role == "assistant"])
    return mask(pc.is_in(normal_names(names.cast(pa.string())), assistants))
