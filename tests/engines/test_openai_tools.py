"""Tools, tool turns, thoughts and arguments of the template in OpenAI's form, against the strict server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from support.loopback import Loopback, chat_server

from pairkit import schema
from pairkit.engines import open_engine
from pairkit.engines.asking import complete
from pairkit.engines.base import Completion, Problem, Request, Result, Sampling
from pairkit.engines.generate import generate
from pairkit.engines.mixes import Samples
from pairkit.engines.openai import chat_api
from pairkit.engines.recipe import EngineRecipe
from pairkit.errors import RecipeError
from pairkit.pipeline.build import build
from pairkit.pipeline.recipe import load
from pairkit.recipes import parse_overrides, validate

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]
CALL = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"query": "2+2"}'}}
TURNS: list[dict[str, Any]] = [
    {"role": "system", "content": "Use the tool."},
    {"role": "user", "content": "2+2="},
    {"role": "assistant", "content": "", "tool_calls": json.dumps([CALL]), "reasoning_content": "Hm."},
    {"role": "tool", "content": "4", "tool_call_id": "c1", "name": "find"},
]
ONE = (Sampling(1.0, 1.0, 5, 32),)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with chat_server(tmp_path_factory.mktemp("server")) as running:
        yield running
        assert running.stats()["violations"] == []


def ask(recipe: EngineRecipe, *requests: Request) -> list[Result]:
    engine = open_engine(recipe)
    try:
        return complete(engine, requests)
    finally:
        engine.close()


def only(results: list[Result]) -> Completion:
    ((completion,),) = results
    assert isinstance(completion, Completion)
    return completion


def test_tool_turns_and_tools_are_sent_as_objects(server: Loopback) -> None:
    completion = only(ask(server.recipe(), Request(TURNS, ONE, tools=json.dumps(TOOLS))))
    body = server.stats()["last"]
    assert body["tools"] == TOOLS
    assert body["messages"][2] == {**TURNS[2], "tool_calls": [CALL]}
    assert [body["messages"][turn] for turn in (0, 1, 3)] == [TURNS[turn] for turn in (0, 1, 3)]
    assert "chat_template_kwargs" not in body
    function = {"arguments": '{"query": "4"}', "name": "find"}
    assert json.loads(completion.tool_calls or "") == [
        {"id": "call_1", "type": "function", "function": function}
    ]
    assert (completion.text, completion.finish_reason) == ("", "stop")


def test_arguments_of_a_call_may_be_an_object_in_the_data(server: Loopback) -> None:
    call = {**CALL, "function": {"name": "find", "arguments": {"query": "ä"}}}
    turns = [TURNS[1], {**TURNS[2], "tool_calls": json.dumps([call])}, TURNS[3]]
    ask(server.recipe(), Request(turns, ONE))
    (sent,) = server.stats()["last"]["messages"][1]["tool_calls"]
    assert json.loads(sent["function"]["arguments"]) == {"query": "ä"}


def test_arguments_of_the_template_are_sent_and_a_set_overrides_them(server: Loopback) -> None:
    recipe = server.recipe(template={"kwargs": {"enable_thinking": True, "depth": 2}})
    thinking = only(ask(recipe, Request(TURNS[1:2], ONE)))
    assert server.stats()["last"]["chat_template_kwargs"] == {"enable_thinking": True, "depth": 2}
    assert thinking.reasoning_content == "Thought 0."
    assert "Thought" not in thinking.text
    plain = only(ask(recipe, Request(TURNS[1:2], ONE, template_kwargs='{"enable_thinking": false}')))
    assert server.stats()["last"]["chat_template_kwargs"] == {"enable_thinking": False, "depth": 2}
    assert plain.reasoning_content is None


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("keep", TURNS[:2]),
        ("drop", TURNS[1:2]),
        ("fold", [{"role": "user", "content": "Use the tool.\n\n2+2="}]),
    ],
)
def test_system_turns_are_kept_folded_or_dropped(server: Loopback, system: str, expected: object) -> None:
    ask(server.recipe(template={"system": system}), Request(TURNS[:2], ONE))
    assert server.stats()["last"]["messages"] == expected


@pytest.mark.parametrize(
    ("fields", "detail"),
    [
        ({"tools": "{}"}, "tools must be a JSON list"),
        ({"template_kwargs": "[1]"}, "chat_template_kwargs must be a JSON object"),
        ({"prompt": [{**TURNS[2], "tool_calls": "find"}, TURNS[1]]}, "tool_calls must be a JSON list"),
    ],
)
def test_what_is_not_json_costs_its_set_alone(server: Loopback, fields: dict[str, Any], detail: str) -> None:
    asked = [Request(**{"prompt": TURNS[1:2], "samplings": ONE} | given) for given in (fields, {})]
    problem, other = ask(server.recipe(), *asked)
    assert isinstance(problem, Problem)
    assert problem.reason == "template_refused"
    assert detail in problem.detail
    assert not isinstance(other, Problem)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"template": "none"}, "'template': none is for engines transformers and vllm"),
        ({"template": {"file": "a.jinja"}}, r"'template.file' cannot be sent to a server: start the server"),
        ({"template": {"prefill": "<think>"}}, r"'template.prefill' cannot be sent to a server: use engine"),
        ({"extra_body": {"chat_template_kwargs": {}}}, "chat_template_kwargs': set template.kwargs instead"),
    ],
)
def test_what_a_server_does_not_take_is_refused(content: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        validate(EngineRecipe, {"engine": "openai", "model": "m", **content})


BODY = chat_api.body(EngineRecipe(engine="openai", model="m"), Request(TURNS[1:2], ONE))


def choice(reason: str = "stop", **message: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, "finish_reason": reason}]}).encode()


@pytest.mark.parametrize(
    ("content", "text", "reason", "thought", "calls"),
    [
        (choice(content="a", reasoning_content="b"), "a", "stop", "b", None),
        (choice(content="a", reasoning="b"), "a", "stop", "b", None),
        (choice("length", content=None, reasoning_content="b\ud800"), "", "length", "b", None),
        (choice("tool_calls", content="Look.", tool_calls=[CALL]), "Look.", "stop", None, [CALL]),
        (
            choice("tool_calls", content=None, tool_calls=[{**CALL, "index": 0}] * 2),
            "",
            "stop",
            None,
            [CALL] * 2,
        ),
        (choice(content="a", reasoning_content="", tool_calls=[]), "a", "stop", None, None),
        (choice(content="a", reasoning={"x": 1}, tool_calls=None), "a", "stop", None, None),
    ],
)
def test_thoughts_and_calls_of_an_answer(
    content: bytes, text: str, reason: str, thought: str | None, calls: list[object] | None
) -> None:
    parsed = chat_api.parse(content, BODY)
    assert isinstance(parsed, chat_api.Parsed)
    (one,) = parsed.completions
    assert (one.text, one.finish_reason, one.reasoning_content) == (text, reason, thought)
    assert (None if one.tool_calls is None else json.loads(one.tool_calls)) == calls


@pytest.mark.parametrize(
    "content",
    [
        choice(content=None),
        choice(content=None, tool_calls=[]),
        choice("tool_calls", content=None, tool_calls=["find"]),
        choice("tool_calls", content=None, tool_calls=[{"id": "x", "type": "function"}]),
        choice("tool_calls", content=None, tool_calls=[{"function": {"name": "find", "arguments": None}}]),
        choice("tool_calls", content=None, tool_calls={"name": "find"}),
    ],
)
def test_an_incomplete_call_is_a_fault(content: bytes) -> None:
    assert isinstance(chat_api.parse(content, BODY), chat_api.Fault)


def test_the_recipe_without_template_has_the_identity_of_older_calls(server: Loopback) -> None:
    plain = open_engine(server.recipe())
    thinking = open_engine(server.recipe(template={"kwargs": {"enable_thinking": True}}))
    try:
        assert plain.identity == {"engine": "openai", "model": "tiny", "extra_body": {}}
        assert thinking.identity == {**plain.identity, "template": {"kwargs": {"enable_thinking": True}}}
    finally:
        plain.close()
        thinking.close()


def test_sets_with_tools_get_calls_as_completions(server: Loopback) -> None:
    row = {"source": "s", "prompt": TURNS, "completions": [], "metadata": "{}", "tools": json.dumps(TOOLS)}
    plain = {**row, "tools": None, "chat_template_kwargs": '{"enable_thinking": true}'}
    table = pa.Table.from_pylist([row, plain], schema=schema.UNIDENTIFIED)
    engine = open_engine(server.recipe())
    done = generate(schema.identify(table, {}), engine, [Samples(n=2)], max_tokens=9, seed=0)
    engine.close()
    called, spoken = ([*each["completions"]] for each in done.sets.to_pylist())
    assert [one["text"] for one in called] == ["", ""]
    assert {json.loads(one["tool_calls"])[0]["function"]["name"] for one in called} == {"find"}
    assert [one["tool_calls"] for one in spoken] == [None, None]
    assert [one["reasoning_content"] for one in spoken] == ["Thought 0.", "Thought 1."]
    assert done.counts["empty"] == sum(not one["text"].strip() for one in spoken)


def test_a_build_takes_template_arguments_from_the_command_line(server: Loopback, tmp_path: Path) -> None:
    content = {
        "source": {"name": "arithmetic", "limit": 6},
        "generate": {"engine": "openai", "model": "tiny", "base_url": server.url},
        "mine": {"require_choice": False},
        "test_fraction": 0,
    }
    overrides = parse_overrides(["generate.template.kwargs.enable_thinking=true"])
    manifest = build(load(None, content, overrides), tmp_path / "out")
    assert manifest["recipe"]["generate"]["template"]["kwargs"] == {"enable_thinking": True}
    rows = ds.dataset(sorted((tmp_path / "out" / "data").glob("*.parquet"))).to_table().to_pylist()
    assert {one["reasoning_content"] for row in rows for one in row["completions"]} == {"Thought 0."}
