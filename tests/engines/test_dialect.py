"""What a server's refusal shows about it, and what to set where it shows nothing that helps."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pairkit.engines.generate import GenerateRecipe
from pairkit.engines.openai.dialect import ONE_BY_ONE, PLAIN, Dialect, lesson
from pairkit.engines.openai.errors import error_within, remedy, server_error
from pairkit.engines.openai.secrets import Secrets
from pairkit.engines.recipe import EngineRecipe

BODY: dict[str, Any] = {
    "model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 0.7, "top_p": 0.9,
    "max_tokens": 64, "seed": 2**40, "n": 2,
}  # fmt: skip


def without(*names: str) -> Dialect:
    return Dialect(removed=frozenset(names))


def error(message: str, **about: Any) -> bytes:
    return json.dumps({"error": {"message": message, **about}}).encode()


def base(code: int, message: str) -> dict[str, Any]:
    return {"status_code": code, "status_msg": message}


def extra(*names: str) -> list[dict[str, Any]]:
    return [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
        for name in names
    ]


NEW_LIMIT = Dialect(new_limit=True)
USE = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)
ONLY = (
    "Unsupported value: 'temperature' does not support 0.7 with this model. "
    "Only the default (1) value is supported."
)
OVER = (
    "'max_tokens' or 'max_completion_tokens' is too large: 4096. This model's maximum context length is 4096 "
    "tokens and your request has 1000 input tokens (4096 > 4096 - 1000)."
)
LOGIN = "login fail: Please carry the API secret key in the 'Authorization' field"
ROLE = "'messages[0].role' does not support 'system'"
CANDIDATES = (
    "Unable to submit request because it has a candidateCount value of 3 but the supported range is from 1 "
    "(inclusive) to 2 (exclusive). Update the value and try again."
)
UNKNOWN_NAME = 'Invalid JSON payload received. Unknown name "seed": Cannot find field.'
INT32 = "Invalid value at 'generation_config.seed' (TYPE_INT32), 1099511627776"
STREAMS = "This model only support stream mode, please enable the stream parameter."
FORBIDDEN = {"object": "error", "message": {"detail": extra("seed")}}


@pytest.mark.parametrize(
    ("status", "content", "learned"),
    [
        # OpenAI, Azure
        (400, error(USE, param="max_tokens", code="unsupported_parameter"), NEW_LIMIT),
        (400, error(USE, param=None), NEW_LIMIT),
        (400, error(ONLY, param="temperature", code="unsupported_value"), without("temperature")),
        (400, error("Unsupported parameter: 'top_p' is not supported with this model."), without("top_p")),
        (400, error("Unrecognized request argument supplied: seed"), without("seed")),
        (400, error("Unknown parameter: 'max_tokens'."), NEW_LIMIT),
        (400, error("max_tokens is deprecated: use max_completion_tokens"), NEW_LIMIT),
        # Anthropic
        (400, error("`temperature` and `top_p` cannot both be specified for this model."), without("top_p")),
        (400, error("`temperature` is deprecated for this model."), without("temperature")),
        (400, error("`temperature` may only be set to 1 when thinking is enabled."), without("temperature")),
        # Moonshot and others about the one value that they take
        (400, error("invalid temperature: only 1 is allowed for this model"), without("temperature")),
        (400, error("invalid temperature: only 0.6 is allowed for this model"), without("temperature")),
        (400, error("temperature must be 1.0 for this model"), without("temperature")),
        (400, error("temperature must be 1, got 0.7."), without("temperature")),
        # Google, Mistral
        (400, b"[" + error(CANDIDATES) + b"]", ONE_BY_ONE),
        (400, error("n_completions must be 1 for this model"), ONE_BY_ONE),
        # FastAPI, Mistral
        (422, json.dumps({"detail": extra("seed")}).encode(), without("seed")),
        (422, json.dumps({"detail": extra("seed", "top_p")}).encode(), without("seed", "top_p")),
        (422, json.dumps(FORBIDDEN).encode(), without("seed")),
        # Google: in a list
        (400, b"[" + error(UNKNOWN_NAME) + b"]", without("seed")),
        (400, error(INT32), without("seed")),
        # Groq
        (400, error("property 'seed' is unsupported"), without("seed")),
        (400, error("'n' : number must be at most 1"), ONE_BY_ONE),
        # llama.cpp, vLLM and others about n
        (500, error("Only one completion choice is allowed"), ONE_BY_ONE),
        (400, error("Invalid 'n': only n=1 is supported by this model", param="n"), ONE_BY_ONE),
        (400, error("multiple choices are not supported"), ONE_BY_ONE),
        # Alibaba and others about streams
        (400, error(STREAMS), Dialect(stream=True)),
        (400, error("Non-streaming requests are not supported"), Dialect(stream=True)),
        (400, b"stream must be set to true", Dialect(stream=True)),
    ],
)  # fmt: skip
def test_a_refusal_shows_what_the_server_takes(status: int, content: bytes, learned: Dialect) -> None:
    assert lesson(server_error(status, content), BODY, {}) == learned


@pytest.mark.parametrize(
    ("status", "content"),
    [
        (400, error("max_tokens must be at most 32, got 64")),
        (400, error("temperature must be 1 or less")),
        (400, error("temperature must be 1 to 2")),
        (400, error("top_p must be 1.05, got 2")),
        (400, error("Invalid 'temperature': 3 is not supported, must be between 0 and 2")),
        (400, error("This model's maximum context length is 64 tokens. However, you requested 90 tokens.")),
        (400, error(OVER)),
        (400, error("max_tokens or max_completion_tokens must be at least 1, got 0.")),
        (400, error("'max_completion_tokens' exceeds 32; use a smaller 'max_tokens'")),
        (400, error("The response was filtered due to the prompt triggering the content management policy.")),
        (400, error("System role not supported")),
        (400, error("This model does not support image input")),
        (400, error("Unknown parameter: 'top_k'.", param="top_k")),
        (400, error("Unknown field 'foo'. Supported fields: 'temperature', 'seed', 'n'")),
        (400, error("Unexpected field foo; allowed: model, messages, max_tokens, top_p, stream")),
        (404, error("The model `m` does not exist")),
        (429, error("Rate limit reached for requests: only one streaming completion at a time")),
        (500, error("Internal server error")),
        (503, error("The server is overloaded")),
        (502, b"<html><title>502 Bad Gateway</title></html>"),
        (401, error("temperature is not supported for this key")),
    ],
)
def test_other_errors_show_nothing(status: int, content: bytes) -> None:
    assert lesson(server_error(status, content), BODY, {}) is None


@pytest.mark.parametrize("temperature", [0, 0.7])
def test_only_greedy_requests_are_single_where_only_they_are_refused(temperature: float) -> None:
    refused = server_error(400, error("n must be 1 when using greedy sampling, got 2."))
    learned = lesson(refused, BODY | {"temperature": temperature}, {})
    assert learned == Dialect(single=frozenset({temperature == 0}))


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "max_tokens"])
def test_fields_that_the_user_has_set_stay(name: str) -> None:
    refused = server_error(400, error(f"Unsupported parameter: '{name}'", param=name))
    assert lesson(refused, BODY, {name: 1}) is None
    recipe = EngineRecipe(engine="openai", model="m", extra_body={name: 1})
    assert remedy(refused, BODY, recipe) == (f"remove or change extra_body.{name}", True)


def test_requests_are_written_as_the_server_takes_them() -> None:
    known = NEW_LIMIT.also(without("seed")).also(ONE_BY_ONE).also(Dialect(stream=True))
    written = known.written(BODY)
    assert written == {
        "model": "m",
        "messages": BODY["messages"],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_completion_tokens": 64,
        "n": 2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert PLAIN.written(BODY) == BODY
    assert known.without(without("seed")) == NEW_LIMIT.also(ONE_BY_ONE).also(Dialect(stream=True))
    assert known.without(known) == PLAIN
    assert PLAIN.described() == []
    # A server that streams but does not count.
    refused = server_error(400, error("Unknown parameter: 'stream_options'."))
    assert lesson(refused, written, {}) == without("stream_options")
    assert "stream_options" not in known.also(without("stream_options")).written(BODY)


@pytest.mark.parametrize(
    ("message", "setting", "of_all"),
    [
        ("The response was filtered", "generate.model", False),
        ("This model's maximum context length is 64 tokens", "a smaller generate.max_tokens", False),
        (OVER, "a smaller generate.max_tokens, or leave out longer prompts", False),
        ("max_tokens must be at most 32", "another generate.max_tokens", True),
        ("temperature must be at most 1", "another temperature in generate.samples", True),
        ("Unknown parameter: 'top_k'", "remove or change generate.extra_body.top_k", True),
        ("unexpected field chat_template_kwargs", "remove generate.template.kwargs", True),
        ("'tools' are not supported", "generate.extra_body.tools=null", False),
        ("System role not supported", "generate.template.system=fold", False),
        (f"Unsupported value: {ROLE} with this model.", "generate.template.system=fold", False),
        ("Something is wrong", "generate.extra_body.FIELD=null", False),
    ],
)
def test_a_refusal_ends_in_the_setting_to_give(message: str, setting: str, of_all: bool) -> None:
    recipe = GenerateRecipe(engine="openai", model="m", extra_body={"top_k": 3})
    body = BODY | {"top_k": 3, "chat_template_kwargs": {"a": 1}, "tools": [{}]}
    found = remedy(server_error(400, error(message)), body, recipe)
    assert setting in found.text
    assert found.of_all == of_all


@pytest.mark.parametrize(
    "message",
    [
        "Only user, assistant and tool roles are supported!",
        "Only 'user' and 'assistant' roles are supported",
        "Conversation roles must alternate user/assistant/user/assistant/...",
    ],
)
@pytest.mark.parametrize("role", ["system", "user"])
def test_roles_that_a_template_refuses_are_folded_where_there_is_a_system_turn(
    message: str, role: str
) -> None:
    body = BODY | {"messages": [{"role": role, "content": "x"}, {"role": "user", "content": "y"}]}
    recipe = GenerateRecipe(engine="openai", model="m")
    text = remedy(server_error(400, error(message)), body, recipe).text
    assert ("set generate.template.system=fold" in text) == (role == "system")


def test_a_message_is_one_line_without_the_key() -> None:
    content = error("bad key\nsk-123 " + "x" * 400)
    message = server_error(401, content, Secrets(["sk-123"])).message
    assert message.startswith("bad key *** xxx")
    assert message.endswith("…")
    assert "sk-123" not in server_error(401, content, Secrets(["sk-123"])).words
    assert server_error(502, b"<html> gone").message == "<html> gone"
    assert server_error(502, b"").message == "no reason given"
    assert server_error(400, b'{"detail": "gone"}').message == "gone"
    assert server_error(400, b'{"error": "gone"}').message == "gone"
    assert server_error(400, b"\xff\xfe").message == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("answer", "status", "message"),
    [
        ({"error": {"message": "Busy", "code": 429}}, 429, "Busy"),
        ({"error": {"message": "Busy", "code": "429", "metadata": {"raw": "slow"}}}, 429, "Busy (slow)"),
        ({"error": {"message": "Busy", "type": "rate_limit_exceeded"}}, 429, "Busy"),
        ({"error": {"message": "No", "type": "invalid_request_error"}}, 400, "No"),
        ({"error": {"message": "No", "status": "NOT_FOUND"}}, 404, "No"),
        ({"error": "model 'a' not found"}, 404, "model 'a' not found"),
        ({"error": {"message": "Provider returned error"}}, 502, "Provider returned error"),
        ({"object": "error", "message": "No", "code": 40301, "type": "BadRequestError"}, 400, "No"),
        ({"choices": [{"error": {"message": "Lost", "code": 502}}]}, 502, "Lost"),
        ({"detail": "Not Found"}, 404, "Not Found"),
        ({"code": 1302, "msg": "Rate limit reached"}, 429, "Rate limit reached"),
        ({"error_code": 336003, "error_msg": "invalid messages"}, 400, "invalid messages"),
        ({"header": {"code": 11200, "message": "forbidden: no licence"}}, 403, "forbidden: no licence"),
        # MiniMax
        ({"choices": None, "base_resp": base(1004, LOGIN)}, 401, LOGIN),
        ({"choices": None, "base_resp": base(1008, "insufficient balance")}, 402, "insufficient balance"),
        ({"base_resp": base(1002, "rate limit")}, 429, "rate limit"),
        ({"base_resp": base(1026, "input new_sensitive")}, 400, "input new_sensitive"),
        ({"base_resp": base(1000, "unknown error")}, 502, "unknown error"),
        ({"errors": [{"message": "a"}, {"message": "b"}]}, 502, "a; b"),
    ],
)
def test_an_error_with_status_200_has_a_status(answer: dict[str, Any], status: int, message: str) -> None:
    found = error_within(answer)
    assert found is not None
    assert (found.status, found.message) == (status, message)


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "error": None},
        {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "message": "done"},
        {"choices": []},
        {"message": {"role": "assistant", "content": "a"}, "done": True},
        {"choices": [{"message": {"content": "a"}}], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"choices": None, "base_resp": {"status_code": 0, "status_msg": ""}},
        {},
    ],
)
def test_answers_without_an_error_have_none(answer: dict[str, Any]) -> None:
    assert error_within(answer) is None
