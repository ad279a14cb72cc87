"""The style of an answer: its length in tokens, and how many headers, list items and bold spans it has.

Source: lmarena/arena-hard-auto, utils/add_markdown_info.py, whose regular expressions these are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

_CODE = re.compile(r"```[^`]*```")
_HEADERS = [re.compile(rf"^#{{{level}}}\s", re.MULTILINE) for level in range(1, 7)]
_LISTS = [re.compile(pattern, re.MULTILINE) for pattern in (r"^\s*\d+\.\s", r"^\s*[-*+]\s")]
_BOLD = [re.compile(pattern) for pattern in (r"\*\*[^*\n]+\*\*", r"__[^_\n]+__")]

# The columns of all arrays of features, and those that each control uses.
FEATURES = ("length", "header", "list", "bold")
CONTROLS = {"style": (0, 1, 2, 3), "length": (0,), "markdown": (1, 2, 3)}


class Markdown(NamedTuple):
    """Counts outside of code fences, in the layout of the public files."""

    headers: tuple[int, ...]  # [6], of levels 1 to 6
    lists: tuple[int, int]  # ordered, unordered
    bold: tuple[int, int]  # with asterisks, with underscores

    @property
    def totals(self) -> tuple[int, int, int]:
        """Headers, list items, bold spans."""
        return sum(self.headers), sum(self.lists), sum(self.bold)

    def public(self) -> dict[str, dict[str, int]]:
        """Return the counts as `metadata` of the public files has them."""
        return {
            "header_count": {f"h{level}": count for level, count in enumerate(self.headers, start=1)},
            "list_count": dict(zip(("ordered", "unordered"), self.lists, strict=True)),
            "bold_count": dict(zip(("**", "__"), self.bold, strict=True)),
        }


def markdown(text: str) -> Markdown:
    """Count the markdown of an answer.

    >>> markdown("# Title\\n1. one\\n- **two**\\n```\\n# comment\\n```").totals
    (1, 2, 1)
    """
    text = _CODE.sub("", text)
    counts = [[len(pattern.findall(text)) for pattern in group] for group in (_HEADERS, _LISTS, _BOLD)]
    ordered, unordered = counts[1]
    stars, underscores = counts[2]
    return Markdown(tuple(counts[0]), (ordered, unordered), (stars, underscores))


class Style(NamedTuple):
    """The features of an answer; without a `length`, only markdown can be controlled."""

    length: int | None  # in tokens
    header: int
    list: int
    bold: int


def style_of(text: str, length: int | None) -> Style:
    """Return the features of an answer of `length` tokens."""
    return Style(length, *markdown(text).totals)


# The number of tokens in a text.
CountTokens = Callable[[str], int]
