"""Prompts in unusual places: inside every completion of a list, and as a list of questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl
import pyarrow as pa

from pairkit.arrow import flatten, indices_within, interleave, is_list, is_text, listed, present
from pairkit.sources.layouts.paths import parsed
from pairkit.sources.reading.columns import Columns, completions
from pairkit.sources.reading.messages import cut_last, same_messages, text_messages
from pairkit.sources.reading.pairs import common_prompt, read_reply

# Of "## Human:\\n...\\n\\n## Assistant:\\n...", in which DSP writes its comparisons.
HEADING = r"(^|\n\n)## (Human|Assistant):"


def read_dialogues(columns: Columns, name: str) -> tuple[pa.Array, pa.Array]:
    """Read a column of lists of dialogues, messages or transcripts: the prompts, and lists of completions.

    The prompt is before the last reply of every dialogue, and must then be the same.
    """
    values = columns.arrays[name]
    if is_text(values.type.value_type):
        offsets, flat = flatten(values)
        texts = pl.Series(name, flat.cast(pa.string()), dtype=pl.String)
        plain = texts.str.replace_all(HEADING, "\n\n$2:").to_arrow().cast(pa.string())
        columns = replace(columns, arrays={**columns.arrays, name: listed(offsets, plain)})
    cuts, items = columns.flat(name)
    reply = read_reply(items, "", whole=True)
    return common_prompt(columns, None, cuts, reply.prompt, name), listed(cuts, reply.completions())


def read_questions(columns: Columns, name: str, replies: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Read a list of the user's turns, and for each completion a list of the replies to them.

    The completions are the last replies. Those before them belong to the prompt, and must be the same.
    """
    questions = _texts(columns, name)
    answers = [_texts(columns, reply) for reply in replies]
    counts = np.diff(flatten(questions)[0])
    for reply, lists in zip(replies, answers, strict=True):
        reply_counts = np.diff(flatten(lists)[0])
        columns.report(
            reply_counts != counts, "length_mismatch", f"does not have one reply per turn of {name!r}", reply
        )
    dialogues = [_dialogue(questions, lists) for lists in answers]
    cuts = [cut_last(dialogue) for dialogue in dialogues]
    for reply, cut in zip(replies[1:], cuts[1:], strict=True):
        apart = ~same_messages(cuts[0].prompt, cut.prompt)
        columns.report(apart, "diverging_prompts", "the dialogues differ before the last reply", reply)
    return cuts[0].prompt, interleave([completions(cut.reply) for cut in cuts])


def _texts(columns: Columns, name: str) -> pa.Array:
    """Read lists of texts, also where a text holds them as JSON; anything else is reported and empty."""
    values = columns.arrays.get(name, pa.nulls(columns.size))
    lists = parsed(values) if is_text(values.type) else values
    if not is_list(lists.type) or not (
        is_text(lists.type.value_type) or pa.types.is_null(lists.type.value_type)
    ):
        columns.report(present(values), "not_text", "is not a list of texts", name)
        return pa.nulls(columns.size, pa.list_(pa.string()))
    columns.report(present(values) & ~present(lists), "invalid_json", "is not a JSON list of texts", name)
    return lists.cast(pa.list_(pa.string()))


def _dialogue(questions: pa.Array, answers: pa.Array) -> pa.Array:
    """Alternate questions and answers as messages; rows of different lengths get some of both."""
    (user_cuts, users), (assistant_cuts, assistants) = flatten(questions), flatten(answers)
    counts = np.minimum(np.diff(user_cuts), np.diff(assistant_cuts))
    turns = []
    for role, cuts, flat in (("user", user_cuts, users), ("assistant", assistant_cuts, assistants)):
        within = indices_within(cuts)
        texts = flat.filter(pa.array(within < np.repeat(counts, np.diff(cuts))))
        turns.append(text_messages(pa.repeat(pa.scalar(role), len(texts)), texts))
    both = interleave(turns)
    ends = np.concatenate([[0], np.cumsum(2 * counts)])
    return listed(ends, flatten(both)[1])
