"""The form of an answer: sent to servers that enforce it, and left out for those that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from support.loopback import chat_server, recipe

from pairkit.engines.base import Call, Request, Sampling, Structure
from pairkit.engines.cache import call_key
from pairkit.engines.openai import chat_api
from pairkit.engines.openai.dialect import FORM, PLAIN, Dialect, lesson
from pairkit.engines.openai.errors import server_error
from pairkit.engines.recipe import EngineRecipe
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import BuildRecipe

STRUCTURE = Structure("verdict", '{"type": "object"}', "Write JSON.")
PROMPT = [{"role": "system", "content": "You judge."}, {"role": "user", "content": "Which?"}]
REQUEST = Request(PROMPT, (Sampling(0.0, 1.0, 1, 8),), structure=STRUCTURE)
RECIPE = EngineRecipe(engine="openai", model="m", base_url="http://localhost/v1")
WITHOUT = Dialect(removed=frozenset({FORM}))


def test_the_form_is_sent_with_its_instruction() -> None:
    body = chat_api.body(RECIPE, REQUEST)
    assert body[FORM] == {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "strict": True, "schema": {"type": "object"}},
    }
    assert [message["content"] for message in body["messages"]] == ["You judge.", "Which?\n\nWrite JSON."]
    assert PROMPT[1]["content"] == "Which?"


def test_without_an_enforced_form_nothing_of_it_is_sent() -> None:
    plain = chat_api.body(RECIPE, Request(PROMPT, REQUEST.samplings))
    assert FORM not in plain
    assert chat_api.body(RECIPE, REQUEST, WITHOUT) == plain
    own = EngineRecipe(**{**RECIPE.model_dump(exclude_unset=True), "extra_body": {FORM: {"type": "text"}}})
    assert chat_api.body(own, REQUEST) == plain | {FORM: {"type": "text"}}


def test_a_call_with_a_form_is_another_call() -> None:
    keys = {
        call_key({}, Call((Request(PROMPT, REQUEST.samplings, structure=each),), (0,)))
        for each in (None, STRUCTURE, STRUCTURE._replace(schema="{}"), STRUCTURE._replace(instruction=""))
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    "error",
    [
        # OpenAI's for older models, and for a keyword of a schema.
        {"message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this "
                    "model.", "param": None, "type": "invalid_request_error"},
        {"message": "Invalid schema for response_format 'verdict': 'minItems' is not permitted.",
         "param": "response_format"},
        {"message": "This response_format type is unavailable now"},  # DeepSeek's
        {"message": "json_schema is not supported by this model"},
        {"message": "unknown fields ['response_format']"},
        {"message": "Failed to compile the grammar"},
    ],
)  # fmt: skip
def test_a_server_that_refuses_a_form_is_asked_without_it(error: dict[str, Any]) -> None:
    refused = server_error(400, json.dumps({"error": error}).encode())
    assert lesson(refused, chat_api.body(RECIPE, REQUEST), {}) == WITHOUT
    plain = chat_api.body(RECIPE, REQUEST, WITHOUT)
    assert lesson(refused, plain, {}) in (None, PLAIN)
    own = {FORM: {"type": "json_object"}}
    assert lesson(refused, plain | own, own) is None
    assert "not enforced" in WITHOUT.described()[0]


def test_other_refusals_are_not_about_the_form() -> None:
    body = chat_api.body(RECIPE, REQUEST)
    for message in ("max_tokens is too large", "Unsupported parameter: 'seed'", "The model does not exist"):
        refused = server_error(400, json.dumps({"error": {"message": message}}).encode())
        learned = lesson(refused, body, {})
        assert learned is None or FORM not in learned.removed


def judged(url: str, judge: str, **rank: Any) -> BuildRecipe:
    calls = {"attempts": 3, "timeout": 20}
    made = recipe(url, 12, calls=calls, generate={"samples": [{"n": 2}]})
    block = {"ranker": "judge", "engine": "openai", "model": "tiny", "base_url": judge, **rank}
    return BuildRecipe.model_validate(made.model_dump(exclude_unset=True) | {"rank": block})


def test_judges_decide_the_same_with_an_enforced_form_and_without(tmp_path: Path) -> None:
    ranks = {}
    with (
        chat_server(tmp_path) as server,
        chat_server(tmp_path, judge=True, schemas=True) as able,
        chat_server(tmp_path, judge=True) as unable,
    ):
        for name, where, asks in (
            ("plain", able, False),
            ("enforced", able, True),
            ("fallback", unable, True),
        ):
            out = tmp_path / name
            made = judged(server.url, where.url, **({"structured": True} if asks else {}))
            counts = build(made, out, cache=tmp_path / f"{name}.sqlite")["counts"]["rank"]
            rows = ds.dataset(sorted((out / "data").glob("*.parquet"))).to_table().to_pylist()
            ranks[name] = {row["set_id"]: [one["rank"] for one in row["completions"]] for row in rows}
            verdicts = ds.dataset(sorted((out / "verdicts").glob("*.parquet"))).to_table().to_pylist()
            # An answer that was cut off is not read.
            whole = [row["answer"] for row in verdicts if row["finish_reason"] == "stop"]
            in_form = sum(answer.startswith("{") for answer in whole)
            assert in_form == counts.get("judge_structured", 0) == len(whole) * (name == "enforced")
        assert able.stats()["violations"] == []
        # One refusal shows what the server takes.
        assert unable.stats()["violations"] == ["unknown fields ['response_format']"]
    assert ranks["plain"] == ranks["enforced"] == ranks["fallback"]
