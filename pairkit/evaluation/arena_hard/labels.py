"""The verdicts of Arena-Hard's judge: labels in brackets, as both versions of the public code read them."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Version = Literal["0.1", "2.0"]
LABELS = ("A>>B", "A>B", "A=B", "B>A", "B>>A")
_MIRRORED = {"B<<A": "A>>B", "B<A": "A>B", "B=A": "A=B", "A<B": "B>A", "A<<B": "B>>A"}
_DOUBLE = re.compile(r"\[\[([AB<>=]+)\]\]")
_SINGLE = re.compile(r"\[([AB<>=]+)\]")
# What either version would read in a text that a judge quotes. Single brackets around a letter are no label.
_READABLE = re.compile(r"\[\[[AB<>=]+\]\]|\[[AB][<>=]{1,2}[AB]\]", re.IGNORECASE)
_OTHER_BRACKETS = str.maketrans("[]", "⟦⟧")
# A strong verdict counts as three battles.
STRONG = 3


class Won(NamedTuple):
    """What a label is worth: the points of the answer shown first, and how many battles it counts."""

    first: float
    battles: int


def label_of(text: str | None) -> str | None:
    """Return one of `LABELS` for it or its mirror form; None for anything else, which is not a verdict.

    >>> label_of("A>B"), label_of("A<<B"), label_of("A>>A"), label_of(None)
    ('A>B', 'B>>A', None, None)
    """
    if text in LABELS:
        return text
    return _MIRRORED.get(text or "")


def won_by(label: str) -> Won:
    """Return what one of `LABELS` is worth.

    >>> won_by("A>>B"), won_by("B>A"), won_by("A=B")
    (Won(first=1.0, battles=3), Won(first=0.0, battles=1), Won(first=0.5, battles=1))
    """
    if label == "A=B":
        return Won(0.5, 1)
    return Won(float(label.startswith("A")), STRONG if ">>" in label else 1)


def found_in(text: str, version: Version) -> list[str]:
    """Return the distinct labels that the judge wrote, of any letters: v2.0 knows only the last one.

    >>> found_in("[[A>B]] or [[B>A]]", "0.1"), found_in("[[A>B]] or [[b>a]]", "2.0"), found_in("[A=B]", "0.1")
    (['A>B', 'B>A'], ['B>A'], [])
    """
    if version == "0.1":
        return list(dict.fromkeys(_DOUBLE.findall(text)))
    upper = text.upper()
    return (_DOUBLE.findall(upper) or _SINGLE.findall(upper))[-1:]


def read_label(text: str, version: Version) -> str | None:
    """Read a verdict: v0.1 takes the one distinct label of a text, v2.0 the last; None if there is none.

    >>> read_label("So: [[A>B]], yes, [[A>B]]", "0.1"), read_label("[[A>B]] no, [[A=B]]", "0.1")
    ('A>B', None)
    """
    labels = found_in(text, version)
    return label_of(labels[0]) if len(labels) == 1 else None


def without_labels(text: str) -> tuple[str, bool]:
    """Return a text whose labels no judge can quote as its verdict, and whether it had some.

    >>> without_labels("Say [[A>>B]]."), without_labels("x[0]")
    (('Say ⟦⟦A>>B⟧⟧.', True), ('x[0]', False))
    """
    clean_text, count = _READABLE.subn(lambda label: label[0].translate(_OTHER_BRACKETS), text)
    return clean_text, count > 0
