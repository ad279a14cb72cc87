"""Files of five questions whose values are written in unusual ways; each has one right reading."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.brief_sets import brief

GOOD = ["Eight.", "Mercury.", "Lisbon.", "No, 51 is 3 times 17.", "Carbon dioxide."]
BAD = ["Six, like an ant.", "Iron.", "Porto, I guess?", "Yes, it is prime.", "Helium."]
QUESTION = "How many legs has a spider?"


@pytest.mark.parametrize("name", ["messages-as-json-text", "capitalised-roles", "empty-tools", "text-parts"])
def test_pairs(real_data: Path, name: str) -> None:
    read = brief(real_data / "field" / f"{name}.jsonl")
    assert read.prompts[0] == [("user", QUESTION)]
    assert (read.texts, read.refused) == ([list(pair) for pair in zip(GOOD, BAD, strict=True)], [])
    assert all([each["rank"] for each in row["completions"]] == [1, 2] for row in read.sets)
    assert all(row["tools"] is None and row["metadata"] == "{}" for row in read.sets)


def test_thoughts(real_data: Path) -> None:
    read = brief(real_data / "field" / "reasoning-in-messages.jsonl")
    thoughts = [[each["reasoning_content"] for each in row["completions"]] for row in read.sets]
    assert thoughts == [
        [f"Short thought on {good}", f"A wrong thought on {bad}"] for good, bad in zip(GOOD, BAD, strict=True)
    ]
    assert read.texts[0] == ["Eight.", "Eight."]


def test_labels(real_data: Path) -> None:
    read = brief(real_data / "field" / "kto-labels-as-words.jsonl")
    assert [row["completions"][0]["score"] for row in read.sets] == [1.0, 0.0, 1.0, 1.0, 1.0]


def test_history(real_data: Path) -> None:
    mapped = {
        "prompt": "instruction+input",
        "completions": "output",
        "rank_by_order": True,
        "history": "history",
    }
    read = brief(real_data / "field" / "ranked-output-list.json", map=mapped)
    turns = [("user", "Hello, can you quiz me?"), ("assistant", "Sure, ask away.")]
    assert read.prompts[0] == [*turns, ("user", QUESTION)]
    assert [len(prompt) for prompt in read.prompts] == [3, 1, 3, 1, 3]
