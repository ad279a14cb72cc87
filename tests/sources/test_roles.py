"""Speakers are read by every name that datasets give them, or by those that a map gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.brief_sets import brief_rows

from pairkit.errors import RecipeError
from pairkit.sources import SourceRecipe, open_source

SPEAKERS = [
    ("Human", "Assistant"),
    ("USER", "GPT"),
    ("human:", "bot"),
    (" prompter ", "chatgpt"),
    ("<|user|>", "<|assistant|>"),
    ("user", "model"),
    ("human", "AI"),
    ("User", "ChatBot"),
]


@pytest.mark.default("USER-GPT", "Human-Assistant", "<|user|>-<|assistant|>")
@pytest.mark.parametrize(("asks", "answers"), SPEAKERS)
def test_names_of_speakers(tmp_path: Path, asks: str, answers: str) -> None:
    turns = [{"role": asks, "content": "q"}, {"role": answers, "content": "a"}]
    rows = [
        {"messages": turns},
        {"conversations": [{"from": each["role"], "value": each["content"]} for each in turns]},
        {"conversation": [{"speaker": each["role"], "text": each["content"]} for each in turns]},
        {"messages": [{"type": each["role"], "content": each["content"]} for each in turns]},
        {"messages": [{"role": each["role"], "parts": [{"text": each["content"]}]} for each in turns]},
    ]
    for row in rows:
        read = brief_rows(tmp_path, row)
        assert (read.prompts, read.texts, read.refused) == ([[("user", "q")]], [["a"]], [])


@pytest.mark.parametrize("name", ["System", "developer", "SYSTEM_PROMPT"])
def test_names_of_the_system(tmp_path: Path, name: str) -> None:
    turns = [{"role": name, "content": "s"}, {"role": "user", "content": "q"}]
    assert brief_rows(tmp_path, {"prompt": turns}).prompts == [[("system", "s"), ("user", "q")]]


@pytest.mark.parametrize(
    "name", ["Tool", "function", "observation", "tool-response", "Function Result", "ipython"]
)
def test_names_of_tools(tmp_path: Path, name: str) -> None:
    call = {"role": "assistant", "tool_calls": [{"name": "f", "arguments": {}}]}
    turns = [{"role": "user", "content": "q"}, call, {"role": name, "content": "4"}]
    assert brief_rows(tmp_path, {"prompt": turns}).prompts[0][-1] == ("tool", "4")


def test_two_ways_of_writing_messages_in_one_column(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ]
    assert brief_rows(tmp_path, *rows).texts == [["a"], ["a"]]


ALICE = [{"role": "Alice", "content": "q"}, {"role": "gpt-4", "content": "a"}]


@pytest.mark.parametrize(
    ("field", "reply"),
    [("messages", None), ("chosen", "rejected"), ("completions", None)],
)
def test_a_map_names_other_speakers(tmp_path: Path, field: str, reply: str | None) -> None:
    roles = {"alice": "user", "GPT-4": "assistant"}
    value: Any = [ALICE, ALICE] if field == "completions" else ALICE
    row = {field: value} | ({reply: value} if reply else {})
    read = brief_rows(tmp_path, row, map={"roles": roles})
    assert (read.prompts, read.refused) == ([[("user", "q")]], [])
    assert set(read.texts[0]) == {"a"}


def test_unknown_speakers_are_named_with_the_map_that_reads_them(tmp_path: Path) -> None:
    rows = [
        {"messages": ALICE},
        {"messages": [{"role": "user", "content": "q"}, ALICE[1]]},
        {"messages": [{"role": "x} {y: " + "z" * 100, "content": "q"}]},
    ]
    details = [detail for _, detail in brief_rows(tmp_path, *rows).refused]
    assert details[0].startswith(
        "'messages.role': is 'Alice', which is not a known role; state which one it is, as in "
        "--map 'roles={Alice: user}'"
    )
    assert "--map 'roles={gpt-4: user}'" in details[1]
    assert "--map 'roles={NAME: user}'" in details[2]
    assert len(details[2]) < 250


def test_a_map_may_turn_roles_around(tmp_path: Path) -> None:
    turns = [{"role": "assistant", "content": "q"}, {"role": "user", "content": "a"}]
    read = brief_rows(
        tmp_path, {"messages": turns}, map={"roles": {"user": "assistant", "assistant": "user"}}
    )
    assert (read.prompts, read.texts) == ([[("user", "q")]], [["a"]])


def test_a_role_that_is_none_is_refused(tmp_path: Path) -> None:
    recipe = SourceRecipe(name="files", path=str(tmp_path), map={"roles": {"Alice": "human"}})
    with pytest.raises(
        RecipeError, match="map roles: Alice must be one of system, user, assistant, tool, got 'human'"
    ):
        open_source(recipe)
