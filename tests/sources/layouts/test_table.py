"""Every layout of the table: its example is recognized as itself and becomes these sets."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.candidates import said
from support.grids import grid
from support.layouts import read_path

from pairkit.sources import SourceRecipe, open_source
from pairkit.sources.layouts.table import LAYOUTS

USER = [{"role": "user", "content": "Is 7 even?"}]
PAIR = [("No.", 1, None), ("Yes.", 2, None)]
REVERSED = [("Yes.", 2, None), ("No.", 1, None)]
# Layout -> the completions of its only set: text, rank, score.
EXPECTED: dict[str, list[tuple[str, int | None, float | None]]] = {
    "openai_preference": PAIR,
    "ms_swift": PAIR,
    "dialogue_and_rejected": PAIR,
    "ms_swift_texts": PAIR,
    "ultrainteract": PAIR,
    "sharegpt_preference": PAIR,
    "reward_bench_2": [("No.", 1, None), ("Yes.", 2, None), ("Often.", 2, None)],
    "reward_bench": PAIR,
    "argilla": [("No.", None, 5.0), ("Yes.", None, 2.0)],
    "dialogue_pairs": PAIR,
    "object_pairs": PAIR,
    "pairs": PAIR,
    "spin": PAIR,
    "helpsteer3_edit_quality": PAIR,
    "stack_exchange_paired": PAIR,
    "autotrain": PAIR,
    "named_pairs": PAIR,
    "helpsteer3": [("No.", None, 3.0), ("Yes.", None, 0.0)],
    "helpsteer2_preference": [("Yes.", None, 0.0), ("No.", None, 2.0)],
    "pku_saferlhf": REVERSED,
    "chatbot_arena": REVERSED,
    "arena_55k": REVERSED,
    "shp": [("Yes.", 2, 2.0), ("No.", 1, 9.0)],
    "webgpt": [("Yes.", None, -0.5), ("No.", None, 0.5)],
    "alpaca_eval": [("Yes.", None, 0.0), ("No.", None, 1.0)],
    "alpaca_farm": [("Yes.", None, 0.0), ("No.", None, 1.0)],
    "pandalm": REVERSED,
    "preference_collection": [("Yes.", 2, 1.0), ("No.", 1, 5.0)],
    "label_studio": PAIR,
    "llmbar": REVERSED,
    "compared_dialogues": REVERSED,
    "compared": PAIR,
    "gemini_preference": [("No.", None, 1.0), ("Yes.", None, 0.0)],
    "ultrafeedback": [("No.", None, 5.0), ("Yes.", None, 2.0)],
    "nectar": PAIR,
    "stack_exchange": [("No.", None, 3.0), ("Yes.", None, 0.0)],
    "nemo_rl": PAIR,
    "summarize_from_feedback": REVERSED,
    "text_and_score": [("No.", None, 1.5), ("Yes.", None, 0.5)],
    "distilabel": [("Yes.", None, 1.0), ("No.", None, 5.0)],
    "llama_factory_ranking": [("No.", 1, None), ("Often.", 2, None), ("Yes.", 3, None)],
    "output_list": [("No.", None, None), ("Yes.", None, None), ("Often.", None, None)],
    "bare_pairs": PAIR,
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
    "simpo_samples": [("Yes.", None, 0.1), ("No.", None, 0.3), ("Often.", None, 0.2)],
    "sets": [("No.", None, 1.0), ("Yes.", None, 0.0)],
    "rated_responses": [("No.", None, 4.5), ("Yes.", None, 2.5)],
    "reasoned": [("No.", None, None)],
    "single": [("No.", None, 1.0)],
    "conversation": [("No.", None, None)],
    "prompts": [],
}
# Layouts whose rows name the models of "Yes." and "No.".
MODELS = {
    "object_pairs": ("m-small", "m-big"),
    "reward_bench": ("m-small", "m-big"),
    "argilla": ("m-small", "m-big"),
    "chatbot_arena": ("m-small", "m-big"),
    "arena_55k": ("m-small", "m-big"),
    "alpaca_eval": ("m-small", "m-big"),
    "ultrafeedback": ("m-small", "m-big"),
    "nectar": ("m-small", "m-big"),
    "summarize_from_feedback": ("sup1", "sup2"),
    "distilabel": ("m-small", "m-big"),
}


def rows_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in LAYOUTS[name].example.splitlines()]


def read(folder: Path, rows: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Return the layout that rows are read as, and the one set that they become."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    opened = open_source(SourceRecipe(name="files", path=str(path)))
    (reading,) = opened.readings.values()
    (batch,) = opened.batches()
    assert batch.quarantine.to_pylist() == []
    # Trees are counted by their prompts.
    assert batch.counts["rows"] == (1 if LAYOUTS[reading.layout].expand else len(rows))
    (row,) = batch.sets.to_pylist()
    return reading.layout, row


def brief(completion: dict[str, Any]) -> tuple[str, int | None, float | None]:
    return completion["text"], completion["rank"], completion["score"]


@pytest.mark.parametrize("name", LAYOUTS)
def test_an_example_is_recognized_and_read(name: str, tmp_path: Path) -> None:
    layout, row = read(tmp_path, rows_of(name))
    assert layout == name
    assert said(row["prompt"]) == USER
    assert [brief(completion) for completion in row["completions"]] == EXPECTED[name]
    models = {completion["text"]: completion["model"] for completion in row["completions"]}
    assert (models.get("Yes."), models.get("No.")) == MODELS.get(name, (None, None))


@pytest.mark.default(
    "prompts", "conversation", "ms_swift", "dialogue_pairs", "openassistant_trees",
    "summarize_from_feedback", "argilla", "nectar", "ultrafeedback", "helpsteer3", "arena_55k", "pairs",
    "sets", "webgpt", "label_studio", "reward_bench"
)  # fmt: skip
@pytest.mark.parametrize("name", LAYOUTS)
def test_the_order_of_columns_and_other_columns_change_nothing(name: str, tmp_path: Path) -> None:
    order = random.Random(name)
    more = {"note": "n", "row_id": 3, "split": "train", "tags": ["a"], "meta": {"text": "x", "label": 1}}
    rows = []
    for row in rows_of(name):
        columns = list({**row, **more}.items())
        order.shuffle(columns)
        rows.append(dict(columns))
    layout, found = read(tmp_path, rows)
    assert layout == name
    assert said(found["prompt"]) == USER
    assert [brief(completion) for completion in found["completions"]] == EXPECTED[name]
    by_completion = name in ("helpsteer2", "rated_responses", "openassistant_messages")
    metadata = found["completions"][0]["metadata"] if by_completion else found["metadata"]
    assert json.loads(metadata).items() >= {"note": "n", "row_id": 3}.items()


def test_every_layout_has_an_origin_and_a_test() -> None:
    assert set(EXPECTED) == set(LAYOUTS)
    assert all(layout.origin and layout.summary for layout in LAYOUTS.values())


# Replies may be lists of texts, so that such a cell stays a text; what works on whole rows needs their types.
NOT_IN_CSV = {
    "llama_factory_ranking",
    "openassistant_trees",
    "output_list",
    "reward_bench_2",
    "text_and_score",
}
IN_CSV = [name for name in LAYOUTS if name not in NOT_IN_CSV]


@pytest.mark.default(
    "prompts-str", "conversation-dumps", "openassistant_messages-dumps", "sets-dumps", "single-str",
    "distilabel-str", "ms_swift-str", "compared-dumps", "nectar-str", "ultrafeedback-dumps", "argilla-str",
    "label_studio-str", "nemo_rl-str", "webgpt-dumps", "fine_grained_rlhf-str", "alpaca_farm-dumps"
)  # fmt: skip
@pytest.mark.parametrize(
    ("name", "write"),
    # How a cell is parsed does not depend on the layout: each by turns.
    grid(lambda name, write: write is (json.dumps, str)[IN_CSV.index(name) % 2], IN_CSV, [json.dumps, str]),
)
def test_a_csv_with_nested_cells_is_read_as_the_same(
    name: str, write: Callable[[Any], str], tmp_path: Path
) -> None:
    rows = rows_of(name)
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = list(dict.fromkeys(column for row in rows for column in row))
        writer.writerow(columns)
        for row in rows:
            cells = (row.get(column, "") for column in columns)
            writer.writerow([write(cell) if isinstance(cell, list | dict) else cell for cell in cells])
    found = read_path(path)
    assert found.refused == []
    assert found.layout == name
    (prompt,) = found.prompts()
    assert prompt == [("user", "Is 7 even?")]
    assert found.brief() == [EXPECTED[name]]
