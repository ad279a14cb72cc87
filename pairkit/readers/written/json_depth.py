"""How deep a JSON text is nested, before anything that recurses parses it."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")


def is_deep(block: bytes, levels: int) -> bool:
    """Return whether a line of a block is nested more than `levels` levels deep.

    Only lines with more brackets than that are looked at.
    """
    return any(
        line.count(b"[") + line.count(b"{") > levels and any(level > levels for level, _, _ in _levels(line))
        for line in block.split(b"\n")
    )


def _levels(text: bytes) -> Iterator[tuple[int, int, int]]:
    level = 0
    for match in _BRACKETS.finditer(_STRINGS.sub(_blank, text)):
        level += 1 if match[0] in b"[{" else -1
        yield level, match.start(), match.end()


def _blank(match: re.Match[bytes]) -> bytes:
    # Of the same length, so that brackets keep their places.
    return b'"' * (match.end() - match.start())


def cut(text: bytes, levels: int, mark: str) -> tuple[bytes, list[bytes]]:
    """Replace what is below `levels` levels by texts, and return what each stood for.

    The text of number 3 is `mark` followed by 3.
    """
    pieces: list[bytes] = []
    parts: list[bytes] = []
    begin = end = before = 0
    for level, start, after in _levels(text):
        if level == levels + 1 and before == levels:
            begin = start
        elif level == levels and before == levels + 1:
            pieces += [text[end:begin], f'"{mark}{len(parts)}"'.encode()]
            parts.append(text[begin:after])
            end = after
        before = level
    return b"".join([*pieces, text[end:]]), parts
