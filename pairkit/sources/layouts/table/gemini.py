"""Turns of Gemini, whose content is in parts: read as messages with texts."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import cast_or_null, flatten, listed
from pairkit.sources.layouts.paths import values_at

SYSTEM = ("system_instruction", "systemInstruction")


def without_parts(arrays: Mapping[str, pa.Array]) -> Mapping[str, pa.Array]:
    """Return the columns `contents`, `completions` and the system's instruction with texts for their parts.

    A part that is no text, such as an image, makes its whole text null, and so its row unusable.
    """
    size = len(next(iter(arrays.values())))
    cuts, roles = flatten(values_at(arrays, "contents[].role", size))
    roles = cast_or_null(roles, pa.string())
    speakers = pc.if_else(pc.equal(roles, "model"), "assistant", roles)
    messages = {"role": speakers, "content": _texts(arrays, "contents[].parts[].text", size)}
    ends, scores = flatten(values_at(arrays, "completions[].score", size))
    replies = {"text": _texts(arrays, "completions[].completion.parts[].text", size), "score": scores}
    columns = {"contents": listed(cuts, _structs(messages)), "completions": listed(ends, _structs(replies))}
    for name in SYSTEM:
        if name in arrays:
            columns[name] = _joined(values_at(arrays, f"{name}.parts[].text", size))
    return columns


def _texts(arrays: Mapping[str, pa.Array], path: str, size: int) -> pa.Array:
    return _joined(flatten(values_at(arrays, path, size))[1])


def _joined(parts: pa.Array) -> pa.Array:
    """Join lists of texts; null where one is null, or where there is none."""
    parts = cast_or_null(parts, pa.list_(pa.string()))
    texts = pc.binary_join(parts, "")
    return pc.if_else(pc.equal(pc.list_value_length(parts), 0), None, texts)


def _structs(fields: Mapping[str, pa.Array]) -> pa.Array:
    return pa.StructArray.from_arrays(list(fields.values()), names=list(fields))
