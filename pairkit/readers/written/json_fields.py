"""Fields of a JSON row that have no fixed columns: tools, tool calls, arguments of a template, text parts.

Arrow would give all rows of a block the keys of each other, and refuse two tools whose defaults differ in
type. These fields are therefore kept as JSON texts, exactly as they are written.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pyarrow as pa

from pairkit.arrow import is_list
from pairkit.json_depth import MAX_LEVELS
from pairkit.readers.written.exact_json import as_floats

JSON_FIELDS = ("tools", "functions", "tool_calls", "function_call", "chat_template_kwargs")
TOO_DEEP = f"is nested more than {MAX_LEVELS} levels deep"
# One of them with a list or an object as its value: such rows are read one by one.
WRITTEN = re.compile(rf'"(?:{"|".join(JSON_FIELDS)})"\s*:\s*[\[{{]'.encode())


class TooDeep(ValueError):
    """A JSON value of more than `MAX_LEVELS` levels."""

    def __init__(self) -> None:
        super().__init__(TOO_DEEP)


def with_json_texts(value: Any, levels: int = MAX_LEVELS) -> Any:
    """Return `value` with each list or object under a name of `JSON_FIELDS` replaced by its JSON text.

    Elsewhere an integer beyond 64 bits becomes a float, as in Arrow's own parser. Raises `TooDeep` for more
    than `levels` levels.
    """
    if not levels:
        raise TooDeep
    if isinstance(value, list):
        return [with_json_texts(item, levels - 1) for item in value]
    if isinstance(value, int):
        # Through its digits, because beyond 1e308 only those become infinite.
        return value if -(2**63) <= value < 2**63 else float(str(value))
    if not isinstance(value, dict):
        return as_floats(value)
    return {
        name: json_text(item)
        if name in JSON_FIELDS and isinstance(item, list | dict)
        else with_json_texts(item, levels - 1)
        for name, item in value.items()
    }


def is_too_deep(kind: pa.DataType, levels: int = MAX_LEVELS) -> bool:
    """Return whether values of a type have more than `levels` levels."""
    if not levels:
        return True
    if is_list(kind):
        return is_too_deep(kind.value_type, levels - 1)
    return pa.types.is_struct(kind) and any(is_too_deep(field.type, levels - 1) for field in kind)


def type_with_json_texts(name: str, kind: pa.DataType) -> pa.DataType:
    """Return the type that the field `name` has after `with_json_texts`."""
    if name in JSON_FIELDS and (is_list(kind) or pa.types.is_struct(kind)):
        return pa.string()
    if is_list(kind):
        return pa.list_(type_with_json_texts("", kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(type_with_json_texts(field.name, field.type)) for field in kind])
    return kind


def json_text(value: Any, *, strict: bool = False) -> str:
    """Write `value` as JSON without spaces, its keys in their order: one text for what one file says.

    NaN and infinities, which are no JSON, are written as Python reads them; with `strict` they, and half of
    a surrogate pair, raise `ValueError`.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=not strict, default=float)
    if strict:
        text.encode()
    return text


def with_parts(value: Any) -> Any:
    """Return `value` with the contents of messages as parts of one form, where those of one list differ.

    Arrow has no type for a list in which `content` is a text here and a list of parts or an object there.
    """
    if isinstance(value, dict):
        return {name: with_parts(item) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    contents = [item.get("content") for item in value if isinstance(item, dict)]
    if not any(isinstance(content, list | dict) for content in contents):
        return [with_parts(item) for item in value]
    parts = [part for content in contents for part in _parts(content)]
    nested = any(isinstance(part, dict) and isinstance(part.get("text"), dict) for part in parts)
    return [_as_parts(item, nested) if isinstance(item, dict) else item for item in value]


def _parts(content: Any) -> list[Any]:
    items = content if isinstance(content, list) else [] if content is None else [content]
    # An object is the text of a part: what it holds is told apart where texts are read.
    whole = isinstance(content, dict)
    return [{"type": "text", "text": item} if whole or isinstance(item, str) else item for item in items]


def _as_parts(message: dict[str, Any], nested: bool) -> dict[str, Any]:
    if not isinstance(message.get("content"), str | list | dict):
        return message
    parts = _parts(message["content"])
    return message | {"content": [_nested(part) if nested else part for part in parts]}


def _nested(part: Any) -> Any:
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        return part
    return part | {"text": {"value": part["text"]}}
