"""The rating in a judge's words."""

from __future__ import annotations

import re

LOWEST, HIGHEST = 1.0, 10.0
IN_DOUBLE = re.compile(r"\[\[(\d+\.?\d*)\]\]")
_IN_SINGLE = re.compile(r"\[(\d+\.?\d*)\]")


def read_rating(text: str) -> float | None:
    """Return the first number in double brackets, else the first in single ones; None for none from 1 to 10.

    >>> read_rating("Rating: [[7.5]]"), read_rating("of [10]: [[3]]"), read_rating("Rating: [4]")
    (7.5, 3.0, 4.0)
    >>> read_rating("Rating: [[11]]"), read_rating("Rating: 5")
    (None, None)
    """
    match = IN_DOUBLE.search(text) or _IN_SINGLE.search(text)
    return in_range(float(match[1])) if match else None


def in_range(rating: float) -> float | None:
    """Return a rating, or None if it is not on the scale."""
    return rating if LOWEST <= rating <= HIGHEST else None
