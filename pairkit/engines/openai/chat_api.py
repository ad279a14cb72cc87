"""OpenAI's chat completions as data: the body of a request, and the content of an answer.

A server is not trusted: an incomplete answer is a `Fault`, which leads to another try, and the key is removed
from every text of a server before it becomes part of a message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any, NamedTuple

from pairkit.engines.base import Completion, Request
from pairkit.engines.openai.messages import received, sent
from pairkit.engines.openai.spending import Tokens
from pairkit.engines.recipe import EngineRecipe
from pairkit.errors import RecipeError

# Statuses that are worth another try.
TRANSIENT = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
LONGEST_WAIT = 300.0  # seconds, even if Retry-After is longer
_CUT = 300  # characters of a server's text in a message


class Fault(NamedTuple):
    """An unusable answer: the reason, and the seconds to wait that the server asked for, if it did."""

    why: str
    after: float | None = None


class Parsed(NamedTuple):
    """The content of an answer: its completions, and its token counts if the server sent them."""

    completions: tuple[Completion, ...]
    tokens: Tokens | None


def body(recipe: EngineRecipe, request: Request) -> dict[str, Any]:
    """Build the JSON of a request whose samplings differ in their seeds only; the first seed is sent.

    Raises `RecipeError` for a prompt of token ids, because servers render the messages themselves.
    """
    if not request.prompt or isinstance(request.prompt[0], int):
        raise RecipeError("engine openai needs messages, not token ids; a server renders them itself")
    sampling = request.samplings[0]
    fields = {
        "model": recipe.model,
        **sent(recipe, request),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
        "seed": sampling.seed,
        "n": len(request.samplings),
    }
    fields |= recipe.extra_body
    return {name: value for name, value in fields.items() if value is not None}


def most_tokens(request: Request) -> Tokens:
    """Bound a request's tokens: a guess for the prompt (three bytes per token), a limit for completions."""
    messages = [message for message in request.prompt if isinstance(message, Mapping)]
    texts = [text for message in messages for name, text in message.items() if name != "role"]
    # In bytes, because a character of other scripts than Latin is often several tokens.
    size = sum(len(text.encode()) for text in [*texts, request.tools or ""])
    return Tokens(size // 3 + 8, sum(sampling.max_tokens for sampling in request.samplings))


def parse(content: bytes, request: Request) -> Parsed | Fault:
    """Read the completions of a successful answer; their sampling has the seed that was sent."""
    try:
        answer = json.loads(content)
    except ValueError:
        return Fault("the answer is not JSON")
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    expected = len(request.samplings)
    # Not every server knows `n`: some send one choice whatever it is.
    if not isinstance(choices, list) or len(choices) != expected:
        count = len(choices) if isinstance(choices, list) else "no"
        hint = "; generate.many_per_call=false asks for one a call" if expected > 1 else ""
        return Fault(f"the answer holds {count} choices, {expected} were asked for{hint}")
    usage = _usage(answer.get("usage"))
    completions = []
    for choice, sampling in zip(_ordered(choices), request.samplings, strict=True):
        message = received(choice)
        if message is None:
            return Fault("the answer holds a choice without a whole message")
        # Servers count the tokens of all choices together, so those of one are known only if it is alone.
        tokens = usage.completion if usage is not None and expected == 1 else None
        asked = sampling._replace(seed=request.samplings[0].seed)
        completions.append(
            Completion(message.text, tokens, message.reason, asked, message.thought, message.tool_calls)
        )
    return Parsed(tuple(completions), usage)


def retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None if it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time()
        except ValueError:
            return None
    # A date may be past, by a wrong clock or a slow answer.
    return min(max(seconds, 0.0), LONGEST_WAIT)


def reason_of(content: bytes, key: str | None) -> str:
    """Return a server's explanation of a refusal: one line, shortened, without the key."""
    text = content.decode("utf-8", "replace")
    try:
        answer = json.loads(text)
    except ValueError:
        answer = None
    if isinstance(answer, Mapping):
        # Servers differ: an object with a message, a text, or another object.
        error = answer.get("error", answer)
        text = str(error.get("message", error)) if isinstance(error, Mapping) else str(error)
    flat = " ".join(text.split())
    if key:
        flat = flat.replace(key, "***")
    return flat[:_CUT] + "…" * (len(flat) > _CUT)


def model_names(content: bytes) -> list[str]:
    """Return the models that a server lists; [] if it uses another format."""
    try:
        return [str(model["id"]) for model in json.loads(content)["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def _ordered(choices: list[Any]) -> list[Any]:
    """Sort choices by their `index`, if all have one."""
    places = [choice.get("index") if isinstance(choice, Mapping) else None for choice in choices]
    # Not every server numbers its choices, and then their order is all there is.
    if sorted(place for place in places if isinstance(place, int)) != list(range(len(choices))):
        return choices
    return [choices[places.index(number)] for number in range(len(choices))]


def _usage(usage: Any) -> Tokens | None:
    if not isinstance(usage, Mapping):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return Tokens(prompt, completion)
