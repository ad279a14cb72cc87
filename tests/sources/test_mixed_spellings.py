"""Rows of one file that name the same thing differently: each is read as if it were alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.grids import grid
from support.row_files import read, write_lines


def rated(text: str, **others: Any) -> dict[str, Any]:
    return {"text": text, **others}


def sets(*rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"prompt": "p", "completions": row} for row in rows]


def dialogues(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"prompt": [message], "chosen": "c", "rejected": "r"} for message in messages]


CALL = [{"function": {"name": "f", "arguments": "{}"}}]
FILES = {
    "objects of models": [
        {"prompt": "p", "completions": each}
        for each in (
            {"m": "a", "n": "b"},
            {"n": "b", "m": "a"},
            {},
            {"o": "c"},
            {"o": "c", "m": None, "n": "b"},
            ["a"],
        )
    ],
    "own fields": sets(
        [rated("a", metadata="{}"), rated("b", metadata='{"x": 1.0}', lang="de")],
        [rated("a", metadata={"x": 1}, lang="en"), rated("b")],
        [rated("a", metadata="no json {", scores=[]), rated("b", metadata='{"x": NaN}')],
        [rated("a", sampling={"temperature": 1, "top_k": 4}, origin="o"), rated("b", sampling={})],
        [rated("a", sampling="greedy", scores={"x": 1}), rated("b", sampling="hot")],
        [rated("a", sampling={"temperature": "hot"}, token_ids=[1.5], origin=5), rated("b", token_ids=[2])],
        [rated("a", token_ids=[1], finish_reason="stop"), rated("b", token_ids="t")],
        [rated("a", finish_reason={"x": 1}, scores=[{"name": "x", "value": 1}]), rated("b", scores=None)],
        [rated("a", scores=[{"name": "x", "by": "y"}]), rated("b", scores=[{"name": "x", "value": 0.5}])],
        [rated("a", origin="o"), rated("b")],
        [{"text": '[{"role": "user", "content": "u"}]'}, rated("b")],
    ),
    "truths among numbers": sets(
        [rated("a", score=0.5), rated("b", score=1)],
        [rated("a", score=True), rated("b", score=False)],
        [rated("a", score=0.5), rated("b", score=True)],
        [rated("a", score=True), rated("b", score=0.5)],
        [rated("a", x=[0.5, True]), rated("b")],
    ),
    "scores": sets(
        [rated("a", score=1), rated("b", score=2)],
        [rated("a", reward=1.5), rated("b", reward=2)],
        [rated("a", rating=3), rated("b", rating=4)],
        [rated("a", score=1, reward=5), rated("b", reward=2)],
        [rated("a", score=None, reward=1), rated("b", score=None, reward=2)],
        [rated("a", is_correct=True), rated("b", is_correct=False)],
        [rated("a", chosen=True), rated("b", chosen=False)],
        [rated("a", score="none"), rated("b", score="2")],
    ),
    "texts": sets(
        [{"text": "a", "value": 7}, {"text": "b"}],
        [{"response": "a"}, {"response": "b"}],
        [{"text": "t", "content": "more"}, {"text": None, "content": "u"}],
        [{"content": "[]"}, {"content": '[{"role": "user", "content": "x"}]'}],
    ),
    "models": sets(
        [rated("a", model="m"), rated("b", model="n", generator="g")],
        [rated("a", generator="m"), rated("b")],
    ),
    "thoughts": sets(
        [rated("a", score=1, reasoning="of a judge"), rated("b", score=2)],
        [{"content": "a", "score": 1, "reasoning": "of the model"}, {"content": "b", "score": 2}],
    ),
    "speakers": dialogues(
        {"role": "user", "content": "u"},
        {"from": "human", "value": "u"},
        {"speaker": "user", "text": "u"},
        {"author": {"role": "user"}, "content": "u"},
        {"role": "wizard", "content": "u"},
        {"from": "wizard", "content": "u"},
        {"content": "u"},
        {"role": "user", "content": "u", "tool_calls": CALL},
        {"from": "user", "content": "u", "tool_calls": CALL},
    ),
}


def said(path: Path, rows: int) -> tuple[list[Any], list[Any]]:
    batch = read(path, rows=rows)
    kept = batch.sets.select(["prompt", "completions", "metadata"]).to_pylist()
    return kept, batch.quarantine.to_pylist()


@pytest.mark.default("thoughts", "models", "scores", "objects of models", "truths among numbers")
@pytest.mark.parametrize("name", FILES)
def test_a_row_is_read_as_if_it_were_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, FILES[name])
    alone = said(path, 1)
    assert alone[0]
    for unit in (2, 3, 1000):
        assert said(path, unit) == alone


def test_what_is_read_of_each_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, FILES["scores"])
    kept, waste = said(path, 1000)
    scores = [[each["score"] for each in row["completions"]] for row in kept]
    assert scores == [[1, 2], [1.5, 2], [3, 4], [1, 2], [1, 2], [1, 0], [1, 0]]
    others = [each["metadata"] for row in kept for each in row["completions"] if each["metadata"]]
    assert others == ['{"reward":5}']
    assert [json.loads(row["row"])["completions"][0]["score"] for row in waste] == ["none"]


def test_nothing_of_a_completion_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, FILES["own fields"])
    kept, waste = said(path, 1000)
    found = [each["metadata"] for row in kept for each in row["completions"]]
    assert found == [
        *("{}", '{"x": 1.0,"lang":"de"}', '{"metadata":{"x":1},"lang":"en"}', None),
        *('{"metadata":"no json {"}', r'{"metadata":"{\"x\": NaN}"}'),
        *('{"sampling":{"temperature":1,"top_k":4}}', None),
        *('{"sampling":"greedy","scores":{"x":1}}', '{"sampling":"hot"}'),
        *('{"sampling":{"temperature":"hot"},"token_ids":[1.5],"origin":5}', None),
        *('{"finish_reason":{"x":1}}', None, '{"scores":[{"name":"x","by":"y"}]}', None, None, None),
    ]
    first, second = kept[3]["completions"]
    assert (first["sampling"]["temperature"], first["origin"]) == (1.0, "o")
    assert set(second["sampling"].values()) == {None}
    assert all(isinstance(each["scores"], list) for row in kept for each in row["completions"])
    # A list of several kinds has no column; a dialogue is no text.
    assert [row["reason"] for row in waste] == ["mixed_types", "unsupported_content"]


def test_objects_of_models_have_their_order(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, FILES["objects of models"])
    found = [[each["model"] for each in row["completions"]] for row in said(path, 1000)[0]]
    assert found == [["m", "n"], ["n", "m"], [], ["o"], ["o", "n"], [None]]


def test_keys_of_own_metadata_and_of_others_do_not_replace_each_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(
        path, sets([rated("a", metadata='{"lang": "de"}', lang="en"), rated("b", metadata="{}", lang="7")])
    )
    ((row,), _) = said(path, 1)
    assert [each["metadata"] for each in row["completions"]] == [
        *('{"lang":"en","metadata":{"lang": "de"}}', '{"lang":"7"}'),
    ]


def test_rows_of_pairkit_next_to_others(tmp_path: Path) -> None:
    """Where a row has no metadata of its own, what it says is kept."""
    own = {"set_id": "s", "prompt_id": "p", "source": "x", "metadata": '{"x":7}', "prompt": "p"}
    rows = [
        *({**own, "completions": ["a"]}, {"prompt": "p", "completions": ["a"], "note": 5}),
        {**own, "metadata": "no json", "completions": ["a"]},
    ]
    path = tmp_path / "rows.jsonl"
    write_lines(path, rows)
    for unit in (1, 1000):
        found = [row["metadata"] for row in said(path, unit)[0]]
        wrong = '{"set_id":"s","prompt_id":"p","source":"x","metadata":"no json"}'
        assert found == ['{"x":7}', '{"note":5}', wrong]


ODD = [[1, "a", None, {"b": 2}, [3]], {"x": [1, "two"]}, [1, True, 2.5], [2**60, 0.5], [[1], ["a"]]]


@pytest.mark.default("1000-rows.jsonl", "3-rows.json")
@pytest.mark.parametrize(
    ("unit", "name"),
    grid(
        lambda unit, name: unit == 3 or (name == "rows.jsonl" and unit == 1000),
        [1, 3, 1000],
        ["rows.jsonl", "rows.json"],
    ),
)
def test_lists_of_several_kinds_are_metadata(tmp_path: Path, name: str, unit: int) -> None:
    pair = {"prompt": "p", "chosen": "c", "rejected": "r"}
    values = [each for odd in ODD for each in (odd, [1, 2], "text", None)]
    rows = [{**pair, "tags": value, "other": place} for place, value in enumerate(values)]
    path = tmp_path / name
    if name.endswith("l"):
        write_lines(path, rows)
    else:
        path.write_text(json.dumps(rows))
    kept, waste = said(path, unit)
    wanted = [
        {"tags": row["tags"], "other": row["other"]} if row["tags"] is not None else {"other": row["other"]}
        for row in rows
    ]
    assert [json.loads(row["metadata"]) for row in kept] == wanted
    assert not waste


@pytest.mark.parametrize("field", ["chosen", "prompt", "score_chosen"])
def test_lists_of_several_kinds_are_no_field(tmp_path: Path, field: str) -> None:
    pair = {"prompt": "p", "chosen": "c", "rejected": "r", "score_chosen": 1.0, "score_rejected": 0.5}
    path = tmp_path / "rows.jsonl"
    write_lines(path, [pair, {**pair, field: ["c", 1]}, pair])
    kept, waste = said(path, 1000)
    assert (len(kept), [row["reason"] for row in waste]) == (2, ["mixed_types"])
    assert json.loads(waste[0]["row"])[field] == ["c", 1]
