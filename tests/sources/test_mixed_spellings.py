"""Rows of one file that name the same thing differently: each is read as if it were alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.row_files import read, write_lines


def rated(text: str, **others: Any) -> dict[str, Any]:
    return {"text": text, **others}


def sets(*rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"prompt": "p", "completions": row} for row in rows]


def dialogues(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"prompt": [message], "chosen": "c", "rejected": "r"} for message in messages]


CALL = [{"function": {"name": "f", "arguments": "{}"}}]
FILES = {
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
