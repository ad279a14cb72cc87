"""What numbers mean that could mean several things, decided by the values of a whole file.

The rows of one file must be read alike, so that no block of rows decides; where the values do not tell, the
file is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import is_list, is_number, is_text
from pairkit.errors import InputError
from pairkit.readers.survey import Survey
from pairkit.sources.layouts.field_map import columns_of
from pairkit.sources.layouts.paths import parsed, types_at, values_in
from pairkit.sources.layouts.winners import PLACE, bare, numbered
from pairkit.sources.reading.labels import is_rating

# "a_is_better", "is_first_preferred"
SIDES = {"a": "a", "b": "b", "first": "a", "second": "b"}
SIDE = re.compile(
    rf"(?:is)?(?:response|answer|output|model)?({'|'.join(SIDES)})(?:is)?(?:better|preferred|best|wins)"
)
UNTOLD = "untold"  # of `rank_by_order`, in layouts of which only the rows can tell
INDICES = ("index", "idx")  # the ends of columns that count from 0, as programs do
# Columns that next to numbers may hold any text, and otherwise the winner's.
TEXTS = (
    *("best_response", "best_answer", "best_completion", "preferred_response", "preferred"),
    *("chosen_response", "chosen", "selected"),
)
RANKINGS = ("ranking", "rankings")
# The ends of columns whose 1 often means "the first is better" and not a position.
LABELS = ("label", "labels", "preference", "preferred")


def settled(
    path: Path,
    survey: Survey,
    layout: str,
    fields: Mapping[str, str],
    options: Mapping[str, Any],
    mapped: Mapping[str, Any],
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the fields that count for the outcome of a file, and the options that its values decide.

    Raises `InputError` if the values do not tell.
    """
    fields, options = dict(fields), dict(options)
    unsaid = layout == "sets" and "winner" not in mapped and "loser" not in fields
    if unsaid and {"scores", "ranks"} & fields.keys() and last_name(fields.get("winner", "")) in TEXTS:
        del fields["winner"]
    if "winner" in fields and "winners" not in options:
        votes, names = (columns_of(fields[name], survey.columns) for name in ("winner", "completions"))
        votes = (*votes, *columns_of(fields["loser"], survey.columns)) if "loser" in fields else votes
        options |= settle_winners(path, survey, votes, names, mapped="winner" in mapped)
    if options.get("rank_by_order") == UNTOLD:
        options |= settle_order(path, fields["completions"])
    if "labels" in fields and "labels" not in mapped:
        fields = settle_labels(path, fields)
    if "ranks" in fields and "ranks" not in mapped:
        check_ranking(path, columns_of(fields["ranks"], survey.columns))
    if "preference" in fields and "preference" not in mapped:
        check_preference(path, fields["preference"])
    return fields, options


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
    side = _side_of(columns[0], survey) if len(columns) == 1 and len(names) == 2 else None
    if side is not None:
        other = "b" if side == "a" else "a"
        return {"winners": {"true": side, "1": side, "false": other, "0": other}}
    for column in columns:
        if any(pa.types.is_boolean(kind) for kind in types_at(survey.columns, column)):
            raise InputError(
                f"{path}: {column} is true or false, which names no completion; state what they mean, as in "
                "--map 'winners={true: first, false: second}'"
            )
    numbers = sorted(_numbers(path, columns, names))
    if not numbers:
        return {}
    start = _start(numbers, columns[0], names, mapped=mapped)
    if start is None:
        shown = ", ".join(map(str, numbers[:6]))
        sign_advice = f"; {_signed(columns[0])}" if numbers[0] < 0 else ""
        raise InputError(
            f"{path}: {', '.join(columns)} holds {shown}, which may count from 0 or from 1; "
            f"state what they mean, as in --map 'winners={{1: first, 2: second, 0: tie}}'{sign_advice}"
        )
    return {"winners": {str(number): chr(ord("a") + number - start) for number in numbers}}


def _side_of(column: str, survey: Survey) -> str | None:
    """Return the completion that a column such as `a_is_better` is about, if no column is about the other."""
    own_match = SIDE.fullmatch(bare(column))
    if own_match is None:
        return None
    places = {SIDES[match[1]] for name in survey.columns if (match := SIDE.fullmatch(bare(name)))}
    # With a column for each, both may be false.
    return places.pop() if len(places) == 1 else None


def _start(numbers: Sequence[int], column: str, names: Sequence[str], *, mapped: bool) -> int | None:
    """Return the number of the first completion, 0 or 1; None if the numbers of a file do not tell."""
    first, last, count = numbers[0], numbers[-1], len(names)
    begin = 0 if last_name(column).endswith(INDICES) else numbered(names)
    if first < 0 or last > max(count, 26 * (count < 2)):
        return None
    if first == 0:
        # 0 may be a tie: next to completions that count from 1, or where the last position would be outside.
        clear = (
            begin != 1 and (mapped or not last_name(column).endswith(LABELS)) and (count < 2 or last < count)
        )
        return 0 if clear else None
    if count > 1 and last == count:
        return 1 if begin != 0 else None
    return 0 if begin == 0 else None


def last_name(path: str) -> str:
    return re.split(r"[.\]]", path)[-1].lower()


def _numbers(path: Path, columns: Sequence[str], names: Sequence[str]) -> set[int]:
    """Return the distinct numbers by which columns name winners, in all rows of a file.

    Raises `InputError` for a number that is no position.
    """
    for value in values_of(path, columns):
        if not as_number(value).is_integer() and np.isfinite(as_number(value)):
            raise InputError(
                f"{path}: {', '.join(columns)} holds {value}, which names no completion; where the numbers "
                f"go from 1, the first is better, to 2, give --map preference={columns[0]}; "
                f"{_signed(columns[0])}"
            )
    return {number for value in values_of(path, columns) for number in _number(value, names)}


def _number(value: object, names: Sequence[str]) -> tuple[int, ...]:
    """Return the number in a winner such as 1, "Response 1" or "[[2]]"; none in a word or a column's name."""
    word = bare(value)
    if word.lstrip("-").isdecimal():
        return (int(word),)
    match = PLACE.fullmatch(word)
    # Next to columns with numbers, "Response 1" is the one of that number.
    return (int(match[1]),) if match and match[1].isdecimal() and numbered(names) is None else ()


def settle_order(path: Path, column: str) -> dict[str, str]:
    """Return as `rank_by_order` that lists of samples are in no order.

    Raises `InputError` if every row has two, as the pairs of LLaMA-Factory do, whose first is the better one.
    """
    for _, lists in values_in(path, [column]):
        lengths = pc.unique(pc.list_value_length(lists)).drop_null() if is_list(lists.type) else []
        if any(length.as_py() != 2 for length in lengths):
            return {"rank_by_order": "false"}
    raise InputError(
        f"{path}: {column} holds two texts in every row; give --map rank_by_order=true if the first is the "
        "better one, as LLaMA-Factory's pairs are, or --map rank_by_order=false if they are in no order"
    )


def check_labels(path: Path, columns: Sequence[str], rating: str) -> None:
    """Raise `InputError` if the labels of a column are numbers of a rating, in any row of a file.

    `rating` is the map that reads them as one.
    """
    for column in columns:
        numbers = {number for value in values_of(path, [column]) if np.isfinite(number := as_number(value))}
        if is_rating(numbers):
            raise InputError(
                f"{path}: {column} holds {_shown(sorted(numbers))}, a rating and no label of 1 and 0, "
                f"or of 1 and -1; give --map {rating} if more is better, or correct the rows"
            )


def _shown(numbers: Sequence[float]) -> str:
    few = numbers if len(numbers) <= 6 else [*numbers[:3], *numbers[-3:]]
    texts = [f"{number:g}" for number in few]
    return ", ".join(texts if few is numbers else [*texts[:3], "...", *texts[3:]])


def settle_labels(path: Path, fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields without labels of completions where these have scores, ranks or a winner.

    Raises `InputError` for TRL's names, under which the completions may be the steps of one answer.
    """
    if fields.keys() & {"scores", "ranks", "winner"}:
        return {name: value for name, value in fields.items() if name != "labels"}
    if (fields["completions"], fields["labels"]) == ("completions", "labels"):
        prompt = fields.get("prompt") or fields.get("messages") or "COLUMN"
        raise InputError(
            f"{path}: completions and labels may be the steps of one answer (TRL's stepwise supervision), "
            "which is not preference data; if they are alternatives with a label each, give "
            f"--map prompt={prompt},completions=completions,labels=labels"
        )
    return dict(fields)


def check_ranking(path: Path, columns: Sequence[str]) -> None:
    """Raise `InputError` for a column `ranking` that may hold ranks or the places of completions, best first.

    Only if all lists hold every place once, and not all of them say the same in both readings.
    """
    if len(columns) > 1 or last_name(columns[0]) not in RANKINGS:
        return
    differ = None
    for _, lists in values_in(path, columns):
        for value in (parsed(lists) if is_text(lists.type) else lists).drop_null().to_pylist():
            places = [place - min(value) for place in value] if _are_numbers(value) else []
            if sorted(places) != list(range(len(places))) or not places or min(value) not in (0, 1):
                return
            if any(places[place] != number for number, place in enumerate(places)):
                differ = differ or value
    if differ is not None:
        raise InputError(
            f"{path}: {columns[0]} holds {differ}, which may be the rank of each completion or the "
            f"places of the completions from the best one on; give --map ranks={columns[0]} or "
            f"--map order={columns[0]}"
        )


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, int) for item in value)


def check_preference(path: Path, column: str) -> None:
    """Raise `InputError` if the numbers of a column are no preferences from 1 to 2, with 0 for a tie."""
    numbers = [number for value in values_of(path, [column]) if np.isfinite(number := as_number(value))]
    inside = all(1 <= number <= 2 or number == 0 for number in numbers)
    # With nothing but 0 and 1 it is more likely a position.
    if inside and (0 not in numbers or max(numbers) > 1):
        return
    raise InputError(
        f"{path}: {column} goes from {min(numbers):g} to {max(numbers):g}, not from 1, the first is better, "
        f"to 2; where the numbers are positions, give --map winner={column}; {_signed(column)}"
    )


def _signed(column: str) -> str:
    return f"where a number below 0 means that the first is better, --map strength={column}"


def as_number(value: object) -> float:
    """Return a number or the number in a text, NaN for other texts."""
    try:
        return float(str(value))
    except ValueError:
        return float("nan")


def values_of(path: Path, columns: Sequence[str]) -> Iterator[object]:
    """Yield the values of columns, as far as they are texts or numbers, each at least once."""
    for _, values in values_in(path, columns):
        if is_text(values.type) or is_number(values.type):
            yield from pc.unique(values.drop_null()).to_pylist()
