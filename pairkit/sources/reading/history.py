"""Turns before a row's own prompt: the column `history` of LLaMA-Factory, ms-swift and chat logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Offsets,
    filter_lists,
    flatten,
    interleave,
    is_list,
    is_text,
    list_indices,
    listed,
    mask,
    present,
    repeat,
    struct_fields,
)
from pairkit.schema import MESSAGE
from pairkit.sources.reading.cells import Cells
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.dialogues import messages_in
from pairkit.sources.reading.json_columns import NOTHING
from pairkit.sources.reading.literals import OtherKind, parse
from pairkit.sources.reading.messages import text_messages
from pairkit.sources.reading.turns import read_turns

# Keys of one exchange: what the user says, what the assistant answers.
EXCHANGES = (
    ("user", "assistant"),
    ("human", "assistant"),
    ("human", "gpt"),
    ("user", "bot"),
    ("question", "answer"),
    ("query", "response"),
    ("prompt", "response"),
    ("prompt", "completion"),
    ("instruction", "output"),
    ("input", "output"),
    ("q", "a"),
)
FORMS = "pairs of question and answer, or messages"


def history_cell(text: str, roles: Mapping[str, str]) -> Any:
    """Parse a text that has to be a history; a dialogue of one message, or one exchange, is a list of it."""
    if text.strip().lower() in NOTHING:
        return []
    try:
        value = parse(text)
    except ValueError:
        raise OtherKind(f"is a text, not {FORMS}") from None
    messages = messages_in(value, roles)
    value = value if messages is None else messages
    if not isinstance(value, list | dict):
        raise OtherKind(f"is a text, not {FORMS}")
    return value if isinstance(value, list) else [value] if value else []


HISTORY = Cells(None, history_cell)


def read_history(columns: Columns, name: str) -> pa.Array:
    """Read lists of pairs, exchanges or messages as PROMPT, empty where there is none; report other forms."""
    empty = listed(np.zeros(columns.size + 1), pa.array([], MESSAGE))
    if name not in columns:
        return empty
    values = columns.arrays[name]
    if not is_list(values.type):
        columns.report(present(values), "unsupported_content", f"is not a list of {FORMS}", name)
        return empty
    cuts, flat = flatten(values)
    if is_list(flat.type):
        return _pairs(columns, name, cuts, flat)
    if not pa.types.is_struct(flat.type):
        filled = np.diff(cuts) > 0
        columns.report(filled, "unsupported_content", f"does not hold {FORMS}", name)
        return empty
    _, items = columns.items(name)
    return _turns(cuts, items)


def _turns(cuts: Offsets, items: Columns) -> pa.Array:
    """Return the turns of objects, each of which is an exchange or a message."""
    questions = answers = pa.nulls(items.size, pa.string())
    for keys in EXCHANGES:
        if set(keys) <= set(items.arrays):
            question, answer = (items.text(key) for key in keys)
            both = pc.and_(pc.is_valid(question), pc.is_valid(answer))
            questions = pc.coalesce(questions, pc.if_else(both, question, None))
            answers = pc.coalesce(answers, pc.if_else(both, answer, None))
    exchange = present(questions)
    messages = read_turns(items)
    neither = ~exchange & ~present(struct_fields(messages)["role"])
    items.report(neither, "unsupported_content", f"is none of {FORMS}", None)
    flat = flatten(interleave([*_exchange(questions, answers), messages]))[1]
    selection = np.stack([exchange, exchange, ~exchange], axis=1).ravel()
    return filter_lists(listed(cuts * 3, flat), selection)


def with_history(prompts: pa.Array, history: pa.Array) -> pa.Array:
    """Put the turns of a history before the turns of each prompt, after its system messages."""
    if not len(flatten(history)[1]):
        return prompts
    (prompt_cuts, prompt), (cuts, turns) = flatten(prompts), flatten(history)
    system = mask(pc.equal(struct_fields(prompt)["role"], "system"))
    owners = list_indices(prompt_cuts)
    # Messages of other roles up to each message, and up to the first of its prompt: none between is leading.
    others = np.concatenate([[0], np.cumsum(~system)])
    leading = system & (others[1:] == others[prompt_cuts[:-1]][owners])
    rows = np.concatenate([owners, list_indices(cuts)])
    kinds = np.concatenate([np.where(leading, 0, 2), np.ones(len(turns), np.int64)])
    order = np.lexsort((np.arange(len(rows)), kinds, rows))
    messages = pa.concat_arrays([prompt, turns]).take(pa.array(order))
    lengths = np.diff(prompt_cuts) + np.diff(cuts)
    return listed(np.concatenate([[0], np.cumsum(lengths)]), messages)


def _pairs(columns: Columns, name: str, cuts: Offsets, flat: pa.Array) -> pa.Array:
    inner, texts = flatten(flat)
    if not is_text(texts.type) and not pa.types.is_null(texts.type):
        columns.report(np.diff(cuts) > 0, "unsupported_content", f"does not hold {FORMS}", name)
        return listed(np.zeros(columns.size + 1), pa.array([], MESSAGE))
    pairs = np.diff(inner) == 2
    places = inner[:-1]
    questions, answers = (
        texts.cast(pa.string()).take(pa.array(np.where(pairs, places + side, 0), mask=~pairs))
        for side in (0, 1)
    )
    wrong = ~(present(questions) & present(answers))
    bad = np.zeros(columns.size, np.bool_)
    bad[list_indices(cuts)[wrong]] = True
    columns.report(bad, "unsupported_content", f"does not hold {FORMS}", name)
    flat = flatten(interleave(_exchange(questions, answers)))[1]
    return listed(cuts * 2, flat)


def _exchange(questions: pa.Array, answers: pa.Array) -> list[pa.Array]:
    """Build the messages of the user, and those of the assistant."""
    sides = (("user", questions), ("assistant", answers))
    return [text_messages(repeat(role, len(texts), pa.string()), texts) for role, texts in sides]
