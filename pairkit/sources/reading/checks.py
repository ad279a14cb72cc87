"""The checks that are the same for every source, and the quarantine of the rows that fail them.

Every row goes either into the sets or into quarantine with the first reason found, so that the counts add up
whatever the data contain.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Mask, flatten, list_indices, mask, present, repeat, struct_fields
from pairkit.errors import located
from pairkit.readers.blocks import RowTable
from pairkit.readers.json_text import rows_as_json
from pairkit.schema import PROMPT_ENDS, QUARANTINE, ROLES, UNIDENTIFIED, quarantined
from pairkit.sources.base import STAGE, Draft, RowProblem
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.json_columns import NOTHING, as_texts
from pairkit.sources.reading.media import report_media

# About a million tokens. Longer texts are dumps, not prompts or replies, and a batch of them exceeds memory.
MAX_TEXT_BYTES = 4_000_000
TOO_LONG = f"is longer than {MAX_TEXT_BYTES:,} bytes"
GROUP = "group"  # a column of sets that are still to be joined
TOOL_FIELDS = ("tools", "functions")
NO_TOOLS = (None, *NOTHING, "[]", "{}")


class CheckedRows(NamedTuple):
    """The sets of a table, the quarantine of its other rows, and the row numbers of both."""

    sets: pa.Table
    quarantine: pa.Table
    numbers: np.ndarray[Any, Any]
    refused: np.ndarray[Any, Any]


def check(draft: Draft, raw: RowTable, *, source: str, file: str) -> CheckedRows:
    """Divide the rows that `draft` was made from into sets and quarantine, both in row order."""
    table, numbers, _ = raw
    size = table.num_rows
    # A row gets the first reason, so what its source found comes before the checks of all sources.
    problems = [
        *draft.problems,
        *_left_out(table, draft),
        *_prompt_problems(draft),
        # In a set that is still to be joined, ranks may begin at 0.
        *_completion_problems(draft, best=1 if draft.group is None else 0),
    ]
    bad = np.zeros(size, dtype=np.bool_)
    for problem in problems:
        bad |= problem.rows
    extra = [draft.tools, draft.chat_template_kwargs]
    columns = [
        *(repeat(source, size, pa.string()), draft.prompt, draft.completions, draft.metadata),
        *(pa.nulls(size, pa.string()) if column is None else column for column in extra),
    ]
    sets = pa.table([_cast(*pair) for pair in zip(columns, UNIDENTIFIED, strict=True)], UNIDENTIFIED)
    if draft.group is not None:
        sets = sets.append_column(GROUP, draft.group)
    if not bad.any():
        return CheckedRows(sets, QUARANTINE.empty_table(), numbers, numbers[:0])
    quarantine = _quarantine(problems, bad, raw, file)
    return CheckedRows(sets.filter(pa.array(~bad)), quarantine, numbers[~bad], numbers[bad])


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    return column if column.type == field.type else column.cast(field.type)


def _quarantine(problems: Iterable[RowProblem], bad: Mask, raw: RowTable, file: str) -> pa.Table:
    table, numbers, row_texts = raw
    first: dict[int, RowProblem] = {}
    for problem in problems:
        for row in np.flatnonzero(problem.rows).tolist():
            first.setdefault(row, problem)
    rows = sorted(first)
    details = [
        located(first[row].detail, file=file, row=int(numbers[row]), field=first[row].field) for row in rows
    ]
    # Row by row for the bad ones only.
    which = pa.array(bad)
    texts = list(rows_as_json(table.filter(which), None if row_texts is None else row_texts.filter(which)))
    return quarantined(STAGE, [first[row].reason for row in rows], texts, details=details)


def _left_out(table: pa.Table, draft: Draft) -> list[RowProblem]:
    """Find rows with columns that no set can hold, and those with tools that the source does not read."""
    columns = Columns.of(table)
    report_media(columns)
    for name in TOOL_FIELDS:
        if name in columns and draft.tools is None:
            texts = pc.utf8_lower(pc.replace_substring_regex(as_texts(columns, name), r"\s+", ""))
            where = mask(pc.invert(pc.is_in(texts, pa.array(NO_TOOLS))))
            columns.report(where, "unsupported_content", "holds tools, which no field of `map` reads", name)
    return columns.problems


def _prompt_problems(draft: Draft) -> list[RowProblem]:
    """Find missing, blank and too long prompts, unknown roles, and last turns that no reply can follow."""
    offsets, flat = flatten(draft.prompt)
    size, counts = len(draft.prompt), np.diff(offsets)
    columns = Columns({}, size, size, [])
    columns.report(counts == 0, "missing_prompt", "there is no prompt", "prompt")
    if not len(flat):
        return columns.problems
    owners = np.repeat(np.arange(size), counts)
    messages = Columns(struct_fields(flat), len(flat), size, columns.problems, owners, "prompt.")
    role, content = messages.arrays["role"], messages.arrays["content"]
    messages.report(~present(content), "missing_prompt", "is missing", "content")
    supported = mask(pc.is_in(role, pa.array(ROLES)))
    messages.report(~supported, "unsupported_content", f"is none of {', '.join(ROLES)}", "role")
    messages.report(_too_long(content), "too_long", TOO_LONG, "content")
    # Rows without a message have no last one, and were reported above.
    some = np.flatnonzero(counts)
    last = pa.array(offsets[1:][some] - 1)
    ends = Columns({}, len(some), size, columns.problems, some, "prompt.")
    ending = role.take(last)
    open_ = mask(pc.is_in(ending, pa.array(PROMPT_ENDS)))
    detail = "the prompt does not end in a user or tool turn"
    ends.report(~open_, "unsupported_content", detail, "role")
    # Only the last message: an empty assistant turn before it is somebody's data, not a missing question.
    # A tool may return nothing.
    blank = mask(pc.equal(pc.binary_length(pc.utf8_trim_whitespace(content.take(last))), 0))
    ends.report(blank & mask(pc.equal(ending, "user")), "empty_prompt", "the prompt is blank", "content")
    return columns.problems


def _completion_problems(draft: Draft, *, best: int) -> list[RowProblem]:
    offsets, flat = flatten(draft.completions)
    size = len(draft.completions)
    owners = list_indices(offsets)
    completions = Columns(struct_fields(flat), len(flat), size, [], owners, "completions.")
    text, rank = completions.arrays["text"], completions.arrays["rank"]
    completions.report(~present(text), "missing_completion", "a completion has no text", "text")
    completions.report(_too_long(text), "too_long", TOO_LONG, "text")
    completions.report(mask(pc.less(rank, best)), "invalid_rank", f"is below {best}", "rank")
    return completions.problems


def _too_long(texts: pa.Array) -> Mask:
    return mask(pc.greater(pc.binary_length(texts), MAX_TEXT_BYTES))
