"""Turns before a row's own prompt: the column `history` of LLaMA-Factory, ms-swift and chat logs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Offsets,
    flatten,
    is_list,
    is_text,
    listed,
    mask,
    present,
    repeat,
    struct_fields,
    structs,
)
from pairkit.schema import MESSAGE
from pairkit.sources.reading.cells import Cells
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.dialogues import messages_in
from pairkit.sources.reading.json_columns import NOTHING
from pairkit.sources.reading.literals import parse
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
        raise ValueError(f"is a text, not {FORMS}") from None
    found = messages_in(value, roles)
    value = value if found is None else found
    if not isinstance(value, list | dict):
        raise ValueError(f"is a text, not {FORMS}")
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
    keys = next((keys for keys in EXCHANGES if set(keys) <= set(items.arrays)), None)
    if keys is None:
        return listed(cuts, read_turns(items))
    asked, answered = (items.text(key) for key in keys)
    items.report(
        ~present(asked) | ~present(answered), "unsupported_content", "has no question or no answer", None
    )
    return _exchanges(cuts, asked, answered)


def with_history(prompts: pa.Array, history: pa.Array) -> pa.Array:
    """Put the turns of a history before the turns of each prompt, after its system messages."""
    if not len(flatten(history)[1]):
        return prompts
    (prompt_cuts, prompt), (cuts, turns) = flatten(prompts), flatten(history)
    system = mask(pc.equal(struct_fields(prompt)["role"], "system"))
    owners = np.repeat(np.arange(len(prompts)), np.diff(prompt_cuts))
    # Messages of other roles up to each message, and up to the first of its prompt: none between is leading.
    others = np.concatenate([[0], np.cumsum(~system)])
    leading = system & (others[1:] == others[prompt_cuts[:-1]][owners])
    rows = np.concatenate([owners, np.repeat(np.arange(len(prompts)), np.diff(cuts))])
    kinds = np.concatenate([np.where(leading, 0, 2), np.ones(len(turns), np.int64)])
    order = np.lexsort((np.arange(len(rows)), kinds, rows))
    joined = pa.concat_arrays([prompt, turns]).take(pa.array(order))
    lengths = np.diff(prompt_cuts) + np.diff(cuts)
    return listed(np.concatenate([[0], np.cumsum(lengths)]), joined)


def _pairs(columns: Columns, name: str, cuts: Offsets, flat: pa.Array) -> pa.Array:
    inner, texts = flatten(flat)
    if not is_text(texts.type) and not pa.types.is_null(texts.type):
        columns.report(np.diff(cuts) > 0, "unsupported_content", f"does not hold {FORMS}", name)
        return listed(np.zeros(columns.size + 1), pa.array([], MESSAGE))
    pairs = np.diff(inner) == 2
    places = inner[:-1]
    asked, answered = (
        texts.cast(pa.string()).take(pa.array(np.where(pairs, places + side, 0), mask=~pairs))
        for side in (0, 1)
    )
    wrong = ~(present(asked) & present(answered))
    bad = np.zeros(columns.size, np.bool_)
    bad[np.repeat(np.arange(columns.size), np.diff(cuts))[wrong]] = True
    columns.report(bad, "unsupported_content", f"does not hold {FORMS}", name)
    return _exchanges(cuts, asked, answered)


def _exchanges(cuts: Offsets, asked: pa.Array, answered: pa.Array) -> pa.Array:
    """Return two messages per exchange."""
    count = len(asked)
    order = np.arange(2 * count).reshape(2, count).T.ravel()
    content = pa.concat_arrays([asked, answered]).take(pa.array(order))
    roles = pa.concat_arrays([repeat("user", count, pa.string()), repeat("assistant", count, pa.string())])
    return listed(cuts * 2, structs(MESSAGE, 2 * count, role=roles.take(pa.array(order)), content=content))
