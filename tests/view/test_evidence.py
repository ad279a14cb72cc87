"""What is known of a set besides its content: judges' answers and questions, dropped completions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.candidates import candidate_set, completion, table
from support.judges import Asked, ScriptedJudge, fair, good, judged, worth
from support.sets_to_view import FIVE, asked, cut, refused, rows_of, spoil, wait, write_dataset

from pairkit.rankers import annotations
from pairkit.schema import DROPPED, QUARANTINE, StageResult, quarantined
from pairkit.view.collection import opened
from pairkit.view.one_set import one_set

SETS = table(good(1, 3, 2, prompt="First?"), good(2, 2, prompt="Second?"), good(5, 4, prompt="Third?"))


def judged_dataset(
    folder: Path, say: Callable[[Asked], Any] | None = None, protocol: str = "iterative", **files: pa.Table
) -> tuple[Path, StageResult, ScriptedJudge]:
    """Write a dataset that a scripted judge has ranked, best first as a build does."""
    scored, engine = judged(SETS, say or fair(worth), protocol, seed=7)
    sets = annotations.rank(scored.sets)
    best_first = [
        {**row, "completions": sorted(row["completions"], key=lambda each: each["rank"] or 9)}
        for row in sets.to_pylist()
    ]
    recipe = {"rank": {"ranker": "judge", "model": "scripted", "protocol": protocol}, "seed": 7, "mine": {}}
    write_dataset(
        folder,
        {"train": pa.Table.from_pylist(best_first, sets.schema)},
        recipe=recipe,
        others={"verdicts": scored.verdicts, **files},
    )
    return folder, scored, engine


@pytest.mark.parametrize("protocol", ["iterative", "round_robin", "pointwise", "listwise"])
def test_the_questions_are_those_that_the_judge_was_asked(tmp_path: Path, protocol: str):
    folder, scored, engine = judged_dataset(tmp_path / "d", protocol=protocol)
    with opened(folder) as collection:
        verdicts = [each for row in range(3) for each in one_set(collection, row)["verdicts"]]
    assert len(verdicts) == scored.verdicts.num_rows > 0
    # To the letter: what the judge was sent, though the completions have another order now.
    questions = ["\n".join(message["content"] for message in each["question"]) for each in verdicts]
    assert sorted(questions) == sorted(each.question for each in engine.asked)
    answers = {each.question: fair(worth)(each) for each in engine.asked}
    assert [each["answer"] for each in verdicts] == [answers[question] for question in questions]


def test_verdicts_are_told_in_positions_of_now(tmp_path: Path):
    folder, _, _ = judged_dataset(tmp_path / "d")
    with opened(folder) as collection:
        first = one_set(collection, 0)
        texts = [each["text"] for each in first["completions"]]
        assert texts == ["good 3", "good 1", "good 2"]  # the judge was given good 1, good 3, good 2
        for verdict in first["verdicts"]:
            # As the judge was given them: good 1, good 3, good 2.
            then = [SETS["completions"][0].as_py()[place]["text"] for place in verdict["shown"]]
            assert [texts[place] for place in verdict["positions"]] == then
            better = max(then, key=worth)
            assert texts[int(verdict["outcome"])] == better


def test_sets_are_filtered_by_protocol_and_kind_of_verdict(tmp_path: Path):
    def first_shown(asked: Asked) -> str:
        # Whoever comes first wins in the set of "good 5"; equal texts are never asked about.
        if "good 5" in "".join(asked.texts):
            return "<verdict>A</verdict>"
        if asked.sampling.temperature == 0 and "good 1" in "".join(asked.texts):
            return "I cannot say."
        return fair(worth)(asked)

    folder, _, _ = judged_dataset(tmp_path / "d", first_shown)
    with opened(folder) as collection:
        answer = asked(collection)
        assert dict(answer["facets"]["protocol"]["values"]) == {"iterative": 2}
        assert dict(answer["facets"]["verdict"]["values"]) == {
            "preference": 2, "unreadable": 1, "depends on the order": 1,
        }  # fmt: skip
        for kind, rows in {"unreadable": [0], "depends on the order": [2], "preference": [0, 2]}.items():
            assert rows_of(asked(collection, filters={"verdict": {"values": [kind]}})) == rows
        assert answer["verdicts"]["done"]


def test_ties_and_ratings_are_kinds_of_verdicts(tmp_path: Path):
    folder, _, _ = judged_dataset(tmp_path / "tie", fair(lambda text: 1.0))
    with opened(folder) as collection:
        assert {name for name, _ in asked(collection)["facets"]["verdict"]["values"]} == {"tie"}
    folder, _, _ = judged_dataset(tmp_path / "rated", protocol="pointwise")
    with opened(folder) as collection:
        assert dict(asked(collection)["facets"]["verdict"]["values"]) == {"rating": 3}
        verdict = one_set(collection, 2)["verdicts"][0]
        assert verdict["aspect"]
        assert verdict["outcome"] == verdict["verdict"] == "5"


def test_a_question_needs_its_texts_and_its_prompt(tmp_path: Path):
    _folder, scored, _ = judged_dataset(tmp_path / "d")
    # The completion that lost both comparisons is gone: only questions without it could be written, and the
    # mark of the others depends on all texts.
    sets = annotations.rank(scored.sets).to_pylist()
    row = sets[0]
    kept, lost = row["completions"][1:], row["completions"][0]
    less = pa.Table.from_pylist([{**row, "completions": kept}], SETS.schema)
    recipe: dict[str, Any] = {"rank": {"ranker": "judge", "model": "scripted"}, "seed": 7}
    verdicts = {"verdicts": scored.verdicts}
    gone = write_dataset(tmp_path / "gone", {"train": less}, recipe=recipe, others=verdicts)
    with opened(gone) as collection:
        found = one_set(collection, 0)["verdicts"]
        assert found
        assert all(each["question"] is None for each in found)
        assert any(None in each["positions"] for each in found)
        assert all("?" not in each["outcome"] for each in found if None not in each["positions"])
    # Where mining has recorded what it dropped, they can be.
    dropped = pa.Table.from_pylist([{"set_id": row["set_id"], "reason": "rank", "completion": lost}], DROPPED)
    there = write_dataset(
        tmp_path / "there", {"train": less}, recipe=recipe, others={**verdicts, "dropped": dropped}
    )
    with opened(there) as collection:
        first = one_set(collection, 0)
        assert all(each["question"] for each in first["verdicts"])
        assert first["dropped"][0]["reason"] == "rank"
        assert first["dropped"][0]["completion"]["text"] == lost["text"]
    # Another prompt than the one whose hash is recorded is no question that was asked.
    other = write_dataset(
        tmp_path / "other",
        {"train": less},
        recipe={"rank": {**recipe["rank"], "prompt": "mt_bench"}, "seed": 7},
        others={**verdicts, "dropped": dropped},
    )  # fmt: skip
    with opened(other) as collection:
        assert all(each["question"] is None for each in one_set(collection, 0)["verdicts"])
    # A recipe from elsewhere may hold anything.
    for number, hostile in enumerate([{**recipe, "seed": [7]}, {**recipe, "seed": None}]):
        bad = write_dataset(tmp_path / f"bad-{number}", {"train": less}, recipe=hostile, others=verdicts)
        with opened(bad) as collection:
            assert all(each["question"] is None for each in one_set(collection, 0)["verdicts"])


def test_answers_are_found_before_all_are_indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _scored, _ = judged_dataset(tmp_path / "d")
    with opened(folder) as collection:
        wait(lambda: collection.verdicts.reading.done)
        after = one_set(collection, 0)["verdicts"]
        monkeypatch.setattr(collection.verdicts.reading, "read", 0)
        assert one_set(collection, 0)["verdicts"] == after


def test_damaged_verdicts_are_named_and_the_set_is_shown(tmp_path: Path):
    folder, _, _ = judged_dataset(tmp_path / "d")
    path = folder / "verdicts" / "all-00000-of-00001.parquet"
    spoil(path, "answer")
    with opened(folder) as collection:
        assert asked(collection)["total"] == 3
        first = one_set(collection, 0)
        assert first["verdicts"] == []
        assert "is damaged" in first["problems"][0]
    cut(path)
    with opened(folder) as collection:
        assert [problem["file"] for problem in collection.problems] == ["verdicts/all-00000-of-00001.parquet"]
        assert one_set(collection, 0)["problems"] == []


def test_rows_in_quarantine_of_a_set_are_with_it(tmp_path: Path):
    name = FIVE["set_id"][1].as_py()
    rows = pa.concat_tables([refused("empty"), quarantined("mine", ["no_choice"], ["{}"], set_ids=[name])])
    folder = write_dataset(tmp_path / "d", {"train": FIVE}, others={"quarantine": rows.cast(QUARANTINE)})
    with opened(folder) as collection:
        assert [row["reason"] for row in one_set(collection, 1)["quarantine"]] == ["no_choice"]
        assert one_set(collection, 0)["quarantine"] == []


def test_everything_of_a_set_is_there(tmp_path: Path):
    sampling = {"temperature": 0.6, "top_p": 0.9, "seed": 3, "max_tokens": 9}
    call = '[{"type":"function","function":{"name":"f","arguments":"{}"}}]'
    hostile = "<script>alert(1)</script>\u202e\x00"
    one = table(
        candidate_set(
            completion(
                hostile, 1.0, rank=1, sampling=sampling, metadata='{"critique": "fine"}', finish_reason="stop"
            ),
            completion("b", 0.5, rank=2, reasoning_content="hm", tool_calls=call, metadata="no JSON"),
            prompt=[("system", "s"), ("user", hostile)],
            tools='[{"type":"function"}]',
            metadata='{"id": 7}',
        )
    )
    with opened(write_dataset(tmp_path / "d", {"train": one})) as collection:
        content = one_set(collection, 0)
    first, second = content["completions"]
    assert content["prompt"] == [{"role": "system", "content": "s"}, {"role": "user", "content": hostile}]
    assert (first["text"], first["sampling"], first["metadata"]) == (
        hostile,
        sampling,
        '{"critique": "fine"}',
    )
    assert (second["reasoning_content"], second["metadata"]) == ("hm", "no JSON")
    # JSON is left as it is written: parsed, large numbers would lose digits in a browser.
    assert second["tool_calls"] == call
    assert (content["metadata"], content["tools"]) == ('{"id": 7}', '[{"type":"function"}]')
    assert (content["chosen"], content["rejected"]) == (0, 1)
