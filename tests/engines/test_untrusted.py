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
    [
        "stop",
        "length",
        "text",
        "thinking",
        "seed",
        "'n' is not supported",
        "no top_p",
        "",
        "\ud83d",
        "\0",
        "9" * 5000,
    ]
)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
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


USUAL, MANY = settings(max_examples=60), settings(max_examples=10_000)


def check(found: Any) -> None:
    """Whatever was read can be counted, stored and printed."""
    assert isinstance(found, (Parsed, ServerError, Fault))
    if isinstance(found, ServerError):
        found.message.encode()
        assert len(found.message) <= 301
        assert isinstance(lesson(found, BODY, {}), (Dialect, type(None)))
        assert remedy(found, BODY, EngineRecipe(engine="openai", model="m")).text
    if isinstance(found, Parsed):
        for one in found.completions:
            "".join([one.text, one.reasoning_content or "", one.tool_calls or ""]).encode()
        counts = [*found.usage, *(one.tokens for one in found.completions)]
        assert all(count is None or (type(count) is int and 0 <= count < 2**31) for count in counts)


def check_answer(answer: Any) -> None:
    check(chat_api.parse(json.dumps(answer).encode(), BODY))


def check_stream(events: list[Any], ended: bool) -> None:
    lines = [f"data: {json.dumps(event)}\n\n" for event in events]
    content = "".join([*lines, "data: [DONE]\n\n" if ended else ""]).encode()
    check(chat_api.parse(content, BODY))


def check_error(answer: Any, status: int) -> None:
    check(server_error(status, json.dumps(answer).encode(), Secrets(["key-0123"])))


def check_date(header: str) -> None:
    seconds = chat_api.retry_after(header)
    assert seconds is None or 0 <= seconds <= chat_api.LONGEST_WAIT


STREAMS, STATUSES = st.lists(ANSWERS, max_size=4), st.sampled_from([400, 404, 422, 429, 500])
DATES = st.text() | st.from_regex(
    r"\w{3}, [0-9]{1,9} Jan [0-9]{1,9} [0-9]{1,3}:00:00 (GMT|[+-][0-9]{4,9})", fullmatch=True
)

test_any_answer_is_read = USUAL(given(ANSWERS)(check_answer))
test_any_stream_is_read = USUAL(given(STREAMS, st.booleans())(check_stream))
test_any_error_is_read = USUAL(given(VALUES, STATUSES)(check_error))
test_any_date_is_read = USUAL(given(DATES)(check_date))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MANY
@given(ANSWERS)
def test_ten_thousand_answers_are_read(answer: Any) -> None:
    check_answer(answer)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MANY
@given(STREAMS, st.booleans())
def test_ten_thousand_streams_are_read(events: list[Any], ended: bool) -> None:
    check_stream(events, ended)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MANY
@given(VALUES, STATUSES)
def test_ten_thousand_errors_are_read(answer: Any, status: int) -> None:
    check_error(answer, status)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MANY
@given(DATES)
def test_ten_thousand_dates_are_read(header: str) -> None:
    check_date(header)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@MANY
@given(ANSWERS, st.data())
def test_ten_thousand_damaged_answers_are_read(answer: Any, data: st.DataObject) -> None:
    """Bytes of an answer are cut, replaced or inserted."""
    content = json.dumps(answer).encode()
    place = data.draw(st.integers(0, len(content)))
    damaged = (
        content[:place] + data.draw(st.binary(max_size=4)) + content[place + data.draw(st.integers(0, 3)) :]
    )
    check(chat_api.parse(damaged, BODY))
    check(server_error(500, damaged))


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
