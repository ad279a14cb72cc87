"""OpenAI's chat completions as data: the body of a request, and the content of an answer.

A server is not trusted: an incomplete answer is a `Fault`, which leads to another try.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from math import isnan
from time import time
from typing import Any, NamedTuple

from pairkit.engines.base import Completion, FinishReason, Request, SentSampling, Structure
from pairkit.engines.openai import stream
from pairkit.engines.openai.account import Tokens
from pairkit.engines.openai.dialect import FORM, LIMIT, NEW_LIMIT, PLAIN, Dialect
from pairkit.engines.openai.errors import ServerError, error_within
from pairkit.engines.openai.messages import Received, received, sent
from pairkit.engines.openai.secrets import NO_SECRETS, Secrets
from pairkit.engines.openai.usage import Possible, Usage, tokens_of_prompt, usage_of
from pairkit.engines.openai.wire import Unreadable, decoded, loads
from pairkit.engines.recipe import EngineRecipe
from pairkit.errors import RecipeError

LONGEST_WAIT = 300.0  # seconds, even if Retry-After is longer
_MODELS, _LONGEST_NAME = 20, 100  # of those that a message lists


class Fault(NamedTuple):
    """An unusable answer: the reason, and the seconds to wait that the server asked for, if it did."""

    why: str
    after: float | None = None


class Parsed(NamedTuple):
    """The content of an answer: its completions, and what the server reports of its tokens."""

    completions: tuple[Completion, ...]
    usage: Usage


def body(recipe: EngineRecipe, request: Request, dialect: Dialect = PLAIN) -> dict[str, Any]:
    """Build the JSON of a request whose samplings differ in their seeds only; the first seed is sent.

    Raises `RecipeError` for a prompt of token ids, because servers render the messages themselves.
    """
    if not request.prompt or isinstance(request.prompt[0], int):
        raise RecipeError("engine openai needs messages, not token ids; a server renders them itself")
    sampling = request.samplings[0]
    # Where the server enforces no form, nothing of it is sent: the prompt names another one. A form that the
    # user has set is theirs.
    enforced = FORM not in dialect.removed and FORM not in recipe.extra_body
    structure = request.structure if enforced else None
    fields = {
        "model": recipe.model,
        **sent(recipe, request if structure is None else request.instructed),
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        LIMIT: sampling.max_tokens,
        "seed": sampling.seed,
        # Left out where it has nothing, because some servers refuse it whatever it is.
        "n": len(request.samplings) if len(request.samplings) > 1 else None,
        "logprobs": None if request.top_logprobs is None else True,
        "top_logprobs": request.top_logprobs,
        FORM: None if structure is None else _form(structure),
    }
    fields = dialect.written(fields)
    if recipe.extra_body.get(NEW_LIMIT) is not None:
        # The user's own name for the limit: with both of them, a server may take either.
        fields.pop(LIMIT, None)
    fields |= recipe.extra_body
    return {name: value for name, value in fields.items() if value is not None}


def _form(structure: Structure) -> dict[str, Any]:
    about = {"name": structure.name, "strict": True, "schema": json.loads(structure.schema)}
    return {"type": "json_schema", "json_schema": about}


def sampling_of(body: Mapping[str, Any]) -> SentSampling:
    """Return the sampling parameters that a body contains, which are what is recorded."""
    limit = body.get(LIMIT, body.get(NEW_LIMIT))
    return SentSampling(body.get("temperature"), body.get("top_p"), body.get("seed"), limit)


def most_tokens(request: Request, body: Mapping[str, Any]) -> Tokens:
    """Bound a request's tokens: a guess for the prompt (three bytes per token), a limit for completions."""
    messages = [message for message in request.prompt if isinstance(message, Mapping)]
    texts = [text for message in messages for name, text in message.items() if name != "role"]
    # In bytes, because a character of other scripts than Latin is often several tokens.
    size = sum(len(text.encode()) for text in [*texts, request.tools or "", *(request.structure or ())])
    limit = sampling_of(body).max_tokens or request.samplings[0].max_tokens
    return Tokens(size // 3 + 8, limit * len(request.samplings))


def used(answer: Parsed | Fault, most: Tokens) -> Tokens:
    """Return the tokens of an answer: as many as it may have where it reports nothing that can be true."""
    # An answer that cannot be used is paid for too.
    if isinstance(answer, Fault):
        return most
    usage = answer.usage
    return Tokens(
        most.prompt if usage.prompt is None else usage.prompt,
        most.completion if usage.completion is None else usage.completion,
    )


def parse(
    content: bytes, body: Mapping[str, Any], secrets: Secrets = NO_SECRETS
) -> Parsed | ServerError | Fault:
    """Read the completions of an answer with status 200 to a request; there may be fewer than `n`."""
    try:
        return _parse(content, body, secrets)
    except Unreadable as error:
        return Fault(str(error))


def parse_object(
    answer: Any, body: Mapping[str, Any], fewest: int, secrets: Secrets
) -> Parsed | ServerError | Fault:
    """Read an answer as `parse` does, of which the JSON was read and `wire.check_depth` was asked.

    `fewest`: the fewest tokens of the request's prompt, whose messages `body` need not have.
    """
    try:
        return _parsed(answer, body, lambda count: count >= fewest, secrets)
    except Unreadable as error:
        return Fault(str(error))


def _parse(content: bytes, body: Mapping[str, Any], secrets: Secrets) -> Parsed | ServerError | Fault:
    streamed = stream.is_stream(content)
    try:
        answer = stream.joined(content) if streamed else loads(decoded(content))
    except ValueError:
        return Fault("the answer is not JSON" if content else "the answer is empty")
    if streamed and answer is None:
        return Fault("the stream broke off")
    return _parsed(answer, body, tokens_of_prompt(body), secrets)


def _parsed(
    answer: Any, body: Mapping[str, Any], prompt: Possible, secrets: Secrets
) -> Parsed | ServerError | Fault:
    answer = answer if isinstance(answer, Mapping) else {}
    if error := error_within(answer, secrets):
        return error
    choices = answer.get("choices")
    number = body.get("n", 1)
    if not isinstance(choices, list) or not 0 < len(choices) <= number:
        count = len(choices) if isinstance(choices, list) else "no"
        return Fault(f"the answer holds {count} choices, {number} were asked for")
    messages = [message for choice in _ordered(choices) if (message := received(choice)) is not None]
    if len(messages) < len(choices):
        return Fault("the answer holds a choice without a whole message")
    usage = usage_of(answer.get("usage"), prompt, messages)
    # Servers count the tokens of all choices together, so those of one are known only if it is alone.
    tokens = usage.completion if len(choices) == 1 else None
    limit = sampling_of(body).max_tokens
    # None can have more than the limit, so that each has it where all together have that many times it.
    total = usage.completion
    spent = total is not None and limit is not None and total >= limit * len(choices)
    completions = [_completion(message, body, tokens, secrets, spent=spent) for message in messages]
    return Parsed(tuple(completions), usage)


def _completion(
    message: Received, body: Mapping[str, Any], tokens: int | None, secrets: Secrets, *, spent: bool
) -> Completion:
    """Build the completion of a message. `spent`: it has all the tokens that it may have."""
    sampling = sampling_of(body)
    reason: FinishReason = message.reason
    # The server does not report that it cut the answer, but its count of tokens does.
    if spent and not message.known_end:
        reason = "length"
    texts = (message.text, message.thought, message.tool_calls)
    text, thought, tool_calls = (each and secrets.hide(each) for each in texts)
    remarks = _remarks(sampling, body, known_end=message.known_end)
    if texts != (text, thought, tool_calls):
        remarks = (*remarks, "secret_masked")
    return Completion(
        text or "",
        tokens,
        reason,
        sampling,
        thought,
        tool_calls,
        remarks=remarks or None,
        logprobs=message.logprobs if "top_logprobs" in body else None,
    )


def _remarks(sampling: SentSampling, body: Mapping[str, Any], *, known_end: bool) -> tuple[str, ...]:
    """Return under which of `REMARKS` a completion counts."""
    remarks = [f"sent_without_{name}" for name, value in sampling._asdict().items() if value is None]
    if NEW_LIMIT in body:
        remarks.append(f"sent_{NEW_LIMIT}")
    return (*remarks, *([] if known_end else ["other_finish_reason"]))


def retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header, a number or a date; None if it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - time()
        # A date of numbers that are too large overflows.
        except (ValueError, OverflowError):
            return None
    if isnan(seconds):
        return None
    # A date may be past, by a wrong clock or a slow answer.
    return min(max(seconds, 0.0), LONGEST_WAIT)


def model_names(content: bytes) -> list[str]:
    """Return the first models that a server lists; [] if it uses another format."""
    try:
        names = [str(model["id"]) for model in json.loads(content)["data"][:_MODELS]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [name[:_LONGEST_NAME].encode("utf-8", "replace").decode() for name in names]


def _ordered(choices: list[Any]) -> list[Any]:
    """Sort choices by their `index`, if all have one."""
    places = [choice.get("index") if isinstance(choice, Mapping) else None for choice in choices]
    # Not every server numbers its choices, and then their order is all there is.
    if sorted(place for place in places if isinstance(place, int)) != list(range(len(choices))):
        return choices
    return [choices[places.index(number)] for number in range(len(choices))]
