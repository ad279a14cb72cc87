"""Answers that come as streams of events."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pairkit.engines.openai import chat_api
from pairkit.engines.openai.stream import is_stream, joined

BODY = {"model": "m", "temperature": 1.0, "top_p": 1.0, "seed": 0, "max_tokens": 8}
DONE = "data: [DONE]"


def events(*data: Any, end: str = DONE, line: str = "\n") -> bytes:
    written = [f"data: {json.dumps(one, ensure_ascii=False)}" for one in data]
    return (line * 2).join([*written, end, ""]).encode()


def piece(index: int = 0, end: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": end}]}


@pytest.mark.parametrize("line", ["\n", "\r\n", "\r"])
def test_pieces_are_joined_by_choice(line: str) -> None:
    content = events(
        piece(role="assistant", content=""),
        piece(1, role="assistant", content="Zwei"),
        piece(content="One\u2028"),
        piece(1, reasoning="Hm"),
        piece(content="\x85more"),
        piece(1, reasoning=".", content=None),
        piece(1, "length"),
        piece(0, "stop"),
        {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
        line=line,
    )
    assert is_stream(content)
    found = chat_api.parse(content, BODY | {"n": 2})
    assert isinstance(found, chat_api.Parsed)
    first, second = found.completions
    assert (first.text, first.finish_reason, first.reasoning_content) == ("One\u2028\x85more", "stop", None)
    assert (second.text, second.finish_reason, second.reasoning_content) == ("Zwei", "length", "Hm.")
    assert found.tokens == (3, 4)


def message(end: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {}, "message": fields, "finish_reason": end}]}


CALLS = [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("pieces", "text", "thought"),
    [
        # A last event that repeats the whole message, or has more than the deltas had.
        ([piece(content="A"), piece(content="B"), message("stop", content="AB")], "AB", None),
        ([piece(reasoning="H"), piece(content="A"), message("stop", content="A", reasoning="H")], "A", "H"),
        ([piece(reasoning="H"), message("stop", content="A", reasoning="Hm")], "A", "Hm"),
        ([piece(content="A"), message("stop", role="assistant", content="")], "A", None),
        ([piece(content="A"), message("stop", content=None)], "A", None),
        # Messages instead of deltas: pieces, or each the whole so far.
        ([message(content="A"), message(content="B"), message("stop", content="A")], "ABA", None),
        ([message(content="A"), message(content="AB"), message("stop", content="ABA")], "ABA", None),
        ([message(content="A"), message(content="AB"), message("stop")], "AB", None),
        # Next to its delta, a message is that piece again.
        ([{"choices": [piece(content=mark)["choices"][0] | {"message": {"content": mark}}]} for mark in "AB"],
         "AB", None),
    ],
)  # fmt: skip
def test_a_message_that_is_repeated_is_read_once(
    pieces: list[dict[str, Any]], text: str, thought: str | None
) -> None:
    found = chat_api.parse(events(*pieces), BODY)
    assert isinstance(found, chat_api.Parsed)
    assert (found.completions[0].text, found.completions[0].reasoning_content) == (text, thought)


def test_calls_that_are_repeated_are_read_once() -> None:
    written = {"index": 0, **CALLS[0]}
    content = events(piece(tool_calls=[written]), message("tool_calls", content=None, tool_calls=[written]))
    found = chat_api.parse(content, BODY)
    assert isinstance(found, chat_api.Parsed)
    assert json.loads(found.completions[0].tool_calls or "") == CALLS


def test_calls_are_joined_by_their_index() -> None:
    def call(index: int, **function: str) -> dict[str, Any]:
        return {"index": index, "type": "function", "function": function}

    content = events(
        piece(tool_calls=[call(0, name="find", arguments='{"a"') | {"id": "x"}]),
        piece(tool_calls=[call(0, arguments=": 1}")]),
        piece(tool_calls=[call(1, name="stop", arguments="{}") | {"id": "y"}]),
        piece(0, "tool_calls"),
    )
    found = chat_api.parse(content, BODY)
    assert isinstance(found, chat_api.Parsed)
    assert json.loads(found.completions[0].tool_calls or "") == [
        {"id": "x", "type": "function", "function": {"name": "find", "arguments": '{"a": 1}'}},
        {"id": "y", "type": "function", "function": {"name": "stop", "arguments": "{}"}},
    ]


def test_comments_names_and_events_of_several_lines_are_read() -> None:
    data = json.dumps(piece(0, "stop", content="a"), indent=1).replace("\n", "\ndata: ")
    content = f": waiting\n\nevent: message\nid: 3\ndata: {data}\n\n{DONE}".encode()
    assert is_stream(content)
    answer = joined(content)
    assert answer is not None
    assert answer["choices"][0]["message"]["content"] == "a"


@pytest.mark.parametrize(("end", "whole"), [(DONE, True), ("", False)])
def test_a_stream_without_a_finish_reason_is_whole_if_it_was_closed(end: str, whole: bool) -> None:
    content = events(piece(content="a"), end=end)
    assert (joined(content) is not None) == whole
    # With a finish reason nothing else is needed.
    assert joined(events(piece(content="a"), piece(0, "stop"), end="")) is not None


@pytest.mark.parametrize(
    "last",
    [
        {"error": {"message": "Busy", "code": 429}},
        {"error": {"message": "Busy", "code": 429}, "choices": [{"index": 0, "finish_reason": "error"}]},
        {"choices": [{"index": 0, "finish_reason": "error", "error": {"message": "Busy", "code": 429}}]},
        {"object": "error", "message": "Busy", "code": 429},
    ],
)
def test_an_error_within_a_stream_is_one(last: dict[str, Any]) -> None:
    content = events(piece(content="a"), last)
    found = chat_api.parse(content, BODY)
    assert found[:2] == (429, "Busy")


@pytest.mark.parametrize("end", [DONE, ""])
def test_a_stream_of_an_error_alone_is_one(end: str) -> None:
    found = chat_api.parse(events({"code": "Throttling.RateLimit", "message": "Busy"}, end=end), BODY)
    assert found[:2] == (429, "Busy")


@pytest.mark.parametrize("content", [b'{"choices": []}', b"", b" \n{}", b"[]"])
def test_other_answers_are_no_stream(content: bytes) -> None:
    assert not is_stream(content)


def test_log_probs_of_pieces_are_joined() -> None:
    first, second = ({"token": t, "top_logprobs": [{"token": t, "logprob": -0.5}]} for t in "Mx")
    pieces = [piece(content="M"), piece(content="x"), piece(0, "stop")]
    for one, entry in zip(pieces, (first, second), strict=False):
        one["choices"][0]["logprobs"] = {"content": [entry]}
    answer = chat_api.parse(events(*pieces), {**BODY, "top_logprobs": 5})
    assert isinstance(answer, chat_api.Parsed)
    assert (answer.completions[0].text, answer.completions[0].logprobs) == ("Mx", (("M", -0.5),))
