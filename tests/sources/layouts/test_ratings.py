"""One response per row: ranks from 0, and which ratings make the score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.layouts import read_rows

from pairkit.errors import InputError
from pairkit.sources import SourceRecipe, open_source


def rated(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"prompt": "q", "response": f"r{number}", **row} for number, row in enumerate(rows)]


def scores(folder: Path, *rows: dict[str, Any], **options: Any) -> list[float | None]:
    found = read_rows(folder, rated(*rows), **options)
    assert found.refused == []
    return [score for each in found.brief("score") for (score,) in each]


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize(
    "options", [{}, {"prompt": "prompt", "completion": "response", "rank": "rank", "group": "prompt"}]
)
def test_ranks_of_rows_begin_at_0_or_1(tmp_path: Path, first: int, options: dict[str, str]) -> None:
    rows = rated({"rank": first}, {"rank": first + 1}, {"rank": first + 2})
    # Rows of another set, in which the best one has another rank.
    rows += [{**row, "prompt": "q2"} for row in rows[1:]]
    found = read_rows(tmp_path, rows, block=2, **options)
    assert found.refused == []
    first_set, second = found.brief("rank")
    assert first_set == [(1,), (2,), (3,)]
    assert second in ([(1,), (2,)], [(2,), (3,)])


def test_a_rank_below_0_is_refused(tmp_path: Path) -> None:
    found = read_rows(tmp_path, rated({"rank": -1}, {"rank": 0}, {"rank": 1}))
    assert found.refused == [("invalid_rank", "rows.jsonl, row 1, field 'completions.rank': is below 0")]
    assert found.brief("rank") == [[(1,), (2,)]]


def test_a_rank_from_0_without_a_group_is_a_rank(tmp_path: Path) -> None:
    found = read_rows(tmp_path, rated({"r": 0}), prompt="prompt", completion="response", rank="r")
    assert found.brief("rank") == [[(1,)]]


@pytest.mark.parametrize("other", ["verbosity", "complexity", "length", "toxicity"])
def test_what_is_no_quality_is_no_part_of_the_score(tmp_path: Path, other: str) -> None:
    assert scores(tmp_path, {"helpfulness": 4, other: 0}, {"helpfulness": 3, other: 4}) == [4, 3]
    assert scores(tmp_path, {other: 1}, {other: 4}) == [None, None]


def test_a_score_of_its_own_comes_before_the_mean_of_ratings(tmp_path: Path) -> None:
    assert scores(tmp_path, {"score": 9, "honesty": 1, "clarity": 2}) == [9]


def test_ratings_of_two_scales_are_refused(tmp_path: Path) -> None:
    rows = ({"accuracy": 1.0, "depth": 3}, {"accuracy": 0.0, "depth": 9})
    with pytest.raises(InputError, match=r"accuracy goes to 1, depth to 9; .* --map score=depth"):
        scores(tmp_path, *rows)
    assert scores(tmp_path, *rows, score="accuracy") == [1, 0]
    # The user named both.
    assert scores(tmp_path, *rows, ratings="accuracy+depth") == [2, 4.5]


def test_the_columns_of_a_mean_are_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(rated({"honesty": 1, "clarity": 2})[0]), encoding="utf-8")
    with pytest.raises(InputError, match="honesty goes to 1, clarity to 2"):
        open_source(SourceRecipe(name="files", path=str(path)))
    path.write_text(json.dumps(rated({"honesty": 3, "clarity": 4})[0]), encoding="utf-8")
    (reading,) = open_source(SourceRecipe(name="files", path=str(path))).readings.values()
    assert reading.summary.endswith("; the score is the mean of honesty, clarity")
