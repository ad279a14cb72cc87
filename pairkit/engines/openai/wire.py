"""Values and texts as servers write them, refused where they cannot be kept as they are."""

from __future__ import annotations

import json
from typing import Any

from pairkit.json_depth import MAX_LEVELS, is_deep_text


class Unreadable(Exception):
    """Why an answer cannot be kept whole; it is a failed try."""


def loads(text: str) -> Any:
    """Parse the JSON of an answer. Raises `Unreadable` for what is nested too deeply, and `ValueError`."""
    check_depth(text)
    return json.loads(text)


def decoded(content: bytes) -> str:
    """Return the text of an answer. Raises `ValueError` for one that is not UTF-8.

    Halves of surrogate pairs stay: the other half may be in the next piece of a stream.
    """
    return content.decode(json.detect_encoding(content), "surrogatepass")


def check_depth(text: str) -> None:
    """Raise `Unreadable` for a text that no later reader of JSON could parse."""
    if is_deep_text(text):
        raise Unreadable(f"the answer is nested more than {MAX_LEVELS} levels deep")


def joined_halves(text: str, *, cut: bool = False) -> str:
    """Join the halves of surrogate pairs. Raises `Unreadable` for half a character, which has no UTF-8.

    With `cut`, a first half at the end is left out, because a limit has cut the text there.

    >>> joined_halves("a\\ud83d\\ude00b") == "a\\U0001f600b"
    True
    """
    if cut and "\ud800" <= text[-1:] <= "\udbff":
        text = text[:-1]
    try:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
    except UnicodeDecodeError as error:
        raise Unreadable("the answer has half a character (a lone surrogate)") from error


def json_of(value: Any) -> str:
    """Return the JSON of a value. Raises `Unreadable` for numbers that JSON has not (NaN)."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise Unreadable("the answer has a number that is not JSON (NaN or infinite)") from error
