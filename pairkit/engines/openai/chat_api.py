"""OpenAI's chat completions as data: the body of a request, and what an answer says.

What a server sends is not trusted: an answer that is not whole is a `Fault`, which is asked for again, and
no text of a server gets into a message of ours with the key in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, NamedTuple

from pairkit.engines.base import Completion, FinishReason, Request
from pairkit.engines.openai.spending import Tokens
from pairkit.engines.recipe import EngineRecipe
from pairkit.errors import RecipeError

# Of a status: worth another try.
TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
LONGEST_WAIT = 300.0  # seconds; whatever Retry-After says
_CUT = 300  # characters of a server's text that a message shows
_REASONS: dict[str, FinishReason] = {"length": "length", "max_tokens": "length", "content_filter": "refused"}


class Fault(NamedTuple):
    """An answer that cannot be used, and the seconds after which the server wants to be asked again."""

    why: str
    after: float | None = None


class Parsed(NamedTuple):
    """What an answer says: its completions, and its tokens where they were told."""

    completions: tuple[Completion, ...]
    tokens: Tokens | None


def body(recipe: EngineRecipe, request: Request) -> dict[str, Any]:
    """The JSON of a request whose samplings are equal but for their seeds; the first one's is sent.

    Raises `RecipeError` for a prompt of token ids: servers render the messages themselves.
    """
    if not request.prompt or isinstance(request.prompt[0], int):
        raise RecipeError("engine openai takes messages, not token ids")
    sampling = request.samplings[0]
    fields = {
        "model": recipe.model,
        "messages": [dict(message) for message in request.prompt if isinstance(message, Mapping)],
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "n": len(request.samplings),
    }
    fields |= recipe.extra_body
    return {name: value for name, value in fields.items() if value is not None}


def most_tokens(request: Request) -> Tokens:
    """What a request may take: a guess for the prompt (three bytes a token), a bound for the completions."""
    messages = [message for message in request.prompt if isinstance(message, Mapping)]
    size = sum(len(message["content"].encode()) for message in messages)
    return Tokens(size // 3 + 8, sum(sampling.max_tokens for sampling in request.samplings))


def parse(content: bytes, request: Request) -> Parsed | Fault:
    """The completions of a successful answer, with the seed that was sent."""
    try:
        answer = json.loads(content)
    except ValueError:
        return Fault("the answer is not JSON")
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    wanted = len(request.samplings)
    if not isinstance(choices, list) or len(choices) != wanted:
        count = len(choices) if isinstance(choices, list) else "no"
        hint = "; generate.many_per_call=false asks for one a call" if wanted > 1 else ""
        return Fault(f"the answer holds {count} choices, {wanted} were asked for{hint}")
    usage = _usage(answer.get("usage"))
    completions = []
    for choice, sampling in zip(_ordered(choices), request.samplings, strict=True):
        said = _said(choice)
        if said is None:
            return Fault("the answer holds a choice without a message")
        text, reason = said
        tokens = usage.completion if usage is not None and wanted == 1 else None
        sent = sampling._replace(seed=request.samplings[0].seed)
        completions.append(Completion(text, tokens, reason, sent))
    return Parsed(tuple(completions), usage)


def retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header, which is a number or a date; None where it says nothing."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT)


def reason_of(content: bytes, key: str | None) -> str:
    """What a server says of a refusal: one line, cut, and without the key."""
    text = content.decode("utf-8", "replace")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if isinstance(answer, Mapping):
        error = answer.get("error", answer)
        text = str(error.get("message", error)) if isinstance(error, Mapping) else str(error)
    flat = " ".join(text.split())
    if key:
        flat = flat.replace(key, "***")
    return flat[:_CUT] + "…" * (len(flat) > _CUT)


def model_names(content: bytes) -> list[str]:
    """The models that a server lists; [] where it does so in another way."""
    try:
        return [str(one["id"]) for one in json.loads(content)["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def _ordered(choices: list[Any]) -> list[Any]:
    """Choices by their `index`, where all have one."""
    places = [choice.get("index") if isinstance(choice, Mapping) else None for choice in choices]
    if sorted(place for place in places if isinstance(place, int)) != list(range(len(choices))):
        return choices
    return [choices[places.index(number)] for number in range(len(choices))]


def _said(choice: Any) -> tuple[str, FinishReason] | None:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        return None
    reason = _REASONS.get(str(choice.get("finish_reason")), "stop")
    refusal, content = message.get("refusal"), message.get("content")
    if isinstance(refusal, str) and refusal and not content:
        content, reason = refusal, "refused"
    if content is None and reason == "refused":
        content = ""
    if not isinstance(content, str) or not isinstance(choice.get("finish_reason"), str):
        return None
    # JSON can spell halves of characters, which no file of text can hold.
    return content.encode("utf-8", "replace").decode("utf-8"), reason


def _usage(usage: Any) -> Tokens | None:
    if not isinstance(usage, Mapping):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return Tokens(prompt, completion)
