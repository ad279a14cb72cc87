"""Functions of an answer that the verifier calls in builds and evaluations of the miniatures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NEARNESS = "pairkit.replication.tasks.checks:nearness"
NO_COMMA = "pairkit.replication.tasks.checks:no_comma"


def nearness(text: str, metadata: Mapping[str, Any]) -> float:
    """Return how near a sum is to the right one: 1 if it is right, 0 if it is no number.

    Digits are reversed, lowest first, as in the source `arithmetic`.

    >>> nearness("28", {"answer": "28"}), nearness("38", {"answer": "28"}), nearness("2+", {"answer": "28"})
    (1.0, 0.5, 0.0)
    """
    digits = text.strip()
    if not digits.isascii() or not digits.isdigit():
        return 0.0
    distance = abs(int(digits[::-1]) - int(str(metadata["answer"])[::-1]))
    # Not 1 for another spelling of the same number, such as a leading zero.
    return 1.0 if digits == metadata["answer"] else 1 / (1 + max(distance, 1))


def no_comma(text: str, metadata: Mapping[str, Any]) -> float:
    """Return 1 for a text without a comma, 0 for one with a comma or without a word.

    >>> no_comma("Yes and no.", {}), no_comma("Yes, no.", {}), no_comma(" ", {})
    (1.0, 0.0, 0.0)
    """
    return float(bool(text.strip()) and "," not in text)
