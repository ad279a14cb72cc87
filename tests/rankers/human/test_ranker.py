"""The ranker `human`: whose annotations are about which sets, and what becomes of the others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pairkit import schema
from pairkit.errors import InputError
from pairkit.rankers.human import ranker
from pairkit.rankers.human.annotation import Annotation, completion_hash
from pairkit.rankers.human.file import AnnotationFile, file_of
from pairkit.rankers.human.ranker import HumanRecipe, rank_by_people
from pairkit.schema import StageResult


def sets(*texts: str, ids: str = "s", **fields: Any) -> pa.Table:
    """Return a set per argument, whose completions are its letters, the last of "ab|n" being noise."""
    rows = []
    for number, letters in enumerate(texts):
        real, _, noise = letters.partition("|")
        empty = {field.name: None for field in schema.COMPLETION}
        completions = [
            {**empty, "text": text, "origin": origin, "scores": []}
            for part, origin in ((real, "source"), (noise, "noise"))
            for text in part
        ]
        row = {"set_id": f"{ids}{number}", "prompt_id": f"p{number}", "source": "x", "metadata": "{}"}
        row |= {"prompt": [{"role": "user", "content": "q"}], "completions": completions} | fields
        rows.append({**{field.name: None for field in schema.SETS}, **row})
    return pa.Table.from_pylist(rows, schema=schema.SETS)


def say(
    folder: Path, annotator: str, set_: int, order: str | None, *, known: str = "abc", **fields: Any
) -> None:
    """Append an annotation of set number `set_`: its order, as "ab c", or a flag."""
    groups = None if order is None else tuple(tuple(map(known.index, group)) for group in order.split())
    action = "flag" if order is None else "order"
    values = {
        "set_id": f"s{set_}",
        "prompt_id": f"p{set_}",
        "action": action,
        "completions": tuple(completion_hash(text, None) for text in known),
        "order": groups,
        "note": None,
        "annotator": annotator,
        "dataset": "digest",
        "time": "2026-01-01T00:00:00+00:00",
    } | fields
    folder.mkdir(exist_ok=True)
    AnnotationFile(file_of(folder, annotator)).append(Annotation(**values))


def scores_of(result: StageResult) -> dict[str, list[float | None]]:
    found: dict[str, list[float | None]] = {}
    for row in result.sets.to_pylist():
        found[row["set_id"]] = [each["score"] for each in row["completions"]]
        for each in row["completions"]:
            named: Mapping[str, float] = {score["name"]: score["value"] for score in each["scores"]}
            assert named.get("human") == each["score"]
    return found


def left_out(result: StageResult) -> list[tuple[str, str, str]]:
    table = result.quarantine.select(["set_id", "reason", "detail"]).to_pylist()
    return [tuple(row.values()) for row in table]  # type: ignore[misc]


def test_people_order_completions(tmp_path: Path) -> None:
    folder = tmp_path / "annotations"
    say(folder, "anna", 0, "c ab")
    say(folder, "anna", 1, "b a")
    say(folder, "anna", 2, None, note="two questions in one")
    say(folder, "anna", 4, "a b c")
    say(folder, "anna", 4, None, action="clear")
    # Set 0 has noise with a text that was ordered; set 1 a completion that was not.
    result = rank_by_people(sets("abc|a", "abcd", "abc", "abc", "abc"), HumanRecipe(path=folder))
    assert scores_of(result) == {"s0": [0.25, 0.25, 1.0, None], "s1": [0.0, 1.0, None, None]}
    about = "no annotation of annotations is about this set"
    assert left_out(result) == [
        ("s2", "flagged", "anna: two questions in one"),
        ("s3", "unlabeled", about),
        ("s4", "unlabeled", about),
    ]
    assert dict(result.counts) == {"labeled": 2, "labeled_by:anna": 2}


def test_sets_without_annotation_can_stay(tmp_path: Path) -> None:
    say(tmp_path, "anna", 0, "a b c")
    say(tmp_path, "anna", 1, None)
    result = rank_by_people(sets("abc", "abc", "abc"), HumanRecipe(path=tmp_path, unlabeled="keep"))
    assert scores_of(result) == {"s0": [1.0, 0.5, 0.0], "s2": [None, None, None]}
    assert left_out(result) == [("s1", "flagged", "anna: flagged without a note")]
    assert dict(result.counts) == {"labeled": 1, "labeled_by:anna": 1, "unlabeled": 1}


def test_several_people(tmp_path: Path) -> None:
    for name, order in {"anna": "a b c", "ben": "a b c", "cleo": "b c a"}.items():
        say(tmp_path, name, 0, order)
    say(tmp_path, "ben", 1, None, note="rude")
    say(tmp_path, "cleo", 1, None, note="not\nEnglish")
    say(tmp_path, "anna", 1, "a b c")
    table = sets("abc", "abc")
    result = rank_by_people(table, HumanRecipe(path=tmp_path, combine="majority"))
    assert scores_of(result) == {"s0": [1.0, 0.5, 0.0]}
    # One of them is enough.
    assert left_out(result) == [("s1", "flagged", "ben: rude; cleo: not\nEnglish")]
    assert dict(result.counts) == {
        "labeled": 1,
        "labeled_by:anna": 1,
        "labeled_by:ben": 1,
        "labeled_by:cleo": 1,
        "annotators_same": 5,
        "annotators_level": 0,
        "annotators_one_level": 0,
        "annotators_opposite": 4,
    }
    mean = rank_by_people(table, HumanRecipe(path=tmp_path))
    assert scores_of(mean)["s0"] == pytest.approx([2 / 3, 2 / 3, 1 / 6])


def test_other_ids_of_sets_do_not_matter_but_texts_do(tmp_path: Path) -> None:
    say(tmp_path, "anna", 0, "c b a")
    say(tmp_path, "anna", 1, "c b a")
    say(tmp_path, "anna", 2, None)
    # Another source with the same prompts: an order of completions that are there, one text in common, none.
    result = rank_by_people(sets("acx", "axy", "xyz", ids="other"), HumanRecipe(path=tmp_path))
    assert scores_of(result) == {"other0": [0.0, 1.0, None]}
    assert [row[:2] for row in left_out(result)] == [("other1", "unlabeled"), ("other2", "unlabeled")]


def test_of_a_repeated_prompt_the_own_annotation_counts(tmp_path: Path) -> None:
    for number, order in enumerate(["a b c", "c b a"]):
        say(tmp_path, "anna", number, order, prompt_id="p")
    say(tmp_path, "anna", 2, "b a", known="abd", prompt_id="p")
    table = sets("abc", "abc", "abc", "abc", prompt_id="p")
    result = scores_of(rank_by_people(table, HumanRecipe(path=tmp_path)))
    assert result["s0"] == [1.0, 0.5, 0.0]
    assert result["s1"] == [0.0, 0.5, 1.0]
    assert result["s2"] == [0.0, 1.0, None]
    # Nothing is said about the last one itself: the newest that shares the most texts.
    assert result["s3"] == result["s1"]


def test_equal_texts_have_one_score_and_calls_are_part_of_a_text(tmp_path: Path) -> None:
    say(tmp_path, "anna", 0, "b a", known="ab")
    result = rank_by_people(sets("aba"), HumanRecipe(path=tmp_path))
    assert scores_of(result) == {"s0": [0.0, 1.0, 0.0]}
    assert completion_hash("a", "[]") != completion_hash("a", None)


def test_many_batches_are_scored_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(0, 7, 2):
        say(tmp_path, "anna", number, "c b a")
    table = sets(*["abc"] * 7)
    whole = rank_by_people(table, HumanRecipe(path=tmp_path, unlabeled="keep"))
    monkeypatch.setattr("pairkit.sets.BATCH", 2)
    parts = rank_by_people(table, HumanRecipe(path=tmp_path, unlabeled="keep"))
    assert parts.sets == whole.sets
    assert dict(parts.counts) == dict(whole.counts) == {"labeled": 4, "labeled_by:anna": 4, "unlabeled": 3}


def test_no_sets(tmp_path: Path) -> None:
    say(tmp_path, "anna", 0, "a b c")
    result = rank_by_people(schema.SETS.empty_table(), HumanRecipe(path=tmp_path))
    assert (result.sets.num_rows, dict(result.counts)) == (0, {"labeled": 0})


def test_what_changes_is_read_again(tmp_path: Path) -> None:
    say(tmp_path, "anna", 0, "a b c")
    recipe, table = HumanRecipe(path=tmp_path), sets("abc")
    before = ranker.hashes(recipe)
    assert scores_of(rank_by_people(table, recipe))["s0"] == [1.0, 0.5, 0.0]
    say(tmp_path, "anna", 0, "c b a")
    assert scores_of(rank_by_people(table, recipe))["s0"] == [0.0, 0.5, 1.0]
    assert before.keys() == ranker.hashes(recipe).keys() == {"anna.jsonl"}
    assert before != ranker.hashes(recipe)


def test_damaged_lines_are_named_before_a_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    say(tmp_path, "anna", 0, "a b c")
    with (tmp_path / "anna.jsonl").open("a") as file:
        file.write("x\n" * 7 + '{"set_id"')
    ranker.check(HumanRecipe(path=tmp_path))
    told = " ".join(capsys.readouterr().err.split())
    assert "anna.jsonl, line 2: is not whole JSON; skipped" in told
    assert "3 more lines are no annotations; skipped" in told


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "no such file"), ("", "holds no annotation"), ("x\n", "line 1: is not whole JSON")],
)
def test_nothing_to_rank_by(tmp_path: Path, content: str | None, problem: str) -> None:
    path = tmp_path / "anna.jsonl"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=problem):
        ranker.check(HumanRecipe(path=path))
