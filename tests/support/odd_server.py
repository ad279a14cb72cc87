"""Chat servers as they are: one in a thread of the test, whose oddity is the first part of the path.

`http://127.0.0.1:PORT/ODDITY/v1` answers as the function of that name in `ODDITIES` does. Texts depend on
the messages, the seed and the place of the choice, so that a test can tell which request an answer is of.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from support.serving import Handler, listening

Body = dict[str, Any]
# The status, and the answer: an object that becomes JSON, or the bytes of a stream.
Answer = tuple[int, Any]
Oddity = Callable[[Body], Answer]
KEY = "sk-of-a-vendor"
# What OpenAI's chat completions take from a model that reasons.
VENDOR_FIELDS = {
    "model", "messages", "max_completion_tokens", "n", "seed", "tools", "stream", "stream_options",
    "reasoning_effort", "response_format", "store", "metadata", "user", "temperature", "top_p",
}  # fmt: skip


def text(body: Body, index: int = 0) -> str:
    name = json.dumps([body["messages"], body.get("seed"), index])
    # Judges are answered with a verdict: the prompts of judges name its form.
    if "<verdict>" in name:
        return "The first is right. <verdict>A</verdict>"
    if "<rating>" in name:
        return "Good. <rating>4</rating>"
    if "<ranking>" in name:
        return "The first is right. <ranking>A > B</ranking>"
    return f"Answer {hashlib.sha256(name.encode()).hexdigest()[:12]}"


def choice(content: Any, index: int = 0, end: str | None = "stop", **more: Any) -> Body:
    message = {"role": "assistant", "content": content, **more}
    return {"index": index, "message": message, "finish_reason": end}


def whole(*choices: Body) -> Answer:
    usage = {"prompt_tokens": 7, "completion_tokens": 5 * len(choices)}
    return 200, {"object": "chat.completion", "choices": list(choices), "usage": usage}


def plain(body: Body) -> Answer:
    return whole(*(choice(text(body, index), index) for index in range(body.get("n", 1))))


def each(end: str | None = "stop", content: Callable[[str], Any] = str, **more: Any) -> Oddity:
    """Make an oddity that every choice has."""

    def odd(body: Body) -> Answer:
        texts = (text(body, index) for index in range(body.get("n", 1)))
        return whole(*(choice(content(one), index, end, **more) for index, one in enumerate(texts)))

    return odd


def bare_last(end: str) -> Oddity:
    """Answer with a last choice that has an end and no content, as Google's servers do."""

    def odd(body: Body) -> Answer:
        answer = plain(body)
        last = {"index": body.get("n", 1) - 1, "message": {"role": "assistant"}, "finish_reason": end}
        answer[1]["choices"][-1] = last
        return answer

    return odd


def refusal(message: str, status: int = 400, **about: Any) -> Answer:
    return status, {"error": {"message": message, "type": "invalid_request_error", **about}}


def odd_prompt(body: Body) -> bool:
    """Whether a prompt is among those that something happens to: its number is odd."""
    return int(body["messages"][-1]["content"].split()[-1]) % 2 == 1


def some(odd: Oddity) -> Oddity:
    return lambda body: odd(body) if odd_prompt(body) else plain(body)


def first(odd: Oddity) -> Oddity:
    """Make an oddity of the first prompt and every other one after it."""
    return lambda body: plain(body) if odd_prompt(body) else odd(body)


def without(name: str, odd: Oddity) -> Oddity:
    """Make an oddity of requests that have a field."""
    return lambda body: odd(body) if name in body else plain(body)


def vendor(body: Body) -> Answer:
    """Refuse what OpenAI refuses for a model that reasons, one thing at a time."""
    unknown = sorted(body.keys() - VENDOR_FIELDS - {"max_tokens"})
    if unknown:
        return refusal(f"Unrecognized request argument supplied: {', '.join(unknown)}")
    if "max_tokens" in body:
        use = "'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        return refusal(f"Unsupported parameter: {use}", param="max_tokens", code="unsupported_parameter")
    if body.get("temperature", 1) != 1:
        message = (
            f"Unsupported value: 'temperature' does not support {body['temperature']} with this model. "
            "Only the default (1) value is supported."
        )
        return refusal(message, param="temperature", code="unsupported_value")
    if "top_p" in body:
        message = "Unsupported parameter: 'top_p' is not supported with this model."
        return refusal(message, param="top_p", code="unsupported_parameter")
    return plain(body)


def forbidding(body: Body) -> Answer:
    """Name all fields that are not known, as FastAPI does."""
    unknown = sorted({"seed", "top_p"} & body.keys())
    detail = [
        {
            "type": "extra_forbidden",
            "loc": ["body", name],
            "msg": "Extra inputs are not permitted",
            "input": 1,
        }
        for name in unknown
    ]
    return (422, {"detail": detail}) if unknown else plain(body)


def one_at_a_time(status: int, message: str, **about: Any) -> Oddity:
    return lambda body: refusal(message, status, **about) if body.get("n", 1) > 1 else plain(body)


def greedy_once(body: Body) -> Answer:
    if body.get("n", 1) > 1 and body["temperature"] == 0:
        return refusal(f"n must be 1 when using greedy sampling, got {body['n']}.")
    return plain(body)


def limited(body: Body) -> Answer:
    return refusal("max_tokens must be at most 32, got 64") if body.get("max_tokens", 0) > 32 else plain(body)


def streamed(body: Body, *, end: str = "data: [DONE]\n\n") -> Answer:
    """Answer in pieces: an event per character of the texts, the choices in turns."""
    _, answer = plain(body)
    events = []
    for index in range(body.get("n", 1)):
        pieces = [{"role": "assistant", "reasoning_content": "Hm"}, {"reasoning_content": "."}]
        pieces += [{"content": mark} for mark in text(body, index)]
        events += [(place, index, piece) for place, piece in enumerate(pieces)]
    lines = [": a comment, so that the connection stays open", ""]
    for _, index, piece in sorted(events, key=lambda event: event[:2]):
        lines += [f"data: {json.dumps({'choices': [{'index': index, 'delta': piece}]})}", ""]
    for index in range(body.get("n", 1) if end else 0):
        last = {"choices": [{"index": index, "delta": {}, "finish_reason": "stop"}]}
        lines += [f"data: {json.dumps(last)}", ""]
    lines += [f"data: {json.dumps({'choices': [], 'usage': answer['usage']})}", "", end]
    return 200, "\n".join(lines).encode()


def only_streams(body: Body) -> Answer:
    if not body.get("stream"):
        return refusal("This model only supports streaming, please set stream=true")
    return streamed(body)


_CUT = {"end": "length", "content": lambda _: None, "reasoning_content": "Let me think"}
_CONTEXT = "This model's maximum context length is 64 tokens. However, you requested 90 tokens."
_FILTER = "The response was filtered due to the prompt triggering the content management policy."
_FLAGGED = "Your input was flagged by moderation"
_UNFINISHED = (
    "Could not finish the message because max_tokens or model output limit was reached. "
    "Please try again with higher max_tokens."
)
_BAD_KEY = "API key not valid. Please pass a valid API key."
_LOGIN = "login fail: Please carry the API secret key"
_CANDIDATES = (
    "Unable to submit request because it has a candidateCount value of 3 but the supported range is from 1 "
    "(inclusive) to 2 (exclusive). Update the value and try again."
)
_ONLY_ONE = "invalid temperature: only 1 is allowed for this model"
_BUSY = {"message": "Provider returned error", "code": 429, "metadata": {"raw": "Too Many Requests"}}
_BROKEN = {"message": "Bad gateway", "code": 502}
_BOTH = "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
_PARTS = [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]
_OF_SEED = "Invalid value at 'generation_config.seed' (TYPE_INT32)"


def last_cut(body: Body) -> Answer:
    """Spend the tokens of the last choice on its thought."""
    answer = plain(body)
    answer[1]["choices"][-1] = choice(None, body.get("n", 1) - 1, "length", reasoning="Let me think")
    return answer


def last_lost(error: Body) -> Oddity:
    """Answer with an error in the last choice."""

    def odd(body: Body) -> Answer:
        answer = plain(body)
        answer[1]["choices"][-1] |= {"finish_reason": "error", "error": error}
        return answer

    return odd


def stream_lost(error: Body) -> Oddity:
    """Answer with a stream that ends in an error next to a choice, as OpenRouter does."""
    pieces = [
        {"choices": [{"index": 0, "delta": {"content": "Half"}, "finish_reason": None}]},
        {"error": error, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]},
    ]
    events = [*map(json.dumps, pieces), "[DONE]"]
    return lambda _: (200, "".join(f"data: {event}\n\n" for event in events).encode())


ODDITIES: dict[str, Oddity] = {
    "plain": plain,
    "vendor": vendor,
    "thought_cut": each(**_CUT),
    "some_thoughts_cut": some(each(**_CUT)),
    "last_cut": last_cut,
    "last_unsaid": bare_last("length"),
    "last_filtered": bare_last("content_filter"),
    "thought_apart": each(reasoning="Hm."),
    "thought_closed": each(content=lambda one: f"Hm.\n</think>\n\n{one}"),
    "thought_open": each("length", content=lambda one: f"Well, {one}"),
    "busy": lambda body: (200, {"choices": None, "error": _BUSY}),
    "no_model": lambda body: (200, {"error": {"message": "Model a/b is not available", "code": 400}}),
    "no_model_text": lambda body: (200, {"error": "model 'a/b' not found, try pulling it first"}),
    "no_model_id": lambda body: refusal("a/b is not a valid model ID", code=400),
    "bad_key": lambda body: (
        400,
        [{"error": {"code": 400, "message": _BAD_KEY, "status": "INVALID_ARGUMENT"}}],
    ),
    "base_resp": lambda body: (
        200,
        {"choices": None, "base_resp": {"status_code": 1004, "status_msg": _LOGIN}},
    ),
    "candidates": one_at_a_time(400, _CANDIDATES),
    "only_one": lambda body: plain(body) if body.get("temperature", 1) == 1 else refusal(_ONLY_ONE),
    "no_credit": lambda body: (402, {"error": {"message": "Insufficient credits", "code": 402}}),
    "choice_error": some(lambda body: (200, {"choices": [{"error": _BROKEN}]})),
    "last_choice_error": some(last_lost({"message": "Flagged output", "code": 400})),
    "streams_error": some(stream_lost({"message": "Prompt is too long", "code": 400})),
    "object_error": some(lambda body: (200, {"object": "error", "message": "Prompt flagged", "code": 400})),
    "one_choice": lambda body: plain(body | {"n": 1}),
    "n_refused_500": one_at_a_time(500, "Only one completion choice is allowed"),
    "n_refused_400": one_at_a_time(400, "Invalid 'n': only n=1 is supported by this model", param="n"),
    "greedy_once": greedy_once,
    "no_end": each(None),
    "eos_token": each("eos_token"),
    "parts": each(content=lambda one: [*_PARTS, {"type": "text", "text": one}]),
    "filter": some(lambda body: refusal(_FILTER, code="content_filter", param="prompt")),
    "moderation": first(lambda body: refusal(_FLAGGED, 403, metadata={"reasons": ["violence"]})),
    "unfinished": first(lambda body: refusal(_UNFINISHED)),
    "context": some(lambda body: refusal(_CONTEXT, code=400)),
    "limited": limited,
    "greedy": each(content=lambda _: "Always the same."),
    "no_seed": without("seed", lambda body: refusal("Extra inputs are not permitted: seed", 422)),
    "small_seed": without("seed", lambda body: (400, [{"error": {"code": 400, "message": _OF_SEED}}])),
    "forbidding": forbidding,
    "one_of_both": without("top_p", lambda body: refusal(_BOTH)),
    "never": lambda body: refusal("'n' and 'seed' are not supported, nor is max_tokens"),
    "no_system": lambda body: refusal("System role not supported"),
    "streams": streamed,
    "only_streams": only_streams,
    "broken_streams": lambda body: streamed(body, end=""),
}


@dataclass
class OddServer:
    """A running server, and the bodies of the requests that each oddity got. `latency` is in seconds."""

    port: int = 0
    latency: float = 0.0
    bodies: dict[str, list[Body]] = field(default_factory=dict)

    def url(self, oddity: str) -> str:
        assert oddity in ODDITIES
        return f"http://127.0.0.1:{self.port}/{oddity}/v1"

    def forget(self) -> None:
        self.bodies.clear()
        self.latency = 0.0

    def answer(self, oddity: str, authorization: str | None, body: Body) -> Answer:
        if oddity == "vendor" and authorization != f"Bearer {KEY}":
            return refusal("Incorrect API key provided", 401)
        seen = self.bodies.setdefault(oddity, [])
        seen.append(body)
        time.sleep(self.latency)
        # The first try of each request only.
        if oddity == "busy" and seen.count(body) > 1 and odd_prompt(body):
            return plain(body)
        return ODDITIES[oddity](body)


@contextmanager
def odd_server() -> Iterator[OddServer]:
    """Run the server in a thread; it ends with the block."""
    running = OddServer()

    class Odd(Handler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send(200, {"data": [{"id": "tiny"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _, oddity, *rest = self.path.split("/")
            assert rest == ["v1", "chat", "completions"]
            self.send(*running.answer(oddity, self.headers["Authorization"], body))

        def send(self, status: int, answer: Any) -> None:
            content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            kind = "text/event-stream" if isinstance(answer, bytes) else "application/json"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with listening(Odd) as server:
        running.port = server.server_port
        yield running
