"""A history and a system prompt are read next to every layout and map, whatever they are called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.grids import grid
from support.layouts import read_rows

from pairkit.errors import InputError
from pairkit.sources import SourceRecipe, open_source
from pairkit.sources.layouts.table import LAYOUTS

PAIR = {"prompt": "q", "chosen": "good", "rejected": "bad"}
TURNS = [["a", "b"]]
BEFORE = [("system", "S"), ("user", "a"), ("assistant", "b")]
# Here the history is the prompt; trees become other rows.
OWN = [name for name, layout in LAYOUTS.items() if name == "shp" or layout.expand is not None]


@pytest.mark.default(
    "conversation", "prompts", "dialogue_pairs", "summarize_from_feedback", "ms_swift", "ultrafeedback",
    "sets", "single", "object_pairs", "distilabel", "nectar", "pairs", "argilla", "compared",
    "label_studio", "chatbot_arena", "helpsteer3"
)  # fmt: skip
@pytest.mark.parametrize("name", [name for name in LAYOUTS if name not in OWN])
def test_every_layout_has_a_history_and_a_system_prompt(tmp_path: Path, name: str) -> None:
    rows = [json.loads(line) for line in LAYOUTS[name].example.splitlines()]
    more = {"history": TURNS, "system": "S"}
    if name == "output_list":  # with a history it is LLaMA-Factory's
        more = {"chat_history": TURNS, "system": "S"}
    found = read_rows(tmp_path, [{**row, **more} for row in rows])
    assert found.layout == name
    assert found.refused == []
    assert found.prompts() == [[*BEFORE, ("user", "Is 7 even?")]]


HISTORIES: list[dict[str, Any]] = [
    {"chat_history": TURNS},
    {"conversation_history": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    {"previous_turns": json.dumps(TURNS)},
    {"context": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    {"Chat History": [{"user": "a", "assistant": "b"}]},
]
SYSTEMS = ["system", "system_prompt", "system_message", "System Message"]


@pytest.mark.parametrize(
    ("row", "system", "mapped"),
    grid(
        lambda row, system, _: SYSTEMS.index(system) == HISTORIES.index(row) % 4,
        HISTORIES,
        SYSTEMS,
        [{}, {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}],
    ),
)
def test_a_history_has_many_names(
    tmp_path: Path, row: dict[str, Any], system: str, mapped: dict[str, str]
) -> None:
    found = read_rows(tmp_path, [{**PAIR, **row, system: "S"}], **mapped)
    assert found.refused == []
    assert found.prompts() == [[*BEFORE, ("user", "q")]]


def test_what_is_added_to_a_map_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**PAIR, "history": TURNS, "system": "S"}), encoding="utf-8")
    mapped: dict[str, Any] = {name: name for name in PAIR}
    (reading,) = open_source(SourceRecipe(name="files", path=str(path), map=mapped)).readings.values()
    assert reading.summary.endswith("; system = system, history = history")
    assert reading.unread == {}


@pytest.mark.parametrize("row", [{"previous_turns": 3}, {"context": "some text"}])
def test_a_count_and_a_text_are_no_history(tmp_path: Path, row: dict[str, Any]) -> None:
    found = read_rows(tmp_path, [{**PAIR, **row}])
    assert found.prompts() == [[("user", "q")]]
    assert json.loads(found.sets[0]["metadata"]) == row


def test_two_histories_are_refused(tmp_path: Path) -> None:
    rows = [{**PAIR, "chat_history": TURNS}, {**PAIR, "conversation_history": TURNS}]
    with pytest.raises(
        InputError, match=r"chat_history and conversation_history .*--map history=chat_history"
    ):
        read_rows(tmp_path, rows)
    found = read_rows(tmp_path, rows, history="chat_history")
    assert [len(prompt) for prompt in found.prompts()] == [3, 1]


def test_a_second_column_has_the_system_prompts_that_the_first_lacks(tmp_path: Path) -> None:
    systems = [("S1", "S2"), (None, "S2"), ("", "S2"), ("S1", None)]
    rows = [{**PAIR, "system": first, "system_prompt": second} for first, second in systems]
    assert [prompt[0][1] for prompt in read_rows(tmp_path, rows).prompts()] == ["S1", "S2", "S2", "S1"]


def test_a_map_may_leave_both_out(tmp_path: Path) -> None:
    rows = [{**PAIR, "history": TURNS, "system": "S"}]
    assert read_rows(tmp_path, rows, history='""', system='""').prompts() == [[("user", "q")]]


@pytest.mark.default(
    "replies0-row1-i",
    "replies3-row0-i\\n\\nc",
    "replies0-row3-i\\n\\nq",
    "replies1-row2-q\\n\\nc",
    "replies2-row4-i\\n\\nc",
    "replies3-row5-q",
)
@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"instruction": "i", "context": "c"}, "i\n\nc"),
        ({"instruction": "i", "context": ""}, "i"),
        ({"question": "q", "context": "c"}, "q\n\nc"),
        ({"instruction": "i", "question": "q"}, "i\n\nq"),
        ({"instruction": "i", "input": "c"}, "i\n\nc"),
        ({"question": "q", "context": {"passages": ["c"]}}, "q"),
    ],
)
@pytest.mark.parametrize(
    "replies",
    [
        {"response": "x"},
        {"chosen": "x", "rejected": "y"},
        {"output_1": "x", "output_2": "y", "label": 2},
        {"responses": ["x", "y"], "scores": [1, 2]},
    ],
)
def test_a_prompt_may_have_two_parts(
    tmp_path: Path, row: dict[str, Any], prompt: str, replies: dict[str, Any]
) -> None:
    found = read_rows(tmp_path, [{**row, **replies}])
    assert found.refused == []
    assert found.prompts() == [[("user", prompt)]]


def test_a_prompt_of_its_own_is_read_next_to_outputs_and_a_label(tmp_path: Path) -> None:
    row = {"prompt": "q", "input": "i", "output_1": "x", "output_2": "y", "label": 2}
    found = read_rows(tmp_path, [row])
    assert found.prompts() == [[("user", "q")]]
    assert json.loads(found.sets[0]["metadata"])["input"] == "i"
