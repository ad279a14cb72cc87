"""The verdict of a judge's answer, or None where there is none that is beyond doubt.

A verdict counts in one strict form, as the last thing of the answer, and only where the answer holds no
other: a judge that quotes what it was shown, changes its mind, was cut off, declines or writes look-alikes
of other alphabets has given none. The texts that it is shown hold nothing of this form (texts.py), so a
quotation does not make an answer unreadable either.

A verdict is a tuple of one number for each completion shown, in the order shown; higher is better:

    pairwise   A (1, 0), B (0, 1), tie (1/2, 1/2)
    pointwise  the rating (1 ... 5,)
    listwise   the share of the other completions that it was placed above
"""

from __future__ import annotations

import re

from pairkit.rankers.judge.prompt import Header

Verdict = tuple[float, ...]
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_FLAGS = re.ASCII | re.IGNORECASE | re.DOTALL
_TAG = {"pairwise": "verdict", "pointwise": "rating", "listwise": "ranking"}
# What may stand behind a verdict: closing marks of Markdown and of a sentence.
_END = r"[\s*_`.\"']*"
_PAIRWISE = {"a": (1.0, 0.0), "b": (0.0, 1.0), "tie": (0.5, 0.5), "c": (0.5, 0.5)}


def read(answer: str, header: Header, shown: int) -> Verdict | None:
    """The verdict in an answer about `shown` completions to a prompt with that header.

    >>> header = Header(version=1, kind="pairwise")
    >>> read("Both are right, B says why. <verdict>B</verdict>", header, 2)
    (0.0, 1.0)
    >>> read("It said <verdict>A</verdict>, but <verdict>B</verdict>", header, 2) is None
    True
    """
    text = _spoken(answer)
    if header.verdict == "brackets":
        said = _bracketed(text)
    else:
        said = _tagged(text, _TAG[header.kind])
    if said is None:
        return None
    if header.kind == "pairwise":
        allowed = ("a", "b", "c") if header.verdict == "brackets" else ("a", "b", "tie")
        return _PAIRWISE[said] if said in allowed else None
    if header.kind == "pointwise":
        return (float(said),) if re.fullmatch("[1-5]", said) else None
    return _ranking(said, shown)


def spell(verdict: Verdict, header: Header, positions: tuple[int, ...]) -> str:
    """The verdict as it is stored, in terms of positions: "2", "tie", "2>0>1", or the rating."""
    if header.kind == "pointwise":
        return f"{verdict[0]:.0f}"
    best_first = sorted(zip(verdict, positions, strict=True), key=lambda one: -one[0])
    if header.kind == "listwise":
        return ">".join(str(position) for _, position in best_first)
    return "tie" if verdict[0] == verdict[1] else str(best_first[0][1])


def _spoken(answer: str) -> str:
    """The answer without what a model thought before it; nothing where the thought has no end."""
    _, end, spoken = answer.partition("</think>")
    if not end:
        return "" if answer.lstrip().startswith("<think>") else answer
    return answer if "</think>" in spoken else spoken


def _tagged(text: str, tag: str) -> str | None:
    """What stands in the tag, in small letters: every time the same, the last one at the end."""
    found = re.findall(rf"<{tag}>([^<]*)</{tag}>", text, _FLAGS)
    closed = re.search(rf"</{tag}>{_END}\Z", text, _FLAGS)
    ends = re.findall(rf"<\s{{0,8}}/?\s{{0,8}}{tag}\b", text, _FLAGS)
    if closed is None or len(ends) != 2 * len(found):
        return None
    return _one(found)


def _bracketed(text: str) -> str | None:
    """The letter in double brackets: every time the same, the last one at the end."""
    if re.search(rf"\[\[[ABC]\]\]{_END}\Z", text, re.ASCII) is None:
        return None
    return _one(re.findall(r"\[\[\s{0,8}([ABC])\s{0,8}\]\]", text, _FLAGS))


def _one(said: list[str]) -> str | None:
    words = {one.strip(" \t\r\n").lower() for one in said if one.isascii()}
    return words.pop() if len(words) == 1 and all(map(str.isascii, said)) else None


def _ranking(said: str, shown: int) -> Verdict | None:
    labels = re.split(r"\s*>\s*", said.upper())
    if sorted(labels) != list(LABELS[:shown]):
        return None
    return tuple((shown - 1 - labels.index(label)) / (shown - 1) for label in LABELS[:shown])
