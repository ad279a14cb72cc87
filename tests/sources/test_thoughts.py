"""Thoughts in columns next to replies belong to them, and rows that differ only there are no duplicates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.row_files import read, write_csv, write_lines


def thoughts(path: Path, **options: Any) -> list[list[tuple[str, str | None]]]:
    """Return text and thought of the completions of every set, none of which may be refused."""
    batch = read(path, **options)
    assert batch.quarantine.to_pylist() == []
    return [
        [(each["text"], each["reasoning_content"]) for each in row["completions"]]
        for row in batch.sets.to_pylist()
    ]


BESIDE = {
    "pairs": {
        "prompt": "q",
        "chosen": "x",
        "rejected": "x",
        "chosen_reasoning": "a",
        "rejected_reasoning": "b",
    },
    "other names": {
        "prompt": "q",
        "chosen": "x",
        "rejected": "x",
        "thinking_chosen": "a",
        "thinking_rejected": "b",
    },
    "named": {
        "prompt": "q",
        "chosen_response": "x",
        "rejected_response": "x",
        "chosen_reasoning_content": "a",
        "rejected_reasoning_content": "b",
    },
    "compared": {
        "prompt": "q",
        "response_a": "x",
        "response_b": "x",
        "reasoning_a": "a",
        "reasoning_b": "b",
        "winner": "a",
    },
}


@pytest.mark.parametrize("row", BESIDE.values(), ids=BESIDE)
def test_a_column_of_thoughts_per_reply(tmp_path: Path, row: dict[str, str]) -> None:
    write_lines(tmp_path / "rows.jsonl", [row])
    write_csv(tmp_path / "rows.csv", [row])
    for name in ("rows.jsonl", "rows.csv"):
        assert thoughts(tmp_path / name) == [[("x", "a"), ("x", "b")]]


def test_a_thought_of_one_side_alone(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": "x", "rejected": "y", "rejected_reasoning": "b"},
        {"prompt": "q", "chosen": "x", "rejected": "y", "rejected_reasoning": " "},
    ]
    write_lines(tmp_path / "rows.jsonl", rows)
    assert thoughts(tmp_path / "rows.jsonl") == [[("x", None), ("y", "b")], [("x", None), ("y", None)]]


def test_one_thought_next_to_several_replies_is_refused(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": ["x"], "rejected": ["y", "z"], "rejected_reasoning": "b"}
    write_lines(tmp_path / "rows.jsonl", [row])
    mapped = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    batch = read(tmp_path / "rows.jsonl", map=mapped | {"reasoning_rejected": "rejected_reasoning"})
    assert [each["reason"] for each in batch.quarantine.to_pylist()] == ["length_mismatch"]


@pytest.mark.parametrize("name", ["reasoning_content", "thinking", "thought"])
def test_rows_of_one_response_each(tmp_path: Path, name: str) -> None:
    helpful = {"correctness": 4, "coherence": 4, "complexity": 0, "verbosity": 0}
    for more in (helpful, {}):
        rows = [
            {"prompt": "q", "response": "x", name: thought, "helpfulness": rating, **more}
            for thought, rating in (("a", 4), ("b", 1))
        ]
        write_lines(tmp_path / "rows.jsonl", rows)
        assert thoughts(tmp_path / "rows.jsonl") == [[("x", "a"), ("x", "b")]]


def test_reasoning_next_to_a_rating_may_be_that_of_a_judge(tmp_path: Path) -> None:
    row = {"prompt": "q", "response": "x", "reasoning": "a"}
    path = tmp_path / "rows.jsonl"
    for more, thought in (({}, "a"), ({"label": True}, None), ({"score": 3}, None)):
        write_lines(path, [row | more])
        assert thoughts(path) == [[("x", thought)]]
        if more:
            assert thoughts(path, map={"reasoning": "reasoning"}) == [[("x", "a")]]


def test_a_list_of_thoughts_by_map(tmp_path: Path) -> None:
    row = {"prompt": "q", "completions": ["x", "x"], "traces": ["a", "b"]}
    write_lines(tmp_path / "rows.jsonl", [row])
    mapped = {"prompt": "prompt", "completions": "completions", "reasonings": "traces"}
    assert thoughts(tmp_path / "rows.jsonl", map=mapped) == [[("x", "a"), ("x", "b")]]
