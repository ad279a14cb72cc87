"""An answer is kept as it was sent, or it is a failed try; nothing of it is lost or changed in silence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pairkit.engines.base import Completion
from pairkit.engines.openai import chat_api
from pairkit.engines.openai.chat_api import Fault, Parsed
from pairkit.engines.openai.wire import joined_halves

BODY = {"model": "m", "max_tokens": 8}
LOST = "do not fit together"
HALF = "half a character"
DEEP = "nested more than 128 levels deep"


def whole(**message: Any) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()


def called(arguments: Any, name: str = "f", **call: Any) -> bytes:
    return whole(content=None, tool_calls=[{"function": {"name": name, "arguments": arguments}, **call}])


def stream(*pieces: dict[str, Any]) -> bytes:
    listed = [*({"index": 0, **piece} for piece in pieces), {"index": 0, "finish_reason": "stop"}]
    events = [b"data: " + json.dumps({"choices": [piece]}).encode() for piece in listed]
    return b"\n\n".join([*events, b"data: [DONE]", b""])


def contents(*values: Any) -> bytes:
    return stream(*({"delta": {"content": value}} for value in values))


def arguments(*values: Any) -> bytes:
    calls = [{"index": 0, "function": {"name": "" if place else "f", "arguments": value}}
             for place, value in enumerate(values)]  # fmt: skip
    return stream(*({"delta": {"tool_calls": [call]}} for call in calls))


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def read(content: bytes) -> Completion:
    parsed = chat_api.parse(content, BODY)
    assert isinstance(parsed, Parsed), parsed
    return parsed.completions[0]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (contents("a", ["b"], {"text": "c"}, "d"), "abcd"),
        (contents("a", None, "b", "", "c"), "abc"),
        (contents("", ["b"], "c"), "bc"),
        (contents({"type": "text", "text": "a"}, "b", {"type": "text", "text": "c"}), "abc"),
        (contents("a\ud83d", "\ude00b"), "a\U0001f600b"),
        (contents(["a\ud83d"], "\ude00b"), "a\U0001f600b"),
        (whole(content="a\ud83d\ude00b"), "a\U0001f600b"),
        (whole(content=[{"text": "a\ud83d"}, {"text": "\ude00b"}]), "a\U0001f600b"),
        (stream({"delta": {"content": "a b"}, "message": {"content": " a b\n"}}), "a b"),
        (stream({"delta": {"content": "a"}, "text": "a"}, {"delta": {"content": "b"}, "text": ""}), "ab"),
        (whole(content="[" * 100_000), "[" * 100_000),  # a text, which nobody parses
    ],
)
def test_all_of_a_text_is_kept(content: bytes, text: str) -> None:
    assert read(content).text == text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (contents("a", 5, "b"), LOST),
        (contents(5, "b"), LOST),
        (contents("a", True), LOST),
        (arguments("{", {"a": 1}, "}"), LOST),
        (arguments({"a": 1}, "{}"), LOST),
        (stream({"delta": {"content": "a"}, "text": "b"}), LOST),
        (stream({"delta": {"content": "a"}, "message": {"content": "other"}}), LOST),
        (whole(content="a\ud800b"), HALF),
        (whole(content="a\ude00\ud83d"), HALF),
        (whole(content="a", reasoning_content="\ud800."), HALF),
        (contents("a\ud83d", "b"), HALF),
        (contents("a\ud83d"), HALF),
        (called("{}", name="f\ud800"), HALF),
        (called("{}", id="x\ud800"), HALF),
        (called('{"a": "\ud800"}'), HALF),
        (called({"a": "\ud800"}), HALF),
        (whole(content="a").replace(b'"a"', b'"a\xff\xfeb"'), "not JSON"),
        (contents("a").replace(b'"a"', b'"a\xff\xfeb"'), "not JSON"),
        (called({"a": float("nan")}), "NaN"),
        (called({"a": [1, {"b": float("-inf")}]}), "NaN"),
        (called(nested(900)), DEEP),
        (called(nested(129)), DEEP),
        (called(json.loads(nested(900))), DEEP),
        (called("[" * 100_000), DEEP),
        (arguments("[" * 100, "[" * 100), DEEP),
        (whole(content="a", more=json.loads(nested(200))), DEEP),
        (stream({"delta": {"content": "a", "more": json.loads(nested(200))}}), DEEP),
        (b'{"choices": ' + b"[" * 500_000, DEEP),
        (json.dumps(json.loads(nested(200)), indent=1).encode(), DEEP),
    ],
)
def test_what_cannot_be_kept_is_a_failed_try(content: bytes, why: str) -> None:
    found = chat_api.parse(content, BODY)
    assert isinstance(found, Fault)
    assert why in found.why
    assert len(found.why) < 200


def test_a_thought_of_parts_before_a_text() -> None:
    """As Mistral streams it."""
    thought = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
    completion = read(contents("", thought, thought, "Yes", "."))
    assert (completion.reasoning_content, completion.text) == ("Hm.Hm.", "Yes.")


def test_arguments_within_the_bound_are_kept() -> None:
    assert json.loads(read(called(nested(128))).tool_calls or "")[0]["function"]["arguments"] == nested(128)
    # What a model wrote is its text, also where it is not JSON.
    assert '{\\"a\\": NaN}' in (read(called('{"a": NaN}')).tool_calls or "")


def test_a_limit_cuts_half_a_character_off() -> None:
    assert joined_halves("a\ud83d", cut=True) == "a"
    assert joined_halves("a\U0001f600", cut=True) == "a\U0001f600"
