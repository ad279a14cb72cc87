"""A server may answer anything: it ends in completions, an error of the server or another try."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pairkit.engines.openai import chat_api
from pairkit.engines.openai.chat_api import Fault, Parsed
from pairkit.engines.openai.dialect import Dialect, lesson
from pairkit.engines.openai.errors import ServerError, remedy, server_error
from pairkit.engines.openai.secrets import Secrets
from pairkit.engines.recipe import EngineRecipe

BODY = {"model": "m", "messages": [], "temperature": 1.0, "top_p": 1.0, "seed": 0, "max_tokens": 8, "n": 2}
OF_ANSWERS = (
    "choices",
    "message",
    "delta",
    "content",
    "finish_reason",
    "index",
    "text",
    "type",
    "usage",
    "id",
)
OF_PARTS = ("refusal", "tool_calls", "function", "name", "arguments", "reasoning", "thinking")
OF_ERRORS = ("error", "errors", "code", "detail", "loc", "msg", "param", "metadata", "raw")
NAMES = st.sampled_from([*OF_ANSWERS, *OF_PARTS, *OF_ERRORS, "prompt_tokens", "completion_tokens"])
WORDS = st.sampled_from(
    ["stop", "length", "text", "thinking", "seed", "'n' is not supported", "no top_p", ""]
)
PLAIN = st.none() | st.booleans() | st.integers(-2, 500) | st.floats(allow_nan=False) | WORDS
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)
# Mostly of the right form, because a wrong one ends the reading early.
MESSAGES = st.fixed_dictionaries({}, optional=dict.fromkeys(("content", "tool_calls", "reasoning"), VALUES))
CHOICES = st.fixed_dictionaries(
    {"finish_reason": PLAIN},
    optional={
        "message": MESSAGES | VALUES,
        "delta": MESSAGES | VALUES,
        "index": PLAIN,
        "error": VALUES,
        "text": PLAIN,
    },
)
ANSWERS = VALUES | st.fixed_dictionaries(
    {"choices": st.lists(CHOICES | VALUES, max_size=3)}, optional={"usage": VALUES, "error": VALUES}
)


@settings(max_examples=120)
@given(ANSWERS)
def test_any_answer_is_read(answer: Any) -> None:
    found = chat_api.parse(json.dumps(answer).encode(), BODY)
    assert isinstance(found, (Parsed, ServerError, Fault))
    if isinstance(found, Parsed):
        assert all(isinstance(completion.text, str) for completion in found.completions)


@settings(max_examples=120)
@given(st.lists(ANSWERS, max_size=4), st.booleans())
def test_any_stream_is_read(events: list[Any], ended: bool) -> None:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    content = "".join([*lines, "data: [DONE]\n\n" if ended else ""]).encode()
    assert isinstance(chat_api.parse(content, BODY), (Parsed, ServerError, Fault))


@pytest.mark.parametrize("depth", [800, 3_000, 200_000])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", ""),
        ('{"choices": ', "}"),
        ('{"error": ', "}"),
        ('{"detail": [{"loc": ["a"], "detail": ', "}]}"),
        ('{"choices": [{"message": {"content": ', "}}]}"),
        ('{"choices": [{"delta": {"reasoning": ', "}}]}"),
    ],
)
@pytest.mark.parametrize("closed", [True, False])
def test_any_depth_is_read(depth: int, before: str, after: str, closed: bool) -> None:
    """Python reads JSON of some depths that are too deep for a function that looks for texts in it."""
    content = (before + "[" * depth + ("]" * depth + after if closed else "")).encode()
    assert isinstance(chat_api.parse(content, BODY), (Parsed, ServerError, Fault))
    assert isinstance(chat_api.parse(b"data: " + content, BODY), (Parsed, ServerError, Fault))
    assert server_error(400, content).status == 400
    assert chat_api.model_names(content) == []


@pytest.mark.parametrize("place", [3, "body", None, {"a": 1}])
def test_an_error_whose_place_is_no_list_is_read(place: Any) -> None:
    content = json.dumps({"detail": [{"loc": place, "msg": "is wrong"}]}).encode()
    assert server_error(422, content).message == "is wrong"


@settings(max_examples=120)
@given(VALUES, st.sampled_from([400, 404, 422, 429, 500]))
def test_any_error_is_read(answer: Any, status: int) -> None:
    error = server_error(status, json.dumps(answer).encode(), Secrets(["key-0123"]))
    assert isinstance(error.message, str)
    assert isinstance(lesson(error, BODY, {}), (Dialect, type(None)))
    assert remedy(error, BODY, EngineRecipe(engine="openai", model="m")).text
