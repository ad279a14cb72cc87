"""The verdict in a judge's answer, or None unless it is beyond doubt.

A verdict counts only in one of a few forms (forms.py), at the end of the answer, and only if the answer
contains no other one: a judge that quotes what it was shown, changes its mind, was cut off, declines, or
writes look-alike letters of another alphabet has given none. Drafts are no part of the answer (spoken.py).
The texts that a judge is shown never contain these forms (texts.py), so a quotation does not make an answer
unreadable either.

A verdict is a tuple with one number per completion shown, in the order shown; higher is better:

    pairwise   A (1, 0), B (0, 1), tie (1/2, 1/2); with five steps A>B and B>A are (3/4, 1/4) and (1/4, 3/4)
    pointwise  the rating, on the scale of the prompt
    listwise   the share of the other completions that a completion was placed above
"""

from __future__ import annotations

import re

from pairkit.rankers.judge.forms import FLAGS, NOUN, find
from pairkit.rankers.judge.header import Header
from pairkit.rankers.judge.spoken import spoken, verdict_end

Verdict = tuple[float, ...]
LONGEST = 400_000  # characters of an answer in which a verdict is looked for: a server may send megabytes
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

# Markdown and brackets that judges write around a word within its tag.
_AROUND = " \t\r\n*_`\"'.()[]{}"
_TEXT = re.compile(r"\\text\s?\{([^{}]*)\}")  # within \boxed
_WINNER = re.compile(rf"(?:{NOUN})?([abc])(?:\s(?:is\sbetter|wins))?", FLAGS)
_TIE = re.compile(r"(?:it(?:'s|\sis)\s)?(?:a\s)?(?:tie|draw)", FLAGS)
_STEP = re.compile(r"([ab])\s*(>>|>|=|<|<<)\s*([ab])", FLAGS)
_RATING = re.compile(r"([-+]?\d{1,3}(?:\.\d{1,4})?)(?:\s*(?:/|out\sof)\s*(\d{1,3})(?:\.0{1,4})?)?", FLAGS)
# The first completion's points, by how clearly it is better.
_POINTS = {">>": 1.0, ">": 0.75, "=": 0.5, "<": 0.25, "<<": 0.0}


def read_verdict(answer: str, header: Header, shown: int) -> Verdict | None:
    """Read the verdict in an answer about `shown` completions, to a prompt with that header.

    >>> header = Header(version=1, kind="pairwise")
    >>> read_verdict("Both are right, B says why. <verdict>B</verdict>", header, 2)
    (0.0, 1.0)
    >>> read_verdict("It said <verdict>A</verdict>, but <verdict>B</verdict>", header, 2) is None
    True
    """
    if len(answer) > LONGEST:
        return None
    text = spoken(answer)
    finding = find(text, verdict_end(text), header)
    # Only ASCII, because other letters can look like a label or become one in lower case (the Kelvin sign).
    if finding is None or not finding.ends or not all(map(str.isascii, finding.contents)):
        return None
    verdicts = {read_content(content, header, shown) for content in finding.contents}
    # One that cannot be read next to one that can is another opinion.
    return verdicts.pop() if len(verdicts) == 1 else None


def why_unread(answer: str, header: Header) -> str:
    """Describe why `read_verdict` finds no verdict in an answer; "" if it has none in any form."""
    if len(answer) > LONGEST:
        return f"it is longer than {LONGEST:,} characters"
    text = spoken(answer)
    if not text:
        return "it ends in a draft" if answer.strip() else ""
    finding = find(text, verdict_end(text), header)
    if finding is None:
        return ""
    if len(set(finding.contents)) > 1:
        return "it has several verdicts"
    if finding.ends:
        return "its verdict is none that the prompt asks for"
    return "its verdict does not end it, or has a form that the prompt does not ask for"


def spell_verdict(verdict: Verdict, header: Header, positions: tuple[int, ...]) -> str:
    """Write the verdict as it is stored, in terms of positions: "2", "tie", "2>0>1", or the rating.

    A verdict of five steps is "2>>0", "2>0" or "tie".
    """
    if header.kind == "pointwise":
        return f"{verdict[0]:g}"
    best_first = sorted(zip(verdict, positions, strict=True), key=lambda pair: -pair[0])
    if header.kind == "listwise":
        return ">".join(str(position) for _, position in best_first)
    if verdict[0] == verdict[1]:
        return "tie"
    if header.steps == 5:
        return (">>" if best_first[0][0] == 1 else ">").join(str(position) for _, position in best_first)
    return str(best_first[0][1])


def read_content(content: str, header: Header, shown: int) -> Verdict | None:
    """Read what a verdict contains, without what its form puts around it."""
    content = _TEXT.sub(r"\1", content).replace("&gt;", ">").replace("&lt;", "<")
    if header.kind == "pointwise":
        return _rating(content.strip(_AROUND), header)
    if header.kind == "listwise":
        return _ranking(content.strip(), shown)
    points = _points(content.strip(_AROUND).lower(), header)
    return None if points is None else (points, 1 - points)


def _points(content: str, header: Header) -> float | None:
    """Return the first completion's points."""
    if _TIE.fullmatch(content):
        return 0.5
    if step := _STEP.fullmatch(content):
        return _stepped(step, header)
    winner = _WINNER.fullmatch(content)
    # With five steps, a winner alone leaves open how much better it is.
    if winner is None or header.steps == 5:
        return None
    # C is a tie only where prompts say so, which is MT-Bench's form.
    of = {"a": 1.0, "b": 0.0} | ({"c": 0.5} if header.verdict == "brackets" else {})
    return of.get(winner[1].lower())


def _stepped(step: re.Match[str], header: Header) -> float | None:
    first, sign, second = step.groups()
    if first == second:
        return None
    points = _POINTS[sign] if first == "a" else 1 - _POINTS[sign]
    # Of three steps, each of the winner's is a win.
    return points if header.steps == 5 else (points > 0.5) + (points == 0.5) / 2


def _rating(content: str, header: Header) -> Verdict | None:
    low, high = header.scale
    match = _RATING.fullmatch(content)
    # 4/10 is no rating from 1 to 5, however it is meant.
    if match is None or (match[2] and int(match[2]) != high):
        return None
    value = float(match[1])
    if not low <= value <= high or not (header.fractions or value.is_integer()):
        return None
    return (value,)


def _ranking(content: str, shown: int) -> Verdict | None:
    labels = [re.sub(rf"\A{NOUN}", "", label, flags=FLAGS) for label in re.split(r"\s*>\s*", content)]
    labels = [label.upper() for label in labels]
    # A label that is missing or twice leaves the order open.
    if sorted(labels) != list(LABELS[:shown]):
        return None
    return tuple((shown - 1 - labels.index(label)) / (shown - 1) for label in LABELS[:shown])
