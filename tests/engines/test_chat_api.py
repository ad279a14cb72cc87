"""OpenAI's chat completions as data, without a server."""

from __future__ import annotations

import json

import pytest

from pairkit.engines.base import Request, Sampling
from pairkit.engines.openai import chat_api
from pairkit.engines.recipe import EngineRecipe


@pytest.mark.parametrize(
    ("choice", "text", "reason"),
    [
        ({"message": {"content": "a"}, "finish_reason": "stop"}, "a", "stop"),
        ({"message": {"content": "a\u2028\ud800"}, "finish_reason": "length"}, "a\u2028?", "length"),
        ({"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}, "no", "refused"),
        ({"message": {"content": None}, "finish_reason": "content_filter"}, "", "refused"),
        ({"message": {"content": "a"}, "finish_reason": "end_turn"}, "a", "stop"),
    ],
)
def test_a_choice_gives_text_and_finish_reason(choice: dict[str, object], text: str, reason: str) -> None:
    request = Request([{"role": "user", "content": "x"}], (Sampling(1.0, 1.0, 0, 8),))
    parsed = chat_api.parse(json.dumps({"choices": [choice]}).encode(), request)
    assert isinstance(parsed, chat_api.Parsed)
    assert parsed.completions[0][:3] == (text, None, reason)
    assert parsed.tokens is None


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"null",
        b'{"choices": 3}',
        b'{"choices": [3]}',
        b'{"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": null}]}',
        b"\xff\xfe",
    ],
)
def test_an_incomplete_answer_is_a_fault(answer: bytes) -> None:
    request = Request([{"role": "user", "content": "x"}], (Sampling(1.0, 1.0, 0, 8),))
    assert isinstance(chat_api.parse(answer, request), chat_api.Fault)


def test_extra_fields_are_sent_and_null_removes_one() -> None:
    recipe = EngineRecipe(
        engine="openai", model="o", extra_body={"max_tokens": None, "max_completion_tokens": 5, "top_k": 3}
    )
    request = Request([{"role": "user", "content": "x"}], (Sampling(1.0, 1.0, 7, 8),))
    body = chat_api.body(recipe, request)
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["top_k"], body["seed"]) == (5, 3, 7)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("1.5", 1.5), ("100000", 300), ("Thu, 01 Jan 2026 00:00:00 GMT", 0), ("soon", None), (None, None)],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(header: str | None, seconds: float | None) -> None:
    assert chat_api.retry_after(header) == seconds


def test_a_refusal_is_one_line_without_the_key() -> None:
    content = json.dumps({"error": {"message": "bad key\nsk-123 " + "x" * 400}}).encode()
    message = chat_api.reason_of(content, "sk-123")
    assert message.startswith("bad key *** xxx")
    assert message.endswith("…")
    assert chat_api.reason_of(b"<html> gone", None) == "<html> gone"
    assert chat_api.reason_of(b'{"detail": "gone"}', None) == "{'detail': 'gone'}"
    assert chat_api.model_names(b'{"data": [{"id": "m"}]}') == ["m"]
    assert chat_api.model_names(b"<html>") == []
