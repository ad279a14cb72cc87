"""The answer in a completion that begins with a thought.

A thought is what stands between the marks of any family of models (models/chat/marks.py) or in one of the
tags <think>, <thinking>, <thought> and <reasoning>, at the beginning of the text. Where the template had
opened the thought, the text has its end alone: what precedes that is the thought. Marks later in a text are
text, because an answer may be about them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from typing import Literal

from pairkit.models.chat.marks import THINK, THOUGHTS

# strip: a ranker sees the answer alone; show: the thought and the answer.
Thoughts = Literal["strip", "show"]

_TAGS = "think|thinking|thought|reasoning"
_FLAGS = re.ASCII | re.IGNORECASE
_SPECIAL = [family for family in THOUGHTS if family is not THINK]
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
    begins = _without_turn(text)
    if _thought_end(begins) is None:
        half = _HALF.search(text)
        if half is None or _OPENINGS.search(text, 0, half.start()):
            return text
        begins = text[half.end() :].lstrip()
    # More than one, because a template writes an empty thought in front of a text that has its own.
    while (end := _thought_end(begins)) is not None:
        if end < 0:
            return None
        begins = _without_turn(begins[end:])
    return _within_marks(begins)


def _thought_end(text: str) -> int | None:
    """Return where the thought ends that a text begins with; -1 if it does not end, None without one."""
    for open_, close in _families(text):
        if begins := open_.match(text):
            end = close.search(text, begins.end())
            return end.end() if end else -1
    return None


def _families(text: str) -> Iterator[tuple[re.Pattern[str], re.Pattern[str]]]:
    tag = _OPEN_TAG.match(text)
    named = [(_OPEN_TAG, re.compile(f"</{tag[1]}>", _FLAGS))] if tag else []
    special = ((re.compile(re.escape(each.open.strip())), re.compile(each.close)) for each in _SPECIAL)
    bare = [(_BARE_ANALYSIS, _BARE_FINAL)] if "assistantfinal" in text else []
    yield from chain(named, special, bare)


def _without_turn(text: str) -> str:
    """Drop white space, and the header of gpt-oss's turn, before a thought."""
    return text.lstrip().removeprefix("<|start|>assistant").lstrip()


def _within_marks(answer: str) -> str:
    """Drop the marks that a model writes around its answer."""
    while begins := _AROUND.match(answer):
        answer = answer[begins.end() :].lstrip()
    for ends in reversed(list(_AROUND.finditer(answer))):
        if answer[ends.end() :].strip():
            break
        answer = answer[: ends.start()]
    return answer
