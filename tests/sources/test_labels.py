"""Labels of completions: truth values, numbers and words; what is none of them is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import row_files
from support.brief_sets import brief, brief_rows
from support.row_files import write_csv, write_lines

from pairkit.errors import InputError

WORDS = [
    ("True", "FALSE"),
    ("yes", "no"),
    ("Y", "n"),
    ("good", "Bad"),
    ("Desirable", "undesirable"),
    ("1", "0"),
    ("1.0", "0.0"),
    (" up ", "down"),
    ("thumbs_up", "thumbs down"),
    ("Thumbs-Up", "THUMBS-DOWN"),
    ("👍", "👎"),
    ("👍🏽", "👎🏿"),
    ("positive", "negative"),
    ("chosen", "rejected"),
    ("accept", "reject"),
    ("Accepted", "Rejected"),
    ("correct", "incorrect"),
    ("like", "dislike"),
    ("pass", "fail"),
    ("yes.", "no!"),
]
NUMBERS: list[tuple[Any, Any]] = [(True, False), (1, 0), (1.0, 0.0), (1, -1)]


@pytest.mark.default(
    "Y-n", "accept-reject", "1.0-0.0_0", "like-dislike", "True-FALSE", "1--1", "yes.-no!",
    "Thumbs-Up-THUMBS-DOWN"
)  # fmt: skip
@pytest.mark.parametrize(("good", "bad"), WORDS + NUMBERS)
def test_labels_are_scores_of_1_and_0(tmp_path: Path, good: Any, bad: Any) -> None:
    rows = [{"prompt": "p", "completion": "c", "label": label} for label in (good, bad, None)]
    read = brief_rows(tmp_path, *rows)
    assert [row["completions"][0]["score"] for row in read.sets] == [1.0, 0.0, None]
    path = tmp_path / "rows.csv"
    write_csv(path, rows)
    assert brief(path).sets == read.sets


@pytest.mark.parametrize(
    "name", ["label", "is_good", "kto_tag", "desirable", "thumbs", "feedback", "is_chosen"]
)
def test_names_of_label_columns(tmp_path: Path, name: str) -> None:
    turns = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}]
    for row in ({"prompt": "p", "answer": "c"}, {"messages": turns}):
        read = brief_rows(tmp_path, row | {name: "good"}, row | {name: "bad"})
        assert [each["completions"][0]["score"] for each in read.sets] == [1.0, 0.0]


@pytest.mark.parametrize("label", ["maybe", "sports", "2.5 stars", "ja"])
def test_other_words_are_named(tmp_path: Path, label: str) -> None:
    rows = [{"prompt": "p", "completion": "c", "label": value} for value in ("yes", label)]
    read = brief_rows(tmp_path, *rows)
    assert len(read.sets) == 1
    ((reason, detail),) = read.refused
    assert reason == "invalid_label"
    assert detail.startswith(f"'label': is {label!r}, neither true nor false; write true or false")


def rows_of(values: list[Any]) -> list[dict[str, Any]]:
    return [
        {"prompt": f"p{place % 2}", "completion": f"c{place}", "label": value}
        for place, value in enumerate(values)
    ]


@pytest.mark.parametrize("values", [[1, 5, 3], ["1", "5", "3"], [-1, 0, 1], [0.5, 1], [0, 1] * 1200 + [5]])
def test_a_rating_is_no_label(tmp_path: Path, values: list[Any]) -> None:
    """1 of a scale from 1 to 5 is the worst, not a good one, wherever the other numbers are."""
    with pytest.raises(InputError, match=r"label holds .* a rating and no label .* --map score=label,group="):
        brief_rows(tmp_path, *rows_of(values))


def test_a_rating_in_a_column_of_labels_is_a_score(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, rows_of([0, 4, 1, 5]))
    sets = row_files.read(path, map={"score": "label", "group": "prompt"}).sets.to_pylist()
    scores = [[each["score"] for each in row["completions"]] for row in sets]
    assert scores == [[0, 1], [4, 5]]


def test_ratings_as_flags_are_refused(tmp_path: Path) -> None:
    row = {"prompt": "p", "a": "x", "b": "y", "good_a": 1, "good_b": 0}
    mapped = {"prompt": "prompt", "completions": "a+b", "flags": "good_a+good_b"}
    assert len(brief_rows(tmp_path, row, map=mapped).sets) == 1
    with pytest.raises(InputError, match=r"good_b holds 0, 3, a rating .* --map scores=good_a"):
        brief_rows(tmp_path, row, row | {"good_b": 3}, map=mapped)


def test_objects_are_no_labels(tmp_path: Path) -> None:
    read = brief_rows(tmp_path, {"prompt": "p", "completion": "c", "label": {"a": 1}})
    assert [reason for reason, _ in read.refused] == ["invalid_label"]
