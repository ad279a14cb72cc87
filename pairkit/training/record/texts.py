"""What is seen of a text without a model: repetition, variety, and letters of another script."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from functools import cache

GRAM = 4  # words


def repeated_share(text: str) -> float:
    """Return the share of runs of four words that the text has had before; 0 of a text without one."""
    words = text.split()
    grams = [tuple(words[at : at + GRAM]) for at in range(len(words) - GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def distinct_share(text: str) -> float:
    """Return the number of different words over that of words; 1 of a text without any."""
    words = text.split()
    return len(set(words)) / len(words) if words else 1.0


def scripts_of(texts: Iterable[str]) -> frozenset[str]:
    """Return the scripts of all letters of some texts, as the first words of Unicode's names: LATIN, CJK."""
    return frozenset(_script(letter) for letter in set().union(*texts) if letter.isalpha())


def foreign_share(text: str, scripts: frozenset[str]) -> float:
    """Return the share of a text's characters that are letters of other scripts; 0 of an empty text."""
    return sum(letter.isalpha() and _script(letter) not in scripts for letter in text) / max(1, len(text))


@cache  # by character, of which there are few in texts
def _script(letter: str) -> str:
    # Of its plain form, because names such as FULLWIDTH LATIN and MICRO SIGN begin with no script.
    return unicodedata.name(unicodedata.normalize("NFKC", letter)[:1], "").split(" ")[0]
