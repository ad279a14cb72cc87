"""The answer in a completion that begins with a thought.

A thought is what is between two marks (spellings.py) at the beginning of the text. Where the template had
opened the thought, the text has its end alone: what precedes that is the thought. Marks later in a text are
text, because an answer may be about them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pairkit.rankers.spellings import FRAME, Mark, endings, marks

# strip: a ranker sees the answer alone; show: the thought and the answer.
Thoughts = Literal["strip", "show"]

# White space, of which a byte order mark is none for Python, and the header of gpt-oss's turn.
_TURN = re.compile(r"[\s\ufeff]*(?:<\|start\|>assistant\s*)?")
_FRAME = re.compile(FRAME)
_AROUND = re.compile(rf"{FRAME}|<\|(?:return|end|eom)\|>")


def answer_of(text: str) -> str | None:
    """Return the answer in a completion; None if its thought never ends, so that there is none.

    >>> answer_of("<think>2 + 2 is 4.</think>\\n\\n4"), answer_of("2 + 2 is 4.\\n</think>\\n\\n4")
    ('4', '4')
    >>> answer_of("<think>2 + 2 is") is None
    True
    """
    all_marks = list(marks(text))
    ending = endings(all_marks)
    # Of the marks, how many are read; of the text, how much is a thought.
    read = _half(all_marks)
    end = all_marks[read - 1].end if read else 0
    # More than one, because a template writes an empty thought in front of a text that has its own, and
    # models end a thought twice.
    while read < len(all_marks) and all_marks[read].start == _first(text, end):
        last: int | None = read
        if not all_marks[read].closes:
            last = ending[read]
        elif not end or not all_marks[read].alone:
            break
        if last is None:
            return None
        read, end = last + 1, all_marks[last].end
    start = _first(text, end)
    return _within_frame(text, start) if end or _FRAME.match(text, start) else text


def _half(all_marks: Sequence[Mark]) -> int:
    """Return how many marks there are up to the end of a thought that began in the prompt; 0 for none."""
    for index, mark in enumerate(all_marks):
        if not mark.closes:
            return 0
        if mark.alone and mark.role == "mark":
            return index + 1
    return 0


def _first(text: str, start: int) -> int:
    """Return where a text begins after white space and the header of gpt-oss's turn."""
    begins = _TURN.match(text, start)
    return begins.end() if begins else start


def _within_frame(text: str, start: int) -> str:
    """Return what follows `start` without the marks that a model writes around its answer."""
    while begins := _AROUND.match(text, start):
        start = _first(text, begins.end())
    stop = len(text)
    for ends in reversed(list(_AROUND.finditer(text, start))):
        if text[ends.end() : stop].strip():
            break
        stop = ends.start()
    return text[start:stop]
