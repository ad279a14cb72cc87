"""Chosen and rejected in the forms that preference datasets use: texts, messages, whole dialogues."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    Offsets,
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
from pairkit.schema import PROMPT
from pairkit.sources.reading.chat_marks import without_end_marks
from pairkit.sources.reading.columns import Columns, named_scores
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


def holds_replies(columns: Columns, name: str) -> bool:
    """Return whether a column holds lists of texts or of dialogues, each a reply."""
    kind = columns.arrays[name].type if name in columns else pa.null()
    return is_list(kind) and (is_text(kind.value_type) or is_list(kind.value_type))


def read_replies(columns: Columns, name: str) -> tuple[Offsets, Conversation]:
    """Read a column of lists of replies in the forms of `read_reply`: their offsets, and one per item."""
    cuts, items = columns.flat(name)
    return cuts, read_reply(items, "", whole=False)


def shared_prompt(
    columns: Columns, column: pa.Array | None, chosen: Conversation, rejected: Conversation, name: str
) -> pa.Array:
    """Return the prompt of each pair, as `common_prompt` does; problems are those of the column `name`."""
    return prompt_of_all(columns, column, [chosen, rejected], name)


def prompt_of_all(
    columns: Columns, column: pa.Array | None, replies: Sequence[Conversation], name: str
) -> pa.Array:
    """Return the prompt of each row that has one reply per column, as `common_prompt` does."""
    each = flatten(interleave([reply.prompt for reply in replies]))[1]
    return common_prompt(columns, column, np.arange(columns.size + 1) * len(replies), each, name)


def common_prompt(
    columns: Columns, column: pa.Array | None, cuts: Any, prompts: pa.Array, name: str
) -> pa.Array:
    """Return the prompt of each row: the messages before its replies, or else the prompt `column`.

    `prompts` has the messages before each reply, cut into rows at `cuts`; a reply without any follows those
    of the others. Rows with different messages before the replies are `diverging_prompts`. Problems are
    reported for the column `name`.
    """
    owners = list_indices(cuts)
    longer = np.flatnonzero(_lengths(prompts) > 0)
    rows, firsts = np.unique(owners[longer], return_index=True)
    first = np.full(columns.size, -1)
    first[rows] = longer[firsts]
    shared_prompts = prompts.take(pa.array(first, mask=first < 0))
    apart = np.zeros(columns.size, np.bool_)
    same = same_messages(prompts.take(pa.array(longer)), shared_prompts.take(pa.array(owners[longer])))
    apart[owners[longer[~same]]] = True
    columns.report(apart, "diverging_prompts", "the two dialogues differ before the last reply", name)
    # Replies of several turns: what they share then begins with the assistant or a tool.
    before = first >= 0
    several = before & ~apart & np.isin(_first_roles(shared_prompts), ("assistant", "tool"))
    # Without a prompt of its own, a row has whole dialogues.
    detail = "the dialogue begins with the assistant" if column is None else "the replies have several turns"
    columns.report(several, "unsupported_content", detail, name)
    if column is not None:
        other = before & ~apart & ~several & ~_share_a_turn(column, shared_prompts)
        columns.report(other, "diverging_prompts", "the prompt column is not a turn of the dialogues", name)
    otherwise = repeat([], columns.size, PROMPT) if column is None else column
    return pc.if_else(pa.array(before), shared_prompts, otherwise)


def report_contradictions(columns: Columns, scores: tuple[pa.Array, pa.Array], name: str) -> None:
    """Report pairs whose chosen reply has the lower score: either the label or the scores are wrong."""
    detail = "is below that of the rejected reply; --map prompt=..,chosen=..,rejected=.. reads no scores"
    columns.report(mask(pc.less(*scores)), "contradicting_scores", detail, name)


def pair(chosen: Conversation, rejected: Conversation, scores: tuple[pa.Array, pa.Array]) -> pa.Array:
    """Build sets of two: with scores if a row has both, otherwise ranked 1 and 2.

    The score of one side alone is kept under `scores`.
    """
    # Never both: a rank of its own could contradict the scores.
    both = pc.and_(pc.is_valid(scores[0]), pc.is_valid(scores[1]))
    parts = [
        reply.completions(
            rank=pc.if_else(both, None, pa.scalar(rank, pa.int32())),
            score=pc.if_else(both, score, None),
            scores=named_scores({"score": pc.if_else(both, None, score)}, len(score)),
        )
        for reply, rank, score in ((chosen, 1, scores[0]), (rejected, 2, scores[1]))
    ]
    return interleave(parts)


def _share_a_turn(column: pa.Array, shared: pa.Array) -> Mask:
    """Return where the last turn of one prompt occurs in the other one, or one of them is empty."""
    frame = pl.DataFrame(
        {
            f"{name}_{part}": text
            for name, prompts in (("column", column), ("shared", shared))
            for part, text in _spoken(prompts)
        }
    )
    inside = [
        pl.col(f"{name}_all").str.contains(pl.col(f"{other}_last"), literal=True)
        for name, other in (("column", "shared"), ("shared", "column"))
    ]
    return mask(frame.select(pl.any_horizontal(*inside).fill_null(True)).to_series().to_arrow())


def _spoken(prompts: pa.Array) -> Iterator[tuple[str, pl.Series]]:
    """Yield the last turn of each prompt, and all of its turns, with one space for any white space."""
    cuts, flat = flatten(prompts)
    content = struct_fields(flat)["content"].cast(pa.string())
    texts = pl.Series("text", listed(cuts, content), dtype=pl.List(pl.String))
    for part, text in (("last", texts.list.last()), ("all", texts.list.join("\n", ignore_nulls=True))):
        yield part, text.str.replace_all(r"\s+", " ").str.strip_chars()


def _lengths(prompts: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.diff(flatten(prompts)[0]).astype(np.int64)


def _first_roles(prompts: pa.Array) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    offsets, flat = flatten(prompts)
    some = np.diff(offsets) > 0
    # One entry per row: the index of its first message, null where there is none.
    index = pa.array(np.where(some, offsets[:-1], 0), mask=~some)
    roles = struct_fields(flat)["role"].take(index)
    return np.asarray(roles.to_numpy(zero_copy_only=False))
