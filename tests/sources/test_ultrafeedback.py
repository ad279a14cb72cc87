"""UltraFeedback: every oddity of its files, in hand-made rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.candidates import said

from pairkit.schema import UNIDENTIFIED, check_sets, identify
from pairkit.sources import SourceRecipe, open_source

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")


def rating(value: str | None, wrapped: bool = False, **more: Any) -> Any:
    annotation = {"Rating": value, "Rationale": f"because {value}", **more}
    return [annotation] if wrapped else annotation


def completion(ratings: list[str | None] | None, *, wrapped: bool = False, **fields: Any) -> dict[str, Any]:
    row = {"model": "m", "response": "r", "principle": "honesty", "custom_system_prompt": "be kind", **fields}
    if ratings is not None:
        row["annotations"] = {
            aspect: rating(value, wrapped) for aspect, value in zip(ASPECTS, ratings, strict=True)
        }
    return row


def row(*completions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "source": "sharegpt",
        "instruction": "i",
        "models": ["m"],
        "completions": [*completions],
        **fields,
    }


def convert(folder: Path, rows: list[dict[str, Any]], **options: Any) -> list[dict[str, Any]]:
    """Return the sets of the rows, after checking that JSON lines and Parquet give the same."""
    lines, parquet = folder / "rows.jsonl", folder / "rows.parquet"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    paths = [lines]
    try:
        pq.write_table(pa.Table.from_struct_array(pa.array(rows)), parquet)
        paths.append(parquet)
    except pa.ArrowInvalid:  # rows of several forms: a Parquet file cannot hold them
        pass
    tables = []
    for path in paths:
        opened = open_source(SourceRecipe(name="ultrafeedback", path=str(path), **options))
        parts = list(opened.batches(rows=2))
        assert sum(part.quarantine.num_rows for part in parts) == 0
        tables.append(pa.concat_tables([part.sets for part in parts]))
        assert tables[-1].schema.equals(UNIDENTIFIED)
        check_sets(identify(tables[-1], {}))
    assert all(table.equals(tables[0]) for table in tables)
    return tables[0].to_pylist()


def scores(completion: dict[str, Any]) -> dict[str, float]:
    return {pair["name"]: pair["value"] for pair in completion["scores"]}


def test_score_is_the_mean_of_the_four_ratings(tmp_path: Path) -> None:
    (result,) = convert(tmp_path, [row(completion(["5", "4", "4", "2"]), completion(["1", "1", "1", "1"]))])
    assert [c["score"] for c in result["completions"]] == [3.75, 1.0]
    assert scores(result["completions"][0]) == {
        "helpfulness": 2.0,
        "honesty": 4.0,
        "instruction_following": 5.0,
        "truthfulness": 4.0,
    }
    assert [c["rank"] for c in result["completions"]] == [None, None]


def test_na_ratings_are_left_out(tmp_path: Path) -> None:
    (result,) = convert(tmp_path, [row(completion(["5", "N/A", "N/A", "2"]), completion(["N/A"] * 4))])
    assert [c["score"] for c in result["completions"]] == [3.5, None]
    assert scores(result["completions"][0]) == {"helpfulness": 2.0, "instruction_following": 5.0}
    assert scores(result["completions"][1]) == {}


def test_completions_without_annotations_have_no_score(tmp_path: Path) -> None:
    rows = [row(completion(["5", "5", "5", "5"]), completion(None)), row(completion(None)), row()]
    result = convert(tmp_path, rows)
    assert [[c["score"] for c in sets["completions"]] for sets in result] == [[5.0, None], [None], []]


def test_the_first_of_listed_annotations_is_used(tmp_path: Path) -> None:
    (result,) = convert(tmp_path, [row(completion(["3", "2", "3", "2"], wrapped=True))])
    assert result["completions"][0]["score"] == 2.5


def test_one_file_may_have_both_forms_and_empty_lists(tmp_path: Path) -> None:
    odd = completion(["3", "2", "3", "2"], wrapped=True)
    odd["annotations"]["honesty"] = []
    rows = [row(completion(["4", "4", "4", "4"])), row(odd), row(completion(["1", "1", "1", "1"]))]
    result = convert(tmp_path, rows)
    assert [sets["completions"][0]["score"] for sets in result] == [4.0, pytest.approx(8 / 3), 1.0]


def test_scores_keep_every_number_under_its_name(tmp_path: Path) -> None:
    numbers = {"overall_score": 7.5, "fine-grained_score": 4.25}
    (result,) = convert(tmp_path, [row(completion(["4", "4", "4", "5"], **numbers))])
    assert list(scores(result["completions"][0])) == sorted(
        [
            "fine-grained_score",
            "helpfulness",
            "honesty",
            "instruction_following",
            "overall_score",
            "truthfulness",
        ]
    )
    assert scores(result["completions"][0])["fine-grained_score"] == 4.25


def test_a_misread_ten_becomes_a_one(tmp_path: Path) -> None:
    """A 10 with a mean rating of at most 2 was a 1; `scores` keeps the number of the file."""
    cases = [
        (["2", "2", "2", "2"], 10, 1.0),
        (["1", "1", "1", "1"], 10, 1.0),
        (["2", "2", "2", "3"], 10, 10.0),
        (["5", "5", "5", "5"], 10, 10.0),
        (["N/A", "N/A", "N/A", "N/A"], 10, 10.0),
        (["1", "1", "1", "1"], 9, 9.0),
    ]
    rows = [row(completion(ratings, overall_score=float(overall))) for ratings, overall, _ in cases]
    result = convert(tmp_path, rows, score="overall_score")
    assert [sets["completions"][0]["score"] for sets in result] == [expected for _, _, expected in cases]
    assert [scores(sets["completions"][0])["overall_score"] for sets in result] == [c[1] for c in cases]
    by_rating = convert(tmp_path, rows)
    assert [sets["completions"][0]["score"] for sets in by_rating] == [2.0, 1.0, 2.25, 5.0, None, 1.0]


def test_critiques_and_rationales_go_to_the_metadata(tmp_path: Path) -> None:
    one = completion(["4", "N/A", "4", "5"], critique="fine")
    (result,) = convert(tmp_path, [row(one, correct_answers=["None"], incorrect_answers=["a"])])
    assert json.loads(result["completions"][0]["metadata"]) == {
        "annotations": one["annotations"],
        "critique": "fine",
        "custom_system_prompt": "be kind",
        "principle": "honesty",
    }
    assert json.loads(result["metadata"]) == {
        "correct_answers": ["None"],
        "incorrect_answers": ["a"],
        "models": ["m"],
        "source": "sharegpt",
    }
    assert result["completions"][0]["model"] == "m"
    assert said(result["prompt"]) == [{"role": "user", "content": "i"}]


def test_some_rows_may_lack_fields(tmp_path: Path) -> None:
    rows = [row(completion(["4", "4", "4", "4"])), row(completion(None, critique="c"), reference_answers="a")]
    result = convert(tmp_path, rows)
    assert "reference_answers" not in json.loads(result[0]["metadata"])
    assert json.loads(result[1]["metadata"])["reference_answers"] == "a"
    assert "critique" not in json.loads(result[0]["completions"][0]["metadata"])


@pytest.mark.parametrize(
    ("bad", "reason", "field"),
    [
        (row(completion(["4"] * 4), instruction=None), "missing_prompt", "prompt.content"),
        (row(completion(["4"] * 4), instruction=7), "not_text", "instruction"),
        (row(completion(["4"] * 4, response=None)), "missing_completion", "completions.text"),
        (row(completion(["4"] * 4, response=3)), "not_text", "completions.response"),
        (
            row(completion(["4"] * 4, overall_score=float("nan"))),
            "invalid_score",
            "completions.overall_score",
        ),
        ({**row(), "completions": "none"}, "not_text", "completions"),
        ({**row(), "completions": ["a", "b"]}, "not_text", "completions"),
    ],
)
def test_unusable_rows_are_quarantined(tmp_path: Path, bad: dict[str, Any], reason: str, field: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (row(completion(["4"] * 4)), bad)))
    opened = open_source(SourceRecipe(name="ultrafeedback", path=str(path)))
    (batch,) = opened.batches()
    assert (batch.counts["rows"], batch.sets.num_rows) == (2, 1)
    (result,) = batch.quarantine.to_pylist()
    assert (result["reason"], result["detail"].split(": ")[0]) == (
        reason,
        f"rows.jsonl, row 2, field {field!r}",
    )
