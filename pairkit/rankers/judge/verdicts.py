"""The verdict in a judge's answer, or None unless it is beyond doubt.

A verdict counts only in one strict form, at the end of the answer, and only if the answer contains no other
one: a judge that quotes what it was shown, changes its mind, was cut off, declines, or writes look-alike
letters of another alphabet has given none. The texts that a judge is shown never contain this form
(texts.py), so a quotation does not make an answer unreadable either.

A verdict is a tuple with one number per completion shown, in the order shown; higher is better:

    pairwise   A (1, 0), B (0, 1), tie (1/2, 1/2)
    pointwise  the rating (1 ... 5,)
    listwise   the share of the other completions that a completion was placed above
"""

from __future__ import annotations

import re

from pairkit.rankers.judge.prompt import Header

Verdict = tuple[float, ...]
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_FLAGS = re.ASCII | re.IGNORECASE | re.DOTALL
_TAG = {"pairwise": "verdict", "pointwise": "rating", "listwise": "ranking"}
# Characters that may follow a verdict, because judges close Markdown and sentences after it.
_END = r"[\s*_`.\"']*"
_PAIRWISE = {"a": (1.0, 0.0), "b": (0.0, 1.0), "tie": (0.5, 0.5), "c": (0.5, 0.5)}


def read_verdict(answer: str, header: Header, shown: int) -> Verdict | None:
    """Read the verdict in an answer about `shown` completions, to a prompt with that header.

    >>> header = Header(version=1, kind="pairwise")
    >>> read_verdict("Both are right, B says why. <verdict>B</verdict>", header, 2)
    (0.0, 1.0)
    >>> read_verdict("It said <verdict>A</verdict>, but <verdict>B</verdict>", header, 2) is None
    True
    """
    text = _spoken(answer)
    if header.verdict == "brackets":
        content = _bracketed(text)
    else:
        content = _tagged(text, _TAG[header.kind])
    if content is None:
        return None
    if header.kind == "pairwise":
        allowed = ("a", "b", "c") if header.verdict == "brackets" else ("a", "b", "tie")
        return _PAIRWISE[content] if content in allowed else None
    if header.kind == "pointwise":
        return (float(content),) if re.fullmatch("[1-5]", content) else None
    return _ranking(content, shown)


def spell_verdict(verdict: Verdict, header: Header, positions: tuple[int, ...]) -> str:
    """Write the verdict as it is stored, in terms of positions: "2", "tie", "2>0>1", or the rating."""
    if header.kind == "pointwise":
        return f"{verdict[0]:.0f}"
    best_first = sorted(zip(verdict, positions, strict=True), key=lambda pair: -pair[0])
    if header.kind == "listwise":
        return ">".join(str(position) for _, position in best_first)
    return "tie" if verdict[0] == verdict[1] else str(best_first[0][1])


def _spoken(answer: str) -> str:
    """Drop the reasoning before an answer; an answer that is unfinished reasoning is empty."""
    _, end, spoken = answer.partition("</think>")
    if not end:
        return "" if answer.lstrip().startswith("<think>") else answer
    # After a second end it is unclear where the reasoning stops, so all of it is read, and verdicts conflict.
    return answer if "</think>" in spoken else spoken


def _tagged(text: str, tag: str) -> str | None:
    """Return the content of the tag in lower case if it is always the same and the last tag ends the text."""
    contents = re.findall(rf"<{tag}>([^<]*)</{tag}>", text, _FLAGS)
    closed = re.search(rf"</{tag}>{_END}\Z", text, _FLAGS)
    ends = re.findall(rf"<\s{{0,8}}/?\s{{0,8}}{tag}\b", text, _FLAGS)
    # A tag outside a complete pair makes the answer ambiguous, wherever it is.
    if closed is None or len(ends) != 2 * len(contents):
        return None
    return _only(contents)


def _bracketed(text: str) -> str | None:
    """Return the letter in double brackets, if it is always the same and the last one ends the text."""
    if re.search(rf"\[\[[ABC]\]\]{_END}\Z", text, re.ASCII) is None:
        return None
    return _only(re.findall(r"\[\[\s{0,8}([ABC])\s{0,8}\]\]", text, _FLAGS))


def _only(contents: list[str]) -> str | None:
    # Only ASCII, because other letters can look like a label or become one in lower case (the Kelvin sign).
    words = {content.strip(" \t\r\n").lower() for content in contents if content.isascii()}
    return words.pop() if len(words) == 1 and all(map(str.isascii, contents)) else None


def _ranking(content: str, shown: int) -> Verdict | None:
    labels = re.split(r"\s*>\s*", content.upper())
    # A label that is missing or twice leaves the order open.
    if sorted(labels) != list(LABELS[:shown]):
        return None
    return tuple((shown - 1 - labels.index(label)) / (shown - 1) for label in LABELS[:shown])
