"""The one list of the marks that models write around thoughts, in answers and in verdicts.

A mark is one of the tags of `TAGS`, one of those of any family of models (models/chat/marks.py), or one of
those of models whose templates know nothing of thoughts.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Literal, NamedTuple

from pairkit.models.chat.marks import THINK, THOUGHTS

TAGS = "think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad|antthinking|seed:think"
# What begins a thought, and a regular expression of what ends one.
_OTHERS = (
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|begin_of_thought|>", r"<\|end_of_thought\|>"),  # OpenThoughts, Sky-T1
    ("<|inner_prefix|>", r"<\|inner_suffix\|>"),  # Apertus
    ("<unused94>thought", "<unused95>"),  # MedGemma
)
_FAMILIES = (
    *(
        (family.open.strip(), family.close)
        for family in THOUGHTS
        if family is not THINK and not family.sign.startswith("<seed")
    ),
    *_OTHERS,
)
_FLAGS = re.ASCII | re.IGNORECASE
_TAG = rf"<\s{{0,8}}(?P<end>/?)\s{{0,8}}(?P<tag>{TAGS})\s{{0,8}}>"
_MARKS = [
    rf"(?P<open{number}>{re.escape(opening)})|(?P<close{number}>{closing})"
    for number, (opening, closing) in enumerate(_FAMILIES)
]
# gpt-oss, whose control tokens were dropped when its answer was decoded. Without its end it is a text that
# begins with that word.
_BARE = (
    r"\A\s{0,8}(?P<openbare>(?-i:analysis))(?=[^\s:,.])(?=[\s\S]*(?-i:assistantfinal))"
    r"|(?P<closebare>(?-i:assistantfinal))"
)
_MARK = re.compile("|".join([_TAG, *_MARKS, _BARE]), _FLAGS)
# How each of them begins, unless it is at the beginning of the text. To look for these first takes a tenth of
# the time, because Python tries a pattern that ignores case at every character.
_BEGINNING = re.compile("<|\\[|◁|assistantfinal|to=|tO=|To=|TO=")
# These end a turn as well, so alone they end no thought.
_AMBIGUOUS = re.compile(r"<\|(?:end|eom)\|>|assistantfinal", _FLAGS)
# What models write around an answer that follows a thought.
FRAME = (
    r"<\|start\|>assistant|<\|channel\|>(?:commentary|final)[^<]*<\|message\|>| ?to=[^<\s]+<\|message\|>|"
    r"<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_solution\|>"
)
# A regular expression (RE2) that every text with a mark or a frame matches; most texts do not.
HINT = "(?i)" + "|".join(
    [
        rf"<\s*/?\s*(?:{TAGS})\s*>",
        r"</?seed:think>|\[/?THINK\]|<\|?channel\|?>|_THINKING\|>|_RESPONSE\|>|to=[^<\s]+<\|message\|>",
        r"◁/?think▷|_of_(?:thought|solution)\|>|<\|inner_|<unused9|assistantfinal",
    ]
)
_QUOTES = "`'\"“”‘’"
_WORD_BEFORE = re.compile(r"[^\W_],?[ \t]{1,2}\Z")
_LETTER_BEFORE = re.compile(r"[^\W\d_],?[ \t]{1,2}\Z")
_WORD_AFTER = re.compile(r"[ \t]{1,2}[a-z]")
_TEXT_END = re.compile(r"\s*\Z")


class Mark(NamedTuple):
    """A mark in a text.

    Attributes:
        family: marks of one family begin and end a thought together.
        alone: whether it ends a thought also where none began, because the template had opened it.
        role: a text may be about marks; such a one is quoted, or a word of a sentence.
    """

    start: int
    end: int
    family: str
    closes: bool
    alone: bool
    role: Literal["mark", "word", "quoted"]


def find_marks(text: str) -> Iterator[re.Match[str]]:
    """Yield the matches of marks in a text, in their order; none of them overlap."""
    end = 0
    for place in chain([0], (beginning.start() for beginning in _BEGINNING.finditer(text))):
        match = _MARK.match(text, place) if place >= end else None
        if match is not None:
            yield match
            end = match.end()


def marks(text: str) -> Iterator[Mark]:
    """Find the marks of thoughts in a text, in their order."""
    for match in find_marks(text):
        if match["tag"]:
            name, start, closes = match["tag"].lower(), match.start(), bool(match["end"])
        else:
            group = match.lastgroup or ""
            name, start, closes = group.removeprefix("open"), match.start(group), group.startswith("close")
        yield Mark(
            start,
            match.end(),
            name.removeprefix("close"),
            closes,
            closes and not _AMBIGUOUS.match(match[0]),
            _role(text, start, match.end(), closes),
        )


def endings(all_marks: Sequence[Mark]) -> list[int | None]:
    """Return for each mark that begins a thought which one ends it; None where none does.

    Thoughts may contain thoughts. Where their marks are not balanced, the next end of the family counts.
    """
    ending: list[int | None] = [None] * len(all_marks)
    open_marks: defaultdict[str, list[int]] = defaultdict(list)
    for index, mark in enumerate(all_marks):
        if mark.role != "mark":
            continue
        if not mark.closes:
            open_marks[mark.family].append(index)
        elif open_marks[mark.family]:
            ending[open_marks[mark.family].pop()] = index
    following: dict[str, int] = {}
    words: dict[str, int] = {}
    for index in reversed(range(len(all_marks))):
        mark = all_marks[index]
        if not mark.closes:
            if ending[index] is None:
                ending[index] = following.get(mark.family, words.get(mark.family))
        elif mark.role != "quoted":
            (following if mark.role == "mark" else words)[mark.family] = index
    return ending


def _role(text: str, start: int, end: int, closes: bool) -> Literal["mark", "word", "quoted"]:
    before, after = text[max(0, start - 1) : start], text[end : end + 1]
    if before and after and ((before in _QUOTES and after in _QUOTES) or before + after == "()"):
        return "quoted"
    preceding = text[max(0, start - 4) : start]
    if _WORD_BEFORE.search(preceding) and (_WORD_AFTER.match(text, end) or after in tuple(".,;:)")):
        return "word"
    # Of a number, because a thought may end in a result.
    if _LETTER_BEFORE.search(preceding) and _TEXT_END.match(text, end):
        return "word"
    if closes and after and (after in f"{_QUOTES}.,;:)" or (before and before in _QUOTES and after in " \t")):
        return "word"
    return "mark"
