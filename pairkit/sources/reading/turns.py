"""One message of a chat: its speaker, its text or parts, a thought, tool calls, the result of a tool."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import Mask, is_text, mask, present, structs
from pairkit.schema import MESSAGE
from pairkit.sources.reading import json_columns
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.contents import read_contents
from pairkit.sources.reading.dialogues import CALL_FIELDS, CONTENT_FIELDS, ROLE_FIELDS
from pairkit.sources.reading.json_columns import normalized, read_json
from pairkit.sources.reading.media import report_media
from pairkit.sources.reading.roles import CALLERS, known_roles, normal_names, unknown_role

THOUGHT_FIELDS = ("reasoning_content", "thinking", "thought", "reasoning")


def read_turns(items: Columns) -> pa.Array:
    """Read structs of a role and a content as MESSAGE; report those that are none, and attached media."""
    report_media(items)
    items = _with_authors(items)
    content_field = items.first_of(CONTENT_FIELDS)
    names, roles = read_roles(items, ROLE_FIELDS)
    content, among_parts = _read_said(items)
    calls = read_calls(items)
    callers = pa.array(mask(pc.is_in(names, pa.array(CALLERS))))
    content_calls = normalized(items, pc.if_else(callers, content, None), content_field, json_columns.calls)
    calls = pc.coalesce(calls, content_calls)
    thoughts = pc.coalesce(read_thoughts(items), among_parts)
    by_assistant = mask(pc.equal(roles, "assistant"))
    for values, what in ((calls, "tool calls"), (thoughts, "a thought")):
        others = present(values) & ~by_assistant
        _report(items, others, f"has {what} and is not the assistant's", ROLE_FIELDS)
    # An assistant who calls a tool need not say anything.
    silent = pc.or_(callers, pc.and_(pc.is_null(content), pc.is_valid(calls)))
    results = pa.array(mask(pc.equal(roles, "tool")))
    return structs(
        MESSAGE,
        items.size,
        role=roles,
        content=pc.if_else(silent, "", content),
        reasoning_content=thoughts,
        tool_calls=calls,
        **{name: _of(results, items, name) for name in ("tool_call_id", "name")},
    )


def _with_authors(items: Columns) -> Columns:
    """Take the role of authors that are objects, as in ChatGPT's exports, for their names."""
    if "author" not in items or "role" not in (author := items.struct("author")):
        return items
    return replace(items, arrays={**items.arrays, "author": author.arrays["role"]})


def read_roles(items: Columns, fields: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Return the names of speakers in the form in which they are looked up, and their roles.

    A message has its speaker under the first of `fields` that it has: rows of one file may differ in them.
    """
    name_columns = (items.only(name, where).text(name) for name, where in items.firsts(fields).items())
    speakers = pc.coalesce(pa.nulls(items.size, pa.string()), *name_columns)
    names = normal_names(speakers)
    table = known_roles(items.roles)
    # A name that is not in the table gives null, which is reported.
    roles = pa.array(list(table.values())).take(pc.index_in(names, pa.array(list(table))))
    unknown = present(names) & ~present(roles)
    for wrong in pc.unique(speakers.filter(pa.array(unknown))).to_pylist():
        _report(items, mask(pc.equal(speakers, wrong)), unknown_role(wrong), fields)
    return names, roles


def _report(items: Columns, where: Mask, detail: str, fields: Sequence[str]) -> None:
    """Report messages under the fields that have their speakers."""
    for name, read in items.firsts(fields).items():
        here = where & read & present(items.arrays[name])
        items.report(here, "unsupported_content", detail, name)
        where = where & ~here
    items.report(where, "unsupported_content", detail, fields[0])


def _read_said(items: Columns) -> tuple[pa.Array, pa.Array]:
    """Read the content of each message under the first of its names that it has, and the thoughts in it."""
    content, thoughts = (pa.nulls(items.size, pa.string()) for _ in range(2))
    for name in CONTENT_FIELDS:
        if name in items:
            more = read_contents(items.only(name, ~present(content)), name)
            content, thoughts = pc.coalesce(content, more[0]), pc.coalesce(thoughts, more[1])
    return content, thoughts


def _of(results: pa.Array, items: Columns, name: str) -> pa.Array:
    """Read a text of the tools' messages; other messages may have anything under this name."""
    if name not in items or not is_text(items.arrays[name].type):
        return pa.nulls(items.size, pa.string())
    return pc.if_else(results, items.text(name), None)


def read_calls(items: Columns) -> pa.Array:
    """Read the tool calls of each item as JSON, null where it has none."""
    return pc.coalesce(*(read_json(items, name, json_columns.calls) for name in CALL_FIELDS))


def read_thoughts(items: Columns, names: Sequence[str] = THOUGHT_FIELDS) -> pa.Array:
    """Read the thought that an item keeps apart from its content; null where there is none."""
    thoughts = pc.coalesce(pa.nulls(items.size, pa.string()), *(items.text(name) for name in names))
    return pc.if_else(pc.equal(thoughts, ""), None, thoughts)
