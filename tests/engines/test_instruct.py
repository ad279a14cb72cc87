"""Instructions around prompts: where the texts go, what is drawn, and what is recorded."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from support.loopback import chat_server, recipe

from pairkit.engines.generate import GenerateRecipe
from pairkit.engines.instruct import Instruction, draw, instructed
from pairkit.errors import RecipeError
from pairkit.pipeline.build import build
from pairkit.recipes import validate

USER = {"role": "user", "content": "2+2?"}
BOTH = (
    Instruction(name="honesty", system=("Be honest.", "Admit doubt."), weight=3),
    Instruction(name="steps", after="\nThink step by step."),
)


def test_texts_go_around_the_last_turn_of_the_user() -> None:
    earlier = [{"role": "user", "content": "1?"}, {"role": "assistant", "content": "1."}]
    told = instructed([*earlier, USER], {"name": "n", "system": "S", "before": "B ", "after": " A"})
    assert told == [
        {"role": "system", "content": "S"}, *earlier, {"role": "user", "content": "B 2+2? A"}
    ]  # fmt: skip
    assert USER["content"] == "2+2?"


def test_a_prompts_own_system_message_stays_first() -> None:
    told = instructed([{"role": "system", "content": "Own."}, USER], {"name": "n", "system": "S"})
    assert told[0] == {"role": "system", "content": "Own.\n\nS"}
    assert len(told) == 2


def test_a_tools_turn_is_not_changed() -> None:
    called = {"role": "tool", "content": "4"}
    assert instructed([USER, called], {"name": "n", "after": "!"})[-1] == called


def test_what_is_drawn_is_a_function_of_seed_set_and_model() -> None:
    drawn = [draw(BOTH, 0, f"{number:016x}", "m") for number in range(400)]
    assert drawn == [draw(BOTH, 0, f"{number:016x}", "m") for number in range(400)]
    assert drawn != [draw(BOTH, 1, f"{number:016x}", "m") for number in range(400)]
    assert drawn != [draw(BOTH, 0, f"{number:016x}", "other") for number in range(400)]
    names = Counter(each["name"] for each in drawn)
    assert names["honesty"] == pytest.approx(300, abs=35)
    systems = Counter(each["system"] for each in drawn if "system" in each)
    assert systems["Be honest."] == pytest.approx(systems["Admit doubt."], abs=60)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([{"name": "a"}, {"name": "a"}], "generate.instruct': 'a' occurs twice"),
        ({"name": "a", "system": []}, "instruct 'a': system is empty"),
        ({"name": "a", "system": ["x", " "]}, "instruct 'a': system is empty"),
        ({"name": "a", "weight": 0}, "weight': Input should be greater than 0"),
        ({"system": "x"}, "'instruct.0.name' is required|instruct.name"),
        ({"name": "a", "sytem": "x"}, "unknown recipe key"),
    ],
)
def test_instructions_that_are_refused(value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        validate(GenerateRecipe, {"model": "m", "instruct": value})


def test_a_recipe_without_instructions_is_written_as_before() -> None:
    assert "instruct" not in GenerateRecipe(model="m").model_dump()
    assert GenerateRecipe(model="m", instruct=BOTH).model_dump()["instruct"][1]["name"] == "steps"


def test_the_model_is_told_and_the_set_keeps_its_prompt(tmp_path: Path) -> None:
    told = {"name": "brief", "system": "Be brief.", "after": " Answer with a number."}
    with chat_server(tmp_path) as server:
        made = recipe(server.url, 5, generate={"instruct": told}, rank={"ranker": "annotations"})
        build(made.model_copy(update={"test_fraction": 0.0}), tmp_path / "out")
        messages = server.stats()["last"]["messages"]
    assert messages[0] == {"role": "system", "content": "Be brief."}
    assert messages[1]["content"].endswith("= Answer with a number.")
    sets = ds.dataset(tmp_path / "out" / "data").to_table().to_pylist()
    for row in sets:
        assert [message["role"] for message in row["prompt"]] == ["user"]
        assert row["prompt"][0]["content"].endswith("=")
        for one in row["completions"]:
            assert json.loads(one["metadata"])["instruct"] == told
