"""Verdicts as JSON whose form the engine enforces: the form, and the verdict in an answer that has it.

    {"explanation": "...", "verdict": "A"}          "rating": 4, "ranking": ["B", "A", "C"]

Only the value of that key counts. The explanation may quote whatever the judge was shown: it is a text, and
nothing in it is read. An object that is anything else than this is no verdict, also where a judge without an
enforced form repeats an object that it was shown: that has another quotation mark before the key (texts.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pairkit.engines.base import Structure
from pairkit.rankers.judge.forms import FLAGS, key_of
from pairkit.rankers.judge.header import NAMES, STEPS, Header
from pairkit.rankers.judge.spoken import spoken, verdict_end
from pairkit.rankers.judge.verdicts import LABELS, LONGEST, Verdict, read_content

EXPLANATION = "explanation"
_FENCE = re.compile(r"\A```\w*\s*")
_LISTED = 21  # ratings that a schema lists one by one; more are bounds


def structure_of(header: Header, shown: int) -> Structure:
    """Return the form of an answer about `shown` completions, to a prompt with that header."""
    name = NAMES[header.kind]
    value, words = _value(header, shown)
    schema = {
        "type": "object",
        # In this order, because a judge that has given its verdict only defends it.
        "properties": {EXPLANATION: {"type": "string"}, name: value},
        "required": [EXPLANATION, name],
        "additionalProperties": False,
    }
    instruction = (
        f"Write your whole response as one JSON object, and not in the form described above: the key "
        f'"{EXPLANATION}" has your explanation as a text, and then the key "{name}" has {words}.'
    )
    return Structure(name, json.dumps(schema), instruction)


def is_structured(answer: str) -> bool:
    """Return whether an answer is meant as JSON: it begins as an object does."""
    return _object(answer).startswith("{")


def read_structured(answer: str, header: Header, shown: int) -> Verdict | None:
    """Read the verdict in an answer of the form of `structure_of`; None for any other.

    >>> header = Header(version=1, kind="pairwise")
    >>> read_structured('{"explanation": "It has \\\\"verdict\\\\".", "verdict": "B"}', header, 2)
    (0.0, 1.0)
    >>> read_structured('{"explanation": "", "verdict": "A", "verdict": "B"}', header, 2) is None
    True
    """
    name, text = NAMES[header.kind], _object(answer)
    # A key that is spelled with escapes may be quoted from a shown text.
    if len(answer) > LONGEST or len(re.findall(key_of(name), text, FLAGS)) != 1:
        return None
    try:
        # Pairs, because a key that occurs twice leaves open which of them counts.
        pairs: list[tuple[str, Any]] = json.loads(text, object_pairs_hook=list)
    except (ValueError, RecursionError):
        return None
    if sorted(key for key, _ in pairs) != sorted((EXPLANATION, name)):
        return None
    values = dict(pairs)
    content = _spelled(values[name], header) if isinstance(values[EXPLANATION], str) else None
    return None if content is None else read_content(content, header, shown)


def _object(answer: str) -> str:
    text = spoken(answer) if len(answer) <= LONGEST else ""
    return _FENCE.sub("", text[: verdict_end(text)].strip())


def _value(header: Header, shown: int) -> tuple[dict[str, Any], str]:
    """Return the schema of a verdict, and the words that describe it."""
    if header.kind == "listwise":
        labels = list(LABELS[:shown])
        items = {"type": "string", "enum": labels}
        words = f"a list of {', '.join(labels)}, the best first"
        return {"type": "array", "items": items, "minItems": shown, "maxItems": shown}, words
    if header.kind == "pairwise":
        choices = _choices(header)
        return {"type": "string", "enum": list(choices)}, f"one of {', '.join(choices)}"
    low, high = header.scale
    if header.fractions:
        return {"type": "number", "minimum": low, "maximum": high}, f"a number from {low} to {high}"
    words = f"a whole number from {low} to {high}"
    if high - low < _LISTED:
        return {"type": "integer", "enum": list(range(low, high + 1))}, words
    return {"type": "integer", "minimum": low, "maximum": high}, words


def _choices(header: Header) -> Sequence[str]:
    return STEPS if header.steps == 5 else ("A", "B", "tie")


def _spelled(value: Any, header: Header) -> str | None:
    """Return a verdict as a text; None for a value of another type than the form has."""
    if header.kind == "pairwise":
        return value if value in _choices(header) else None
    if header.kind == "listwise":
        whole = isinstance(value, list) and all(isinstance(label, str) for label in value)
        return " > ".join(value) if whole else None
    # A truth value is an integer in Python.
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
