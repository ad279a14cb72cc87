"""The words and numbers by which a comparison names its winner.

A number is a position, from 0 or from 1: the values of the whole file decide which, because the rows of one
file must be read alike, and where they do not decide it the file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import is_number, is_text
from pairkit.errors import InputError, RecipeError
from pairkit.readers.formats import blocks
from pairkit.readers.survey import SURVEY_ROWS, Survey
from pairkit.sources.layouts.paths import types_at, values_at
from pairkit.sources.reading.columns import Columns

TIE = -2
TIES = frozenset(
    (
        *(
            "tie",
            "ties",
            "tied",
            "draw",
            "equal",
            "same",
            "similar",
            "both",
            "neither",
            "none",
            "nopreference",
        ),
        *("bothbad", "bothgood", "tiebothbad", "tiebothgood", "tieallbad", "equallygood", "equallybad"),
    )
)
ORDINALS = {"first": 0, "left": 0, "second": 1, "right": 1, "third": 2, "fourth": 3}
# A letter or a number, alone or after the word for what it counts: "model_a", "Response 1", "[[B]]".
NOUNS = "model|assistant|response|answer|output|completion|option|candidate|conversation|reply|summary|text"
_PLACE = re.compile(rf"(?:{NOUNS})?([a-z]|\d+)")
_COMPARED = re.compile(r"[\[(\s]*([ab])\s*([<>=]+)\s*([ab])[\])\s]*", re.IGNORECASE)  # A>B, [[B>>A]], A=B
# Columns whose 1 often means "the first is better" and not a position.
LABELS = ("label", "labels", "preference", "preferred", "human_preference")


def plain(value: object) -> str:
    """Return a winner without case, spaces, hyphens and brackets; 1.0 is 1."""
    text = str(value).strip().lower()
    number = re.fullmatch(r"([-+]?\d+)(\.0*)?", text)
    return str(int(number[1])) if number else re.sub(r"[\s_\-()\[\].:*]", "", text)


def place_of(word: str, names: Sequence[str] = (), winners: Mapping[Any, str] | None = None) -> int | None:
    """Return the position that a word names, from 0, or `TIE`; None if it names none.

    `names` are the columns of the completions, `winners` what a map or layout says about values.
    """
    for value, meaning in (winners or {}).items():
        if plain(value) == plain(word):
            return place_of(meaning, names)
    for position, name in enumerate(names):
        if plain(word) in (plain(name), plain(re.split(r"[.\]]", name)[-1])):
            return position
    compared = _COMPARED.fullmatch(word)
    if compared:
        return _side(*compared.groups())
    if plain(word) in TIES:
        return TIE
    if plain(word) in ORDINALS:
        return ORDINALS[plain(word)]
    found = _PLACE.fullmatch(plain(word))
    if found is None:
        return None
    return int(found[1]) if found[1].isdigit() else ord(found[1]) - ord("a")


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


def settle_winners(
    path: Path, survey: Survey, columns: Sequence[str], names: Sequence[str], *, mapped: bool
) -> dict[str, dict[str, str]]:
    """Return as `winners` what numbers mean as winners, from the values of all rows of a file; {} for words.

    Args:
        columns: where the winners are.
        names: where the completions are; only one if that holds lists.
        mapped: whether the user named the column as the winner.

    Raises `InputError` if the values do not tell.
    """
    for column in columns:
        if any(pa.types.is_boolean(kind) for kind in types_at(survey.columns, column)):
            raise InputError(
                f"{path}: {column} is true or false, which names no completion; say what they mean, as in "
                "--map 'winners={true: first, false: second}'"
            )
    numbers = sorted(_numbers(path, columns, names))
    if not numbers:
        return {}
    start = _start(numbers, names, labeled=not mapped and _last(columns[0]) in LABELS)
    if start is None:
        shown = ", ".join(map(str, numbers[:6]))
        signed = f", or --map strength={columns[0]} if below 0 the first is better" if numbers[0] < 0 else ""
        raise InputError(
            f"{path}: {', '.join(columns)} holds {shown}, which may count from 0 or from 1; "
            f"say what they mean, as in --map 'winners={{1: first, 2: second, 0: tie}}'{signed}"
        )
    return {"winners": {str(number): chr(ord("a") + number - start) for number in numbers}}


def _start(numbers: Sequence[int], names: Sequence[str], *, labeled: bool) -> int | None:
    """Return the number of the first completion, 0 or 1; None if the numbers of a file do not tell."""
    first, last, count = numbers[0], numbers[-1], len(names)
    numbered = _numbered(names)
    if first < 0 or last > max(count, 26 * (count < 2)):
        return None
    if first == 0:
        # 0 may be a tie: next to completions that count from 1, or where the last position would be outside.
        clear = numbered != 1 and not labeled and (count < 2 or last < count)
        return 0 if clear else None
    if count > 1 and last == count:
        return 1 if numbered != 0 else None
    return 0 if numbered == 0 else None


def _numbered(names: Sequence[str]) -> int | None:
    """Return the number at the end of the first completion's column, if all columns are numbered from it."""
    ends = [re.search(r"(\d+)$", name) for name in names]
    found = [int(end[1]) for end in ends if end is not None]
    if len(found) < 2 or found != list(range(found[0], found[0] + len(names))):
        return None
    return found[0]


def _last(path: str) -> str:
    return re.split(r"[.\]]", path)[-1].lower()


def _numbers(path: Path, columns: Sequence[str], names: Sequence[str]) -> set[int]:
    """Return the distinct numbers by which columns name winners, in all rows of a file."""
    found: set[int] = set()
    for block in blocks(path, SURVEY_ROWS):
        for part in block.load().tables:
            arrays = Columns.of(part.table).arrays
            for column in columns:
                values = values_at(arrays, column, part.table.num_rows)
                if is_text(values.type) or is_number(values.type):
                    found |= {
                        number for value in pc.unique(values).to_pylist() for number in _number(value, names)
                    }
    return found


def _number(value: object, names: Sequence[str]) -> tuple[int, ...]:
    """Return the number in a winner such as 1, "Response 1" or "[[2]]"; none in a word or a column's name."""
    word = plain("" if value is None else value)
    if word.lstrip("-").isdecimal():
        return (int(word),)
    numbered = _PLACE.fullmatch(word)
    named = any(word == plain(name) for name in names)
    return (int(numbered[1]),) if numbered and numbered[1].isdecimal() and not named else ()
