"""The answer in a completion that begins with a thought.

A thought is what is between the marks of any family of models (models/chat/marks.py) or in one of the
tags <think>, <thinking>, <thought> and <reasoning>, at the beginning of the text. Where the template had
opened the thought, the text has its end alone: what precedes that is the thought. Marks later in a text are
text, because an answer may be about them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from pairkit.models.chat.marks import THINK, THOUGHTS

# strip: a ranker sees the answer alone; show: the thought and the answer.
Thoughts = Literal["strip", "show"]

_TAGS = "think|thinking|thought|reasoning"
_FLAGS = re.ASCII | re.IGNORECASE
_SPECIAL = [family for family in THOUGHTS if family is not THINK]
_SPECIAL_MARKS = [(re.compile(re.escape(each.open.strip())), re.compile(each.close)) for each in _SPECIAL]
_TURN = re.compile(r"\s*(?:<\|start\|>assistant\s*)?")
_OPEN_TAG = re.compile(rf"<({_TAGS})>", _FLAGS)
# gpt-oss, whose control tokens were dropped when its answer was decoded.
_BARE_ANALYSIS = re.compile(r"analysis(?=[^\s:,.])")
_BARE_FINAL = re.compile("assistantfinal")
# Ends that no other text has; `<|end|>` and its like are ends of turns too. A mark in quotation marks, or as
# a word of a sentence, is what an answer is about.
_HALF = re.compile(
    rf"(?<![`'\"“‘])(?:</(?:{_TAGS}|seed:think)>|\[/THINK\]|<channel\|>|<\|END_THINKING\|>)"
    rf"(?![`'\"”’.,;:)])",
    _FLAGS,
)
_OPENINGS = re.compile(
    "|".join([f"<(?:{_TAGS})>", *(re.escape(family.open.strip()) for family in _SPECIAL)]), _FLAGS
)
# What models write around an answer that follows a thought, and the end of a turn.
_AROUND = re.compile(
    r"<\|start\|>assistant|<\|channel\|>(?:commentary|final)[^<]*<\|message\|>| ?to=[^<\s]+<\|message\|>|"
    r"<\|(?:START|END)_RESPONSE\|>|<\|(?:return|end|eom)\|>"
)
# A regular expression (RE2) that every text with a thought matches; most texts do not.
HINT = (
    rf"(?i)</?(?:{_TAGS}|seed:think)>|\[/?THINK\]|<\|?channel\|?>|_THINKING\|>"
    r"|to=self<\|message\|>|assistantfinal"
)


def answer_of(text: str) -> str | None:
    """Return the answer in a completion; None if its thought never ends, so that there is none.

    >>> answer_of("<think>2 + 2 is 4.</think>\\n\\n4"), answer_of("2 + 2 is 4.\\n</think>\\n\\n4")
    ('4', '4')
    >>> answer_of("<think>2 + 2 is") is None
    True
    """
    start = _first(text, 0)
    end = _thought_end(text, start)
    if end is None:
        half = _HALF.search(text)
        if half is None or _OPENINGS.search(text, 0, half.start()):
            return text
        end = half.end()
    # More than one, because a template writes an empty thought in front of a text that has its own.
    while end is not None:
        if end < 0:
            return None
        start = _first(text, end)
        end = _thought_end(text, start)
    return _within_marks(text, start)


def _thought_end(text: str, start: int) -> int | None:
    """Return where the thought ends that begins at `start`; -1 if it does not end, None without one."""
    for opening, closing in _families(text, start):
        if begins := opening.match(text, start):
            end = closing.search(text, begins.end())
            return end.end() if end else -1
    return None


def _families(text: str, start: int) -> Iterator[tuple[re.Pattern[str], re.Pattern[str]]]:
    if tag := _OPEN_TAG.match(text, start):
        yield _OPEN_TAG, re.compile(f"</{tag[1]}>", _FLAGS)
    yield from _SPECIAL_MARKS
    # Without its end it is a text that begins with that word.
    if _BARE_ANALYSIS.match(text, start) and _BARE_FINAL.search(text, start):
        yield _BARE_ANALYSIS, _BARE_FINAL


def _first(text: str, start: int) -> int:
    """Return where a text begins after white space and the header of gpt-oss's turn."""
    begins = _TURN.match(text, start)
    return begins.end() if begins else start


def _within_marks(text: str, start: int) -> str:
    """Return what follows `start` without the marks that a model writes around its answer."""
    while begins := _AROUND.match(text, start):
        start = _first(text, begins.end())
    stop = len(text)
    for ends in reversed(list(_AROUND.finditer(text, start))):
        if text[ends.end() : stop].strip():
            break
        stop = ends.start()
    return text[start:stop]
