"""Every layout of the table: its example is recognized as itself and becomes these sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.candidates import said

from pairkit.sources import SourceRecipe, open_source
from pairkit.sources.layouts.table import LAYOUTS

USER = [{"role": "user", "content": "Is 7 even?"}]
# Layout -> the completions of its only set: text, rank, score.
EXPECTED: dict[str, list[tuple[str, int | None, float | None]]] = {
    "openai_preference": [("No.", 1, None), ("Yes.", 2, None)],
    "helpsteer2": [("No.", None, 4.0), ("Yes.", None, 1.0)],
    "openassistant_trees": [("Yes.", 2, None), ("No.", 1, None)],
    "openassistant_messages": [("Yes.", 2, None), ("No.", 1, None)],
    "fine_grained_rlhf": [
        ("Yes.", None, 0.0),
        ("No.", None, 2.0),
        ("Maybe.", None, 1.0),
        ("No, odd.", None, 3.0),
    ],
    "verl_prompts": [],
    "pairs": [("No.", 1, None), ("Yes.", 2, None)],
    "sets": [("No.", None, 1.0), ("Yes.", None, 0.0)],
    "rated_responses": [("No.", None, 4.5), ("Yes.", None, 2.5)],
    "single": [("No.", None, 1.0)],
    "conversation": [("No.", None, None)],
    "prompts": [],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_example_is_recognized_and_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(LAYOUTS[name].example, encoding="utf-8")
    opened = open_source(SourceRecipe(name="files", path=str(path)))
    assert [reading.layout for reading in opened.readings.values()] == [name]
    (batch,) = opened.batches()
    assert batch.quarantine.to_pylist() == []
    # Trees are counted by their prompts.
    assert batch.counts["rows"] == (1 if LAYOUTS[name].expand else len(LAYOUTS[name].example.splitlines()))
    (row,) = batch.sets.to_pylist()
    assert said(row["prompt"]) == USER
    assert [brief(completion) for completion in row["completions"]] == EXPECTED[name]


def brief(completion: dict[str, Any]) -> tuple[str, int | None, float | None]:
    return completion["text"], completion["rank"], completion["score"]


def test_examples_are_json() -> None:
    for layout in LAYOUTS.values():
        assert all(isinstance(json.loads(line), dict) for line in layout.example.splitlines())
