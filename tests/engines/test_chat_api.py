"""OpenAI's chat completions as data, without a server."""

from __future__ import annotations

import json
import math
import re

import pytest

from pairkit.engines.base import Completion, Request, Sampling
from pairkit.engines.generate import GenerateRecipe
from pairkit.engines.openai import chat_api
from pairkit.engines.openai.dialect import PLAIN, Dialect
from pairkit.engines.recipe import EngineRecipe

ONE = {"model": "m", "temperature": 1.0, "top_p": 1.0, "seed": 0, "max_tokens": 8}
PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"type": "text", "text": "a"}]
CALL = {"type": "function", "function": {"name": "f", "arguments": "{}"}}


def parsed(choice: dict[str, object], **fields: object) -> Completion:
    answer = chat_api.parse(json.dumps({"choices": [choice], **fields}).encode(), ONE)
    assert isinstance(answer, chat_api.Parsed), answer
    return answer.completions[0]


@pytest.mark.parametrize(
    ("message", "end", "text", "reason"),
    [
        ({"content": "a"}, "stop", "a", "stop"),
        ({"content": "a\u2028\ud800"}, "length", "a\u2028", "length"),
        ({"content": None, "refusal": "no"}, "stop", "no", "refused"),
        ({"content": None}, "content_filter", "", "refused"),
        ({"content": None}, "length", "", "length"),
        ({"content": None}, "MAX_TOKENS", "", "length"),
        ({"content": "a"}, "end_turn", "a", "stop"),
        ({"content": "a"}, None, "a", "stop"),
        ({"content": None, "tool_calls": [CALL]}, None, "", "stop"),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "output_text", "text": "b"}]},
            "stop",
            "ab",
            "stop",
        ),
        ({"content": ["a", "b"]}, "stop", "ab", "stop"),
        ({"content": {"type": "text", "text": "a"}}, "stop", "a", "stop"),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, "stop", "no", "refused"),
        ({"content": []}, "length", "", "length"),
    ],
)
def test_a_choice_gives_text_and_finish_reason(
    message: dict[str, object], end: str | None, text: str, reason: str
) -> None:
    completion = parsed({"message": message, "finish_reason": end})
    assert completion[:3] == (text, None, reason)
    assert completion.reasoning_content is None


@pytest.mark.parametrize(
    ("arguments", "text"),
    [('{"a":  1}', '{"a":  1}'), ({"b": "é", "a": [1]}, '{"a":[1],"b":"é"}'), ({}, "{}")],
)
def test_the_arguments_of_a_call_are_a_text_or_an_object(arguments: object, text: str) -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    choice = {"index": 0, "finish_reason": "tool_calls"}
    calls = {"content": None, "tool_calls": [call]}
    expected = [{"type": "function", "function": {"name": "f", "arguments": text}}]
    assert json.loads(parsed(choice | {"message": calls}).tool_calls or "") == expected
    event = json.dumps({"choices": [choice | {"delta": calls}]})
    found = chat_api.parse(f"data: {event}\n\ndata: [DONE]\n".encode(), ONE)
    assert isinstance(found, chat_api.Parsed)
    assert json.loads(found.completions[0].tool_calls or "") == expected


@pytest.mark.parametrize(
    ("message", "thought"),
    [
        ({"content": "a", "reasoning_content": "Hm."}, "Hm."),
        ({"content": "a", "reasoning": "Hm.", "reasoning_content": None}, "Hm."),
        ({"content": "a", "thinking": "Hm."}, "Hm."),
        ({"content": PARTS}, "Hm."),
        ({"content": "a", "reasoning": {"content": "Hm."}}, "Hm."),
        (
            {"content": "a", "reasoning_details": [{"type": "reasoning.text", "text": "H"}, {"text": "m."}]},
            "Hm.",
        ),
        ({"content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "Hm."}]}, "Hm."),
        ({"content": "a", "reasoning_content": ""}, None),
    ],
)
def test_a_thought_is_kept_apart_whatever_its_name(message: dict[str, object], thought: str | None) -> None:
    completion = parsed({"message": message, "finish_reason": "stop"})
    assert (completion.text, completion.reasoning_content) == ("a", thought)


@pytest.mark.parametrize("end", [None, "length"])
def test_a_thought_without_an_answer_is_truncated(end: str | None) -> None:
    completion = parsed({"message": {"content": None, "reasoning_content": "Hm"}, "finish_reason": end})
    assert completion[:3] == ("", None, "length")
    assert completion.reasoning_content == "Hm"


@pytest.mark.parametrize(("end", "reason"), [("length", "length"), ("content_filter", "refused")])
@pytest.mark.parametrize(
    "about",
    [
        {"message": {"role": "assistant"}},
        {"message": {}},
        {"message": None},
        {"content_filter_results": {"violence": {"filtered": True}}},
    ],
)
def test_what_a_limit_or_a_filter_has_ended_needs_no_content(
    about: dict[str, object], end: str, reason: str
) -> None:
    """As Google's and Azure's servers answer; without such an end, the same is incomplete."""
    assert parsed({"index": 0, **about, "finish_reason": end})[:3] == ("", None, reason)
    piece = {"index": 0, **about, "delta": {}, "finish_reason": end}
    found = chat_api.parse(f"data: {json.dumps({'choices': [piece]})}\n\ndata: [DONE]\n".encode(), ONE)
    assert isinstance(found, chat_api.Parsed)
    assert found.completions[0][:3] == ("", None, reason)
    for other in ("stop", None, "error"):
        answer = {"choices": [{"index": 0, **about, "finish_reason": other}]}
        assert isinstance(chat_api.parse(json.dumps(answer).encode(), ONE), chat_api.Fault)


@pytest.mark.parametrize("end", ["length", "content_filter", "stop"])
@pytest.mark.parametrize("message", [[], "", 0, False, "text", [{"content": "text"}]], ids=str)
def test_a_message_that_is_no_object_is_none_whatever_ended_it(message: object, end: str) -> None:
    answer = {"choices": [{"index": 0, "message": message, "finish_reason": end}]}
    assert isinstance(chat_api.parse(json.dumps(answer).encode(), ONE), chat_api.Fault)


@pytest.mark.parametrize(
    ("end", "tokens", "reason", "remarks"),
    [
        ("stop", 8, "stop", None),
        ("tool_calls", 3, "stop", None),
        ("eos_token", 3, "stop", ("other_finish_reason",)),
        (None, 7, "stop", ("other_finish_reason",)),
        (None, 8, "length", ("other_finish_reason",)),  # all tokens that it may have
    ],
)
def test_an_unknown_end_is_counted(
    end: str | None, tokens: int, reason: str, remarks: tuple[str, ...] | None
) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": tokens}
    completion = parsed({"message": {"content": "a"}, "finish_reason": end}, usage=usage)
    assert (completion.tokens, completion.finish_reason, completion.remarks) == (tokens, reason, remarks)


@pytest.mark.parametrize(("tokens", "reason"), [(23, "stop"), (24, "length"), (25, "length")])
@pytest.mark.parametrize("end", [None, "eos_token"])
def test_choices_without_a_known_end_are_cut_if_together_they_have_all_tokens(
    tokens: int, reason: str, end: str | None
) -> None:
    """The count is of all choices: each of three is known to be cut where it is three times the limit."""
    choices = [{"message": {"content": mark}, "finish_reason": end} for mark in "abc"]
    answer = {"choices": choices, "usage": {"prompt_tokens": 1, "completion_tokens": tokens}}
    found = chat_api.parse(json.dumps(answer).encode(), ONE | {"n": 3})
    assert isinstance(found, chat_api.Parsed)
    assert {completion.finish_reason for completion in found.completions} == {reason}


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"[]",
        b"null",
        b'{"choices": 3}',
        b'{"choices": []}',
        b'{"choices": [3]}',
        b'{"choices": [{"index": 0}]}',
        b'{"choices": [{"message": {}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": 3}, "finish_reason": "stop"}]}',
        b'{"choices": [{"message": {"content": null}, "finish_reason": null}]}',
        b'{"choices": [{"message": {"content": "a"}, "finish_reason": "error"}]}',
        b'{"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}',
        b"data: {",
        b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n',
        b"\xff\xfe",
    ],
)
def test_an_incomplete_answer_is_a_fault(answer: bytes) -> None:
    assert isinstance(chat_api.parse(answer, ONE), chat_api.Fault)


def test_fewer_choices_than_requested_are_kept() -> None:
    answer = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}
    found = chat_api.parse(json.dumps(answer).encode(), ONE | {"n": 3})
    assert isinstance(found, chat_api.Parsed)
    assert [one.text for one in found.completions] == ["a"]


@pytest.mark.parametrize(
    ("extra", "recorded", "remarks"),
    [
        ({}, (0.7, 0.9, 7, 8), None),
        ({"temperature": 0.2, "seed": 3, "top_p": 0.5, "max_tokens": 5}, (0.2, 0.5, 3, 5), None),
        (
            {"temperature": None, "seed": None},
            (None, 0.9, None, 8),
            ("sent_without_temperature", "sent_without_seed"),
        ),
        (
            {"max_tokens": None, "max_completion_tokens": 5},
            (0.7, 0.9, 7, 5),
            ("sent_max_completion_tokens",),
        ),
        ({"max_completion_tokens": 5}, (0.7, 0.9, 7, 5), ("sent_max_completion_tokens",)),
        ({"max_tokens": None}, (0.7, 0.9, 7, None), ("sent_without_max_tokens",)),
    ],
)
def test_what_is_sent_is_what_is_recorded(
    extra: dict[str, object], recorded: tuple[object, ...], remarks: tuple[str, ...] | None
) -> None:
    recipe = EngineRecipe(engine="openai", model="o", extra_body=extra)
    request = Request([{"role": "user", "content": "x"}], (Sampling(0.7, 0.9, 7, 8),))
    body = chat_api.body(recipe, request)
    found = chat_api.parse(b'{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}', body)
    assert isinstance(found, chat_api.Parsed)
    assert (found.completions[0].sampling, found.completions[0].remarks) == (recorded, remarks)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"n": 3}, "extra_body.n': remove it, because a judge reads one answer per question"),
        ({"model": "other"}, "extra_body.model': set model instead"),
        ({"messages": []}, "extra_body.messages': prompts are those of the source"),
        ({"temperature": "hot"}, "extra_body.temperature' must be a number from 0 to"),
        ({"temperature": math.inf}, "extra_body.temperature' must be a number from 0 to"),
        ({"top_p": 2}, "extra_body.top_p' must be a number from 0 to 1, got 2"),
        ({"seed": 1.5}, "extra_body.seed' must be an integer"),
        ({"seed": 2**63}, "extra_body.seed' must be an integer"),
        ({"max_tokens": 0}, "extra_body.max_tokens' must be an integer from 1 to"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "two names of one limit: remove one"),
        ({"max_completion_tokens": True}, "extra_body.max_completion_tokens' must be an integer from 1 to"),
    ],
)
def test_extra_fields_that_contradict_the_recipe_are_refused(extra: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        EngineRecipe(engine="openai", model="o", extra_body=extra)


@pytest.mark.parametrize("value", [None, 1, 0.5])
def test_a_mix_that_extra_fields_make_one_is_refused(value: float | None) -> None:
    mix = [{"n": 2, "temperature": 0.6}, {"n": 2, "temperature": 1.0}]
    with pytest.raises(
        ValueError, match=r"generate\.extra_body\.temperature' is the same for all completions"
    ):
        GenerateRecipe(engine="openai", model="o", samples=mix, extra_body={"temperature": value})
    GenerateRecipe(engine="openai", model="o", samples=mix[:1], extra_body={"temperature": value})
    GenerateRecipe(engine="openai", model="o", samples=mix, extra_body={"top_p": value})


def test_extra_fields_are_sent_and_null_removes_one() -> None:
    recipe = EngineRecipe(
        engine="openai", model="o", extra_body={"max_tokens": None, "max_completion_tokens": 5, "top_k": 3}
    )
    request = Request([{"role": "user", "content": "x"}], (Sampling(1.0, 1.0, 7, 8),))
    body = chat_api.body(recipe, request)
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["top_k"], body["seed"]) == (5, 3, 7)


def test_one_limit_is_sent_whatever_its_name() -> None:
    extra: dict[str, object] = {"max_completion_tokens": 5}
    recipe = EngineRecipe(engine="openai", model="o", extra_body=extra)
    request = Request([{"role": "user", "content": "x"}], (Sampling(1.0, 1.0, 7, 8),))
    for dialect in (PLAIN, Dialect(new_limit=True)):
        body = chat_api.body(recipe, request, dialect)
        assert "max_tokens" not in body
        assert body["max_completion_tokens"] == 5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1.5", 1.5),
        ("100000", 300),
        ("inf", 300),
        ("-1e400", 0),
        ("nan", None),
        ("-nan", None),
        ("Thu, 01 Jan 2026 00:00:00 GMT", 0),
        ("Thu, 99 Foo 20", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 300),
        (f"Thu, {10**20} Jan 2026 00:00:00 GMT", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(header: str | None, seconds: float | None) -> None:
    assert chat_api.retry_after(header) == seconds


def test_models_of_an_unusual_list_are_unknown() -> None:
    assert chat_api.model_names(b'{"data": [{"id": "m"}]}') == ["m"]
    assert chat_api.model_names(b"<html>") == []


def test_log_probs_are_requested_and_read() -> None:
    recipe = EngineRecipe(engine="openai", model="m", base_url="http://h/v1")
    sampling = Sampling(1.0, 1.0, 0, 1)
    prompt = [{"role": "user", "content": "?"}]
    body = chat_api.body(recipe, Request(prompt, (sampling,), top_logprobs=5))
    assert (body["logprobs"], body["top_logprobs"]) == (True, 5)
    assert not {"logprobs", "top_logprobs"} & chat_api.body(recipe, Request(prompt, (sampling,))).keys()
    top = [{"token": "m", "logprob": -2.0, "bytes": [109]}, {"token": "M", "logprob": -0.25}]
    choice = {
        "message": {"content": "M"},
        "finish_reason": "length",
        "logprobs": {"content": [{"token": "M", "logprob": -0.25, "top_logprobs": top}]},
    }
    content = json.dumps({"choices": [choice]}).encode()
    answer = chat_api.parse(content, body)
    assert isinstance(answer, chat_api.Parsed)
    assert answer.completions[0].logprobs == (("M", -0.25), ("m", -2.0))
    # Some servers send them unasked.
    assert parsed(choice).logprobs is None


@pytest.mark.parametrize(
    "sent",
    [
        None,
        {},
        {"content": None},
        {"content": []},
        {"content": [{"token": "M"}]},
        {"content": [{"top_logprobs": None}]},
        {"content": [{"top_logprobs": []}]},
        {"content": [{"top_logprobs": [{"token": "M"}]}]},
        {"content": [{"top_logprobs": [{"token": "M", "logprob": "?"}]}]},
        {"content": [{"top_logprobs": [{"token": "M", "logprob": math.nan}]}]},
        {"content": [{"top_logprobs": [{"token": "M", "logprob": 3}]}]},
        {"tokens": ["M"], "token_logprobs": [-0.1]},
    ],
)
def test_log_probs_that_cannot_be_read_are_none(sent: object) -> None:
    choice = {"message": {"content": "M"}, "finish_reason": "stop", "logprobs": sent}
    answer = chat_api.parse(json.dumps({"choices": [choice]}).encode(), {**ONE, "top_logprobs": 5})
    assert isinstance(answer, chat_api.Parsed)
    assert answer.completions[0].logprobs is None
    assert answer.completions[0].text == "M"
