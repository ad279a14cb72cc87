"""The forms in which a judge writes a verdict, and what they contain.

Each reader returns the contents of all verdicts in its form, whether they are readable or not, and whether
the last one ends the text; None for a text without this form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from pairkit.rankers.judge.header import NAMES, Form, Header
from pairkit.rankers.judge.recipe import Kind

FLAGS = re.ASCII | re.IGNORECASE
NOUN = r"(?:the\s)?(?:answer|assistant|response|completion|model|option|output|candidate)\s{0,2}[:#]?\s{0,2}"
# What a verdict consists of. A shown text in which one of these patterns matches is changed there (texts.py),
# and no reader below looks for anything else, so that whatever can be read is changed.
_STEP = r"[AB]\s{0,2}(?:(?:>|&gt;){1,2}|(?:<|&lt;){1,2}|=)\s{0,2}[AB]"
_LABEL = rf"(?:{NOUN})?[ABC]|tie|{_STEP}"
_NUMBER = r"[-+]?\d{1,3}(?:\.\d{1,4})?(?:\s?/\s?\d{1,3}(?:\.0{1,4})?)?"
LABEL_IN_BRACKETS = rf"\[\[(\s{{0,8}}(?:{_LABEL})\s{{0,8}})\]\]"
# x[[1]] takes an element of x, so it is no rating.
NUMBER_IN_BRACKETS = rf"(?<![\w\])])\[\[(\s{{0,8}}{_NUMBER}\s{{0,8}})\]\]"
IN_BOX = rf"\\boxed\s?\{{(\s{{0,8}}(?:\\text\s?\{{)?(?:{_LABEL}|{_NUMBER})\}}?\s{{0,8}})\}}"


def tag_of(names: str) -> str:
    """Return the pattern of the beginning of a tag with one of these names: without it nothing is a tag."""
    return rf"<\s{{0,8}}/?\s{{0,8}}(?:{names})\b"


def key_of(names: str) -> str:
    """Return the pattern of a key with one of these names: without it no JSON object is a verdict."""
    return rf"\"(?:{names})\"\s*:"


# A verdict in brackets that the prompt has not asked for counts only where the judge calls it one.
_BEFORE = r"(?:\s+is)?[*_\s]*[:=]?[*_\s`\"'(]*\Z"
_CALLED: Mapping[Kind, re.Pattern[str]] = {
    "pairwise": re.compile(rf"\bverdict{_BEFORE}", FLAGS),
    "pointwise": re.compile(rf"\b(?:rating|score){_BEFORE}", FLAGS),
}
_NEAR = 40  # characters before a verdict in which it is called one
# The forms that are looked for under every prompt. Numbers in double brackets are common in other texts.
_ANYWHERE: Mapping[Kind, tuple[Form, ...]] = {
    "pairwise": ("tag", "json", "brackets"),
    "pointwise": ("tag", "json"),
    "listwise": ("tag", "json"),
}
_OBJECTS = 16  # that are tried in one answer at most


class Found(NamedTuple):
    """The contents of verdicts in a text, and whether the last one ends it."""

    contents: tuple[str, ...]
    ends: bool


def find(text: str, end: int, header: Header) -> Found | None:
    """Find the verdicts of an answer, in the form that the prompt asks for or in another one.

    The others that count are those that leave no doubt: a tag, an answer that is a JSON object, and double
    brackets that the judge itself calls its verdict or rating. The contents are those of all forms, because a
    verdict in one form may contradict that in another.

    Args:
        end: where the text ends without punctuation and stray tokens.
    """
    forms: dict[Form, Found] = {}
    for form in dict.fromkeys((header.verdict, *_ANYWHERE[header.kind])):
        if finding := _in_form(form, text, end, header):
            forms[form] = finding
    if not forms:
        return _called(text, end, header)
    contents = tuple(content for finding in forms.values() for content in finding.contents)
    ends = any(finding.ends and _counts(form, text, end, header) for form, finding in forms.items())
    return Found(contents, ends)


def _counts(form: Form, text: str, end: int, header: Header) -> bool:
    """Return whether a verdict in that form, which ends a text, is beyond doubt."""
    if form == "json" != header.verdict:
        # Prose around an object that nobody asked for may contradict it.
        return re.match(r"\s*(?:```\w*\s*)?\{", text) is not None
    return form != "brackets" or header.verdict == "brackets" or _called(text, end, header) is not None


def _in_form(form: Form, text: str, end: int, header: Header) -> Found | None:
    name = NAMES[header.kind]
    if form == "tag":
        return _tags(text, end, name)
    if form == "json":
        return _json(text[:end], name)
    in_brackets = NUMBER_IN_BRACKETS if header.kind == "pointwise" else LABEL_IN_BRACKETS
    return _matches(in_brackets if form == "brackets" else IN_BOX, text, end)


def _called(text: str, end: int, header: Header) -> Found | None:
    """Find a verdict in double brackets that follows the word verdict, rating or score."""
    pattern = _CALLED.get(header.kind)
    finding = pattern and _in_form("brackets", text, end, header)
    if not pattern or not finding or not finding.ends:
        return None
    start = text.rindex("[[")
    return finding if pattern.search(text[max(0, start - _NEAR) : start]) else None


def _tags(text: str, end: int, tag: str) -> Found | None:
    ends = re.findall(tag_of(tag), text, FLAGS)
    if not ends:
        return None
    # B<<A is a verdict of five steps.
    contents = re.findall(rf"<{tag}>([^<]*(?:<<?[^</][^<]*)?)</{tag}>", text, FLAGS)
    closed = text[:end].lower().endswith(f"</{tag}>")
    # A tag outside a complete pair makes the answer ambiguous, wherever it is.
    return Found(tuple(contents), closed and len(ends) == 2 * len(contents))


def _matches(pattern: str, text: str, end: int) -> Found | None:
    matches = list(re.finditer(pattern, text, FLAGS))
    if not matches:
        return None
    return Found(tuple(match[1] for match in matches), matches[-1].end() == end)


def _json(text: str, key: str) -> Found | None:
    """Read the JSON object that a text ends with."""
    if re.search(key_of(key), text, FLAGS) is None:
        return None
    lines = (match.start(1) for match in re.finditer(r"^[^\S\n]*(\{)", text, re.MULTILINE))
    for start in dict.fromkeys([text.find("{"), *islice(lines, _OBJECTS)]):
        contents = _values(text[start:], key) if start >= 0 else None
        if contents is not None:
            return Found(contents, True)
    # Something of an object is there, which can be read as no verdict.
    return Found(("",), False)


def _values(text: str, key: str) -> tuple[str, ...] | None:
    """Return all values of a key in a JSON object, at any depth; None for a text that is no such object."""
    values: list[Any] = []

    def gather(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
        entries = list(pairs)
        values.extend(value for name, value in entries if name.lower() == key)
        return dict(entries)

    try:
        document = json.loads(text, object_pairs_hook=gather)
    except (ValueError, RecursionError):
        return None
    # A key that is spelled with escapes may be quoted from a shown text.
    if not isinstance(document, dict) or len(values) != len(re.findall(key_of(key), text, FLAGS)):
        return None
    return tuple(map(_spelled, values)) or None


def _spelled(value: Any) -> str:
    if isinstance(value, list):
        return " > ".join(map(str, value))
    return "" if isinstance(value, bool) else str(value)
