"""One message of a chat: its speaker, its text or parts, a thought, tool calls, the result of a tool."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    flatten,
    is_list,
    is_text,
    listed,
    mask,
    present,
    structs,
)
from pairkit.schema import MESSAGE
from pairkit.sources.reading import json_columns
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.json_columns import normalized, read_json
from pairkit.sources.reading.media import report_media

# The names of OpenAI, ShareGPT, OpenAssistant and ms-swift.
ROLE_NAMES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    # The content of these is the call, as JSON.
    "function_call": "assistant",
    "tool_call": "assistant",
}
CALLERS = ("function_call", "tool_call")
ROLE_FIELDS = ("role", "from")
CONTENT_FIELDS = ("content", "value", "text")
THOUGHT_FIELDS = ("reasoning_content", "thinking", "reasoning")
# `function_call` is OpenAI's form before tools: one call and no list.
CALL_FIELDS = ("tool_calls", "function_call")
# Types of the parts of a content that are text.
TEXT_PARTS = ("text", "input_text", "output_text")
MEDIA = (("an", "image"), ("an", "audio"), ("a", "video"))


def read_turns(items: Columns) -> pa.Array:
    """Read structs of a role and a content as MESSAGE; report those that are none, and attached media."""
    report_media(items)
    role_field = _first(items, ROLE_FIELDS)
    content_field = _first(items, CONTENT_FIELDS)
    names = items.text(role_field)
    # A name that is not in the table gives null, which is reported below.
    index = pc.index_in(names, pa.array(list(ROLE_NAMES)))
    roles = pa.array(list(ROLE_NAMES.values())).take(index)
    unknown = present(names) & ~present(roles)
    items.report(unknown, "unsupported_content", f"is none of {', '.join(ROLE_NAMES)}", role_field)
    content, calls = read_content(items, content_field), read_calls(items)
    callers = pa.array(mask(pc.is_in(names, pa.array(CALLERS))))
    written = normalized(items, pc.if_else(callers, content, None), content_field, json_columns.calls)
    calls = pc.coalesce(calls, written)
    thoughts = read_thoughts(items)
    by_assistant = mask(pc.equal(roles, "assistant"))
    for values, what in ((calls, "tool calls"), (thoughts, "a thought")):
        others = present(values) & ~by_assistant
        items.report(others, "unsupported_content", f"has {what} and is not the assistant's", role_field)
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


def _first(items: Columns, names: tuple[str, ...]) -> str:
    return next((name for name in names if name in items), names[0])


def _of(results: pa.Array, items: Columns, name: str) -> pa.Array:
    """Read a text of the tools' messages; other messages may have anything under this name."""
    if name not in items or not is_text(items.arrays[name].type):
        return pa.nulls(items.size, pa.string())
    return pc.if_else(results, items.text(name), None)


def read_calls(items: Columns) -> pa.Array:
    """Read the tool calls of each item as JSON, null where it has none."""
    return pc.coalesce(*(read_json(items, name, json_columns.calls) for name in CALL_FIELDS))


def read_thoughts(items: Columns, names: tuple[str, ...] = THOUGHT_FIELDS) -> pa.Array:
    """Read the thought that an item keeps apart from its content; null where there is none."""
    thoughts = pc.coalesce(*(items.text(name) for name in names))
    return pc.if_else(pc.equal(thoughts, ""), None, thoughts)


def read_content(items: Columns, name: str) -> pa.Array:
    """Read texts, or lists of text parts, which are joined; images and other parts are reported by name."""
    content = items.arrays.get(name)
    if content is None or not (is_list(content.type) or pa.types.is_struct(content.type)):
        return items.text(name)
    if not is_list(content.type):
        items.report(present(content), "unsupported_content", "is an object, not a text", name)
        return pa.nulls(items.size, pa.string())
    cuts, flat = flatten(content)
    if is_text(flat.type):
        texts = flat.cast(pa.string())
    else:
        _, parts = items.items(name, of="parts of a text")
        texts = _part_texts(parts)
    joined = pc.binary_join(listed(cuts, pc.fill_null(texts, "")), "")
    return pc.if_else(pc.is_valid(content), joined, None)


def _part_texts(parts: Columns) -> pa.Array:
    kinds, texts = parts.text("type"), parts.text("text")
    written = mask(pc.is_in(kinds, pa.array(TEXT_PARTS))) | (~present(kinds) & present(texts))
    left = ~written
    for article, medium in MEDIA:
        found = left & mask(pc.match_substring(kinds, medium))
        _report(parts, found, f"holds {article} {medium} part, which is not supported")
        left &= ~found
    _report(parts, left, "holds a part that is not a text")
    return texts


def _report(parts: Columns, where: Mask, detail: str) -> None:
    parts.report(where, "unsupported_content", detail, None)
