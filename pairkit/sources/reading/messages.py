"""Prompts in every form that datasets use: texts, chat messages, ShareGPT turns, transcripts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    filter_lists,
    flatten,
    is_list,
    is_text,
    listed,
    mask,
    prepend,
    present,
    repeat,
    struct_fields,
    structs,
)
from pairkit.schema import MESSAGE, PROMPT
from pairkit.sources.reading.chat_marks import ASSISTANT, HUMAN
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.turns import read_turns

# Separates the turns while a transcript is cut; a text that contains it already is refused.
CUT = "\x1e"


class Conversation(NamedTuple):
    """Conversations cut before their last message. `reply` is null if that is not an assistant's."""

    prompt: pa.Array  # PROMPT, everything before the last message
    reply: pa.Array  # string
    thoughts: pa.Array  # string, null where none is apart from the reply
    calls: pa.Array  # JSON of the reply's tool calls, or null

    def completions(self, **columns: Any) -> pa.Array:
        """Build one COMPLETION per reply; `columns` are its other fields."""
        extra = {"reasoning_content": self.thoughts, "tool_calls": self.calls}
        return completions(self.reply, **extra, **columns)


def with_thoughts(own: pa.Array, separate: pa.Array) -> pa.Array:
    """Return thoughts that messages hold, or else those next to them; a blank text is none."""
    return pc.coalesce(own, pc.if_else(pc.equal(pc.utf8_trim_whitespace(separate), ""), None, separate))


def text_replies(texts: pa.Array) -> Conversation:
    """Return replies that are texts, without a prompt."""
    nothing = pa.nulls(len(texts), pa.string())
    return Conversation(repeat([], len(texts), PROMPT), texts, nothing, nothing)


def user_prompt(texts: pa.Array) -> pa.Array:
    """Return one user message per text; the content of a null text is null."""
    users = text_messages(repeat("user", len(texts), pa.string()), texts)
    return listed(np.arange(len(texts) + 1), users)


def with_system(prompts: pa.Array, system: pa.Array) -> pa.Array:
    """Put a system message before the prompts that `system` has a text for, unless they begin with it."""
    selection = present(system) & mask(pc.greater(pc.utf8_length(system), 0)) & ~_begin_with(prompts, system)
    if not selection.any():
        return prompts
    first = text_messages(repeat("system", len(system), pa.string()), system)
    return prepend(prompts, first, selection)


def _begin_with(prompts: pa.Array, system: pa.Array) -> Mask:
    offsets, flat = flatten(prompts)
    some = np.diff(offsets) > 0
    first = flat.take(pa.array(np.where(some, offsets[:-1], 0), mask=~some))
    role, content = (struct_fields(first)[name] for name in ("role", "content"))
    return mask(pc.and_(pc.equal(role, "system"), pc.equal(content, system)))


def read_messages(columns: Columns, name: str) -> pa.Array:
    """Read a column of texts, messages or single messages as PROMPT; report the values that are none.

    A text is one user message, a null an empty list. Messages are structs of role and content, or
    ShareGPT's from and value.
    """
    empty = listed(np.zeros(columns.size + 1), pa.array([], MESSAGE))
    if name not in columns:
        return empty
    values = columns.arrays[name]
    if is_text(values.type):
        texts = user_prompt(columns.text(name))
        return pc.if_else(pa.array(present(values)), texts, pa.scalar([], PROMPT))
    if is_list(values.type):
        offsets, items = columns.items(name, of="objects with role and content")
        return listed(offsets, read_turns(items))
    if pa.types.is_struct(values.type):
        turns = read_turns(columns.struct(name))
        return pc.if_else(
            pa.array(present(values)), listed(np.arange(columns.size + 1), turns), pa.scalar([], PROMPT)
        )
    columns.text(name)  # reports its type
    return empty


def cut_last(prompts: pa.Array) -> Conversation:
    """Cut conversations before their last message."""
    offsets, flat = flatten(prompts)
    some = np.diff(offsets) > 0
    last = pa.array(np.where(some, offsets[1:] - 1, 0), mask=~some)
    fields = struct_fields(flat)
    by_assistant = pc.equal(fields["role"].take(last), "assistant")
    reply = [
        pc.if_else(by_assistant, fields[name].take(last), None)
        for name in ("content", "reasoning_content", "tool_calls")
    ]
    # One entry per message, `some` one per row.
    keep = np.ones(len(flat), dtype=np.bool_)
    keep[offsets[1:][some] - 1] = False
    return Conversation(filter_lists(prompts, keep), *reply)


def same_messages(left: pa.Array, right: pa.Array) -> Mask:
    """Mark the rows in which two columns of messages are equal, message by message."""
    (left_cuts, left_flat), (right_cuts, right_flat) = flatten(left), flatten(right)
    counts, others = np.diff(left_cuts), np.diff(right_cuts)
    same: Mask = counts == others
    chosen = _within(counts, same), _within(others, same)
    # One entry per message of the rows with equal counts, `same` one per row.
    owners = np.repeat(np.arange(len(counts)), np.where(same, counts, 0))
    a, b = struct_fields(left_flat.filter(chosen[0])), struct_fields(right_flat.filter(chosen[1]))
    same = same.copy()
    for name in a:
        # Two nulls are equal here: most messages have neither tool calls nor a thought.
        equal = mask(pc.equal(a[name], b[name])) | (~present(a[name]) & ~present(b[name]))
        same[owners[~equal]] = False
    return same


def _within(counts: Any, selected: Mask) -> pa.Array:
    return pa.array(np.repeat(selected, counts))


def transcripts(columns: Columns, name: str) -> pa.Array:
    """Read a column of "\\n\\nHuman: ... \\n\\nAssistant: ..." texts as PROMPT, with turns stripped.

    A text that does not begin with a turn is reported. The last turn may be empty.
    """
    texts = columns.text(name)
    series = pl.from_arrow(texts)
    assert isinstance(series, pl.Series)
    marked = mask(series.str.contains(CUT, literal=True).to_arrow())
    columns.report(marked, "unsupported_content", "holds the control character U+001E", name)
    starts = series.str.starts_with(HUMAN) | series.str.starts_with(ASSISTANT)
    wrong = present(texts) & ~mask(starts.to_arrow())
    columns.report(wrong, "missing_prompt", f"there is no prompt: does not begin with {HUMAN!r}", name)
    # The first character of each piece marks the speaker. Rows reported above become one odd turn.
    cut = series.str.replace_all(HUMAN, CUT + "H", literal=True)
    cut = cut.str.replace_all(ASSISTANT, CUT + "A", literal=True)
    pieces = cut.str.strip_prefix(CUT).str.split(CUT)
    offsets, flat = flatten(pieces.to_arrow())
    turns = pl.from_arrow(flat)
    assert isinstance(turns, pl.Series)
    by_human = turns.str.starts_with("H").to_arrow()
    roles = pc.if_else(by_human, pa.scalar("user"), pa.scalar("assistant"))
    return listed(offsets, text_messages(roles, turns.str.slice(1).str.strip_chars().to_arrow()))


def open_transcripts(columns: Columns, name: str) -> pa.Array:
    """Read transcripts that end in "Assistant:", where the reply begins, without that turn."""
    turns = cut_last(transcripts(columns, name))
    begun = present(turns.reply) & mask(pc.greater(pc.utf8_length(turns.reply), 0))
    columns.report(begun, "unsupported_content", "the last assistant turn is not empty", name)
    no_turn = present(columns.text(name)) & ~present(turns.reply)
    columns.report(no_turn, "unsupported_content", "does not end in an assistant turn", name)
    return turns.prompt


def text_messages(roles: pa.Array, contents: pa.Array) -> pa.Array:
    """Build one MESSAGE per text, without tool calls and thoughts."""
    role, content = (array.cast(pa.string()) for array in (roles, contents))
    return structs(MESSAGE, len(role), role=role, content=content)
