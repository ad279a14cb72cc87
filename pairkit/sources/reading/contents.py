"""What a message says: a text, parts of a text, or an object with one text; and the thoughts among parts."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    Offsets,
    filled,
    filter_lists,
    flatten,
    is_list,
    is_text,
    listed,
    mask,
    present,
)
from pairkit.sources.reading.columns import Columns

# Types of the parts of a content that are text, and of those that are a thought.
TEXT_PARTS = ("text", "input_text", "output_text")
THOUGHT_PARTS = ("thinking", "reasoning", "thought")
MEDIA = (("an", "image"), ("an", "audio"), ("a", "video"))
# Keys under which objects hold their text, the most usual one first, and keys that may be next to it.
TEXT_KEYS = ("text", "content", "response", "output", "answer", "completion", "value")
BESIDE = ("type", "content_type", "annotations")


def read_content(items: Columns, name: str) -> pa.Array:
    """Read texts, lists of text parts, which are joined, or objects with one text; report anything else.

    Images and other parts are reported by name, and thoughts among the parts are left out.
    """
    return read_contents(items, name)[0]


def read_contents(items: Columns, name: str) -> tuple[pa.Array, pa.Array]:
    """Read contents as `read_content` does; return the texts, and the thoughts among the parts."""
    content = items.arrays.get(name)
    nothing = pa.nulls(items.size, pa.string())
    if content is None or not (is_list(content.type) or pa.types.is_struct(content.type)):
        return items.text(name), nothing
    if not is_list(content.type):
        return _only_text(items, name), nothing
    cuts, flat = flatten(content)
    if is_text(flat.type):
        texts, thoughts = flat.cast(pa.string()), pa.nulls(len(flat), pa.string())
    else:
        _, parts = items.items(name, of="parts of a text")
        texts, thoughts = _read_parts(parts)
    text = pc.binary_join(listed(cuts, pc.fill_null(texts, "")), "")
    thought = pc.binary_join(_without_nulls(cuts, thoughts), "\n\n")
    valid = pc.is_valid(content)
    return pc.if_else(valid, text, None), pc.if_else(pc.and_(valid, pc.not_equal(thought, "")), thought, None)


def _without_nulls(cuts: Offsets, flat: pa.Array) -> pa.Array:
    return filter_lists(listed(cuts, flat), present(flat))


def _only_text(items: Columns, name: str) -> pa.Array:
    """Read objects with one text under a known key; others are reported."""
    inner = items.struct(name)
    keys = [key for key in (*TEXT_KEYS, "parts") if key in inner]
    hits = [filled(inner.arrays[key]).astype(np.int64) for key in keys]
    others = [filled(inner.arrays[key]) for key in inner.arrays if key not in (*keys, *BESIDE)]
    counts = sum(hits, np.zeros(items.size, np.int64))
    unclear = present(items.arrays[name]) & ((counts > 1) | reduce(np.logical_or, others, counts == 0))
    items.report(unclear, "unsupported_content", "is an object, not a text", name)
    texts = [read_content(inner.only(key, ~unclear), key) for key in keys]
    return pc.coalesce(*texts, pa.nulls(items.size, pa.string()))


def _read_parts(parts: Columns) -> tuple[pa.Array, pa.Array]:
    kinds = parts.text("type")
    thoughtful = mask(pc.is_in(kinds, pa.array(THOUGHT_PARTS)))
    thoughts = pc.coalesce(
        *(parts.only(name, thoughtful).text(name) for name in (*THOUGHT_PARTS, "text", "content"))
    )
    texts = pc.coalesce(*(read_content(parts.only(name, ~thoughtful), name) for name in ("text", "content")))
    textual = mask(pc.is_in(kinds, pa.array(TEXT_PARTS))) | (~present(kinds) & present(texts))
    rest = ~(textual | (thoughtful & present(thoughts)))
    for article, medium in MEDIA:
        hits = rest & mask(pc.match_substring(kinds, medium))
        _report(parts, hits, f"holds {article} {medium} part, which is not supported")
        rest &= ~hits
    _report(parts, rest, "holds a part that is not a text")
    return pc.if_else(pa.array(textual), texts, None), thoughts


def _report(parts: Columns, where: Mask, detail: str) -> None:
    parts.report(where, "unsupported_content", detail, None)
