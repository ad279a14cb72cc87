"""How deep a JSON text is nested, before anything that recurses parses it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# Of lists and objects inside each other. Python and Arrow work on types by recursion, which ends.
MAX_LEVELS = 128
PIECE = 1 << 20  # bytes that are looked at together, so that memory stays a small part of the text's

Places = np.ndarray[Any, Any]


def is_deep_value(text: bytes, levels: int = MAX_LEVELS) -> bool:
    """Return whether a text is nested more than `levels` levels deep.

    Only one with more brackets than that is looked at.
    """
    if text.count(b"[") + text.count(b"{") <= levels:
        return False
    return any(bool((depths > levels).any()) for _, depths in _levels(text))


def is_deep_text(text: str) -> bool:
    """Return whether a text is nested more than `MAX_LEVELS` levels deep, as `is_deep_value` does."""
    few = text.count("[") + text.count("{") <= MAX_LEVELS
    return not few and is_deep_value(text.encode("utf-8", "surrogatepass"))


def end_of(text: bytes) -> int | None:
    """Return where the list or object ends that a text begins with, or None if it continues."""
    for places, levels in _levels(text):
        ends = places[levels <= 0]
        if len(ends):
            return int(ends[0]) + 1
    return None


def cut(text: bytes, levels: int, mark: str) -> tuple[bytes, list[bytes]]:
    """Replace what is below `levels` levels by texts, and return what each stood for.

    The text of number 3 is `mark` followed by 3.
    """
    pieces: list[bytes] = []
    parts: list[bytes] = []
    begin = end = before = 0
    for level, place in _crossings(text, levels):
        if level > levels and before == levels:
            begin = place
        elif level == levels and before > levels:
            pieces += [text[end:begin], f'"{mark}{len(parts)}"'.encode()]
            end = place + 1
            parts.append(text[begin:end])
        before = level
    return b"".join([*pieces, text[end:]]), parts


def _crossings(text: bytes, levels: int) -> Iterator[tuple[int, int]]:
    """Yield the level after each bracket that is at `levels` or one below, and the bracket's place."""
    for places, depths in _levels(text):
        near = (depths == levels) | (depths == levels + 1)
        yield from zip(depths[near].tolist(), places[near].tolist(), strict=True)


def _levels(text: bytes) -> Iterator[tuple[Places, Places]]:
    """Yield the places of brackets outside of texts, and the level after each."""
    if b"\\" in text:
        # Of the same length, so that brackets keep their places.
        text = text.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    quotes = level = 0
    for first in range(0, len(text), PIECE):
        piece = np.frombuffer(text, np.uint8, min(PIECE, len(text) - first), first)
        before = np.cumsum(piece == ord('"'), dtype=np.int32) + quotes
        # [ and { differ in one bit, which ] and } differ in too.
        form = piece | (ord("{") ^ ord("["))
        opens, closes = form == ord("{"), form == ord("}")
        places = np.flatnonzero((opens | closes) & (before % 2 == 0))
        depths = level + np.cumsum(np.where(opens[places], 1, -1))
        yield places + first, depths
        quotes = int(before[-1]) % 2
        level = int(depths[-1]) if len(depths) else level
