"""The words by which a comparison names its winner; what numbers mean is decided per file (settle.py)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pairkit.errors import RecipeError

TIE = -2
TIES = frozenset(
    (
        *("tie", "ties", "tied", "draw", "equal", "same", "similar", "both", "neither", "none"),
        *("nopreference", "bothbad", "bothgood", "tiebothbad", "tiebothgood", "tieallbad"),
        *("equallygood", "equallybad"),
    )
)
ORDINALS = {"first": 0, "left": 0, "second": 1, "right": 1, "third": 2, "fourth": 3}
# A letter or a number, alone or after the word for what it counts: "model_a", "Response 1", "[[B]]".
NOUNS = "model|assistant|response|answer|output|completion|option|candidate|conversation|reply|summary|text"
PLACE = re.compile(rf"(?:{NOUNS})?([a-z]|\d+)")
_COMPARED = re.compile(r"[\[(\s]*([ab])\s*([<>=]+)\s*([ab])[\])\s]*", re.IGNORECASE)  # A>B, [[B>>A]], A=B


def bare(value: object) -> str:
    """Return a winner without case, spaces, hyphens and brackets; 1.0 is 1."""
    text = str(value).strip().lower()
    try:
        number = float(text)
    except ValueError:
        return re.sub(r"[\s_\-()\[\].:*]", "", text)
    # 1.5 stays what it is, because it is no position.
    return str(int(number)) if number.is_integer() else text


def place_of(word: str, names: Sequence[str] = (), winners: Mapping[Any, str] | None = None) -> int | None:
    """Return the position that a word names, from 0, or `TIE`; None if it names none.

    `names` are the columns of the completions, `winners` what a map or layout says about values.
    """
    meanings = {bare(value): meaning for value, meaning in (winners or {}).items()}
    if bare(word) in meanings:
        return place_of(meanings[bare(word)], names)
    for position, name in enumerate(names):
        if bare(word) in (bare(name), bare(re.split(r"[.\]]", name)[-1])):
            return position
    comparison = _COMPARED.fullmatch(word)
    if comparison:
        return _side(*comparison.groups())
    if bare(word) in TIES:
        return TIE
    if bare(word) in ORDINALS:
        return ORDINALS[bare(word)]
    match = PLACE.fullmatch(bare(word))
    if match is None:
        return None
    start = numbered(names)
    if match[1].isdecimal() and not bare(word).isdecimal() and start is not None:
        return int(match[1]) - start if 0 <= int(match[1]) - start < len(names) else None
    if match[1] in meanings:
        return place_of(meanings[match[1]], names)
    return int(match[1]) if match[1].isdecimal() else ord(match[1]) - ord("a")


def numbered(names: Sequence[str]) -> int | None:
    """Return the number at the end of the first completion's column, if all columns are numbered from it."""
    ends = [re.search(r"(\d+)$", name) for name in names]
    numbers = [int(end[1]) for end in ends if end is not None]
    if len(numbers) < 2 or numbers != list(range(numbers[0], numbers[0] + len(names))):
        return None
    return numbers[0]


def _side(left: str, sign: str, right: str) -> int | None:
    if left.lower() == right.lower() or len(set(sign)) > 1:
        return None
    if sign[0] == "=":
        return TIE
    return ord((left if sign[0] == ">" else right).lower()) - ord("a")


def check_winners(winners: object) -> None:
    """Raise `RecipeError` for a `winners` of a map that gives values no position."""
    if not isinstance(winners, Mapping):
        raise RecipeError(f"map winners: must give values a place, as in {{1: first}}, got {winners!r}")
    for value, meaning in winners.items():
        # A number would again be a position from 0 or from 1.
        if not isinstance(meaning, str) or place_of(meaning) is None or re.search(r"\d", meaning):
            raise RecipeError(f"map winners: {value} must be first, second, a letter or tie, got {meaning!r}")
