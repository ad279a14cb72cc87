"""Chosen and rejected in the forms that preference datasets use: texts, messages, whole dialogues."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, interleave, is_text, present, struct_fields
from pairkit.sources.reading.chat_marks import without_end_marks
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.messages import (
    Conversation,
    cut_last,
    read_messages,
    same_messages,
    text_replies,
    transcripts,
)


def read_reply(columns: Columns, name: str, *, whole: bool) -> Conversation:
    """Read a column of replies: a text, one message, or messages of which the last is the reply.

    The result's `prompt` holds the messages before the reply, if any. With `whole` no other column holds the
    prompt, so a text has to be a "\\n\\nHuman: ... \\n\\nAssistant: ..." transcript.
    """
    as_text = name in columns and is_text(columns.arrays[name].type)
    if as_text and not whole:
        return text_replies(without_end_marks(columns.text(name)))
    cut = cut_last(transcripts(columns, name) if as_text else read_messages(columns, name))
    if name in columns:
        silent = present(columns.arrays[name]) & ~present(cut.reply)
        columns.report(silent, "unsupported_content", "does not end in an assistant's text", name)
    return cut


def shared_prompt(
    columns: Columns, column: pa.Array | None, chosen: Conversation, rejected: Conversation, name: str
) -> pa.Array:
    """Return the prompt of each pair: the messages before both replies, or else the prompt `column`.

    Pairs with different messages before the replies are `diverging_prompts`. Problems are reported for the
    column `name`.
    """
    before = _lengths(chosen.prompt) + _lengths(rejected.prompt) > 0
    apart = before & ~same_messages(chosen.prompt, rejected.prompt)
    columns.report(apart, "diverging_prompts", "the two dialogues differ before the last reply", name)
    # Both replies of several turns: the shared prefix then begins with the assistant or a tool.
    several = before & ~apart & np.isin(_first_roles(chosen.prompt), ("assistant", "tool"))
    columns.report(several, "unsupported_content", "the replies have several turns", name)
    if column is None:
        return chosen.prompt
    return pc.if_else(pa.array(before), chosen.prompt, column)


def pair(chosen: Conversation, rejected: Conversation, scores: tuple[pa.Array, pa.Array]) -> pa.Array:
    """Build sets of two: with scores if a row has both, otherwise ranked 1 and 2."""
    # Never both: a rank of its own could contradict the scores.
    scored = pc.and_(pc.is_valid(scores[0]), pc.is_valid(scores[1]))
    parts = [
        reply.completions(
            rank=pc.if_else(scored, None, pa.scalar(rank, pa.int32())),
            score=pc.if_else(scored, score, None),
        )
        for reply, rank, score in ((chosen, 1, scores[0]), (rejected, 2, scores[1]))
    ]
    return interleave(parts)


def _lengths(prompts: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.diff(flatten(prompts)[0]).astype(np.int64)


def _first_roles(prompts: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    offsets, flat = flatten(prompts)
    some = np.diff(offsets) > 0
    # One entry per row: the index of its first message, null where there is none.
    index = pa.array(np.where(some, offsets[:-1], 0), mask=~some)
    roles = struct_fields(flat)["role"].take(index)
    return np.asarray(roles.to_numpy(zero_copy_only=False))
