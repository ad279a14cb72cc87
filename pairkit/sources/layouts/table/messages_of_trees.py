"""Whether a value is a tree of messages, as a file of anybody may have it or not."""

from __future__ import annotations

import json
from typing import Any

from pairkit.schema.identity import canonical_json

Node = dict[str, Any]
_LARGEST_RANK = 10**6


def tree_of(value: Any) -> Node | None:
    """Return a tree of messages, each with a list of replies; None if the value is none.

    The reader gives values as JSON where the rows of a file differ in their types.
    """
    root = _parsed(value)
    # A stack and no recursion, because a conversation may be longer than Python's stack.
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if not is_message(node):
            return None
        replies = _parsed(node.get("replies"))
        if not isinstance(replies, list | None):
            return None
        node["replies"] = [_parsed(reply) for reply in replies or () if reply is not None]
        waiting += node["replies"]
    return dict(root)


def is_message(value: Any) -> bool:
    """Return whether a value is a message with a role, a text and a rank of their types, or without them."""
    if not isinstance(value, dict):
        return False
    texts = [value.get(name) for name in ("role", "text", "message_id", "parent_id")]
    return all(text is None or isinstance(text, str) for text in texts) and _is_rank(value.get("rank"))


def as_text(value: Any) -> str | None:
    """Return a text, or the JSON of anything else; null stays null."""
    return value if value is None or isinstance(value, str) else canonical_json(value)


def _is_rank(value: Any) -> bool:
    if isinstance(value, str):
        return value.isdecimal() and len(value) < len(str(_LARGEST_RANK))
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return value is None or (numeric and 0 <= value <= _LARGEST_RANK and value == int(value))


def _parsed(value: Any) -> Any:
    """Return what a text of JSON is; any other text is itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
