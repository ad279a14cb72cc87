"""The contract of an engine: requests in, one result per request out.

A request is a prompt and the samplings of the completions to generate. An engine first divides requests with
`calls` into what it computes at once (a batch, one HTTP call). It is then given those calls one by one while
it has `room`, and asked to `collect` the finished ones, in any order. `asking.Asking` drives both, stores the
results of each call under a hash of the call, and returns them again for the same call.

A request that cannot be served ends in a `Problem` and its set in quarantine; an engine raises only errors
that stop all requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

from pairkit.models.chat.messages import from_json
from pairkit.models.chat.render import Messages

# refused: the provider reports a refusal; it is not guessed from the text.
FinishReason = Literal["stop", "length", "refused"]
# The reason of a request that no server was there for. It is not stored: the server may be back later.
UNREACHABLE = "endpoint_unreachable"
# Remarks on completions -> their text, in words that follow "N of M completions: ".
REMARKS = {
    "sent_without_temperature": "sampled at the server's own temperature",
    "sent_without_top_p": "sampled with the server's own top_p",
    "sent_without_seed": "requested without a seed",
    "sent_without_max_tokens": "requested without a limit of tokens",
    "sent_max_completion_tokens": "limited by max_completion_tokens instead of max_tokens",
    "other_finish_reason": "with a finish reason that is null or unknown, read as whole",
    "secret_masked": "repeated a secret of the request, which *** replaces",
}


# Texts and log-probs of the most probable tokens at one position, the most probable first.
TopLogprobs = tuple[tuple[str, float], ...]


class Sampling(NamedTuple):
    """The sampling parameters of one completion: the fields of `schema.SAMPLING`."""

    temperature: float  # 0: take the most probable token
    top_p: float
    seed: int
    max_tokens: int  # of the completion, the end-of-turn token included


class SentSampling(NamedTuple):
    """The sampling parameters that a server was sent for a completion; None: it used its own."""

    temperature: float | None
    top_p: float | None
    seed: int | None
    max_tokens: int | None


class Structure(NamedTuple):
    """The form that an answer has to have, where an engine can enforce one.

    Attributes:
        name: a word for it, which servers want.
        schema: JSON Schema of the answer, as JSON.
        instruction: appended to the last message, but only where the form is enforced.
    """

    name: str
    schema: str
    instruction: str


@dataclass(frozen=True)
class Request:
    """A prompt, and one sampling per completion to generate.

    The prompt is either messages, which the engine renders with its chat template, or token ids. Messages are
    those of `schema.plain_messages`: tool calls are JSON texts, and null fields are absent.

    Attributes:
        tools: JSON list of the tools that the prompt offers, or None.
        template_kwargs: JSON object of arguments of the template for this prompt, or None.
        top_logprobs: how many of the most probable first tokens of a completion are returned with their
            log-probs, at temperature 1; None: none are.
        structure: the form of the answer; None: any text.
    """

    prompt: Messages | Sequence[int]
    samplings: tuple[Sampling, ...]
    tools: str | None = None
    template_kwargs: str | None = None
    top_logprobs: int | None = None
    structure: Structure | None = None

    @property
    def instructed(self) -> Request:
        """The request with the instruction about its form in the last message, which is the user's."""
        if self.structure is None:
            return self
        *messages, last = (part for part in self.prompt if not isinstance(part, int))
        content = f"{last['content']}\n\n{self.structure.instruction}"
        return replace(self, prompt=[*messages, {**last, "content": content}])

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of the template for this prompt. Raises `PromptRefused` for no JSON object."""
        text = self.template_kwargs
        return {} if text is None else dict(from_json(text, dict, "chat_template_kwargs"))


class Completion(NamedTuple):
    """One completion.

    Attributes:
        tokens: the number of sampled tokens, end-of-turn token included; None: unknown.
        reasoning_content: a thought that the server keeps apart from the text, or None.
        tool_calls: JSON list of the calls that the server keeps apart from the text, or None.
        token_ids: the sampled ids, end of turn included, if tokenizing the text gives others; else None.
        tokenizer: `ChatFormat.fingerprint` of the tokenizer that `token_ids` belong to.
        remarks: names under which the completion is counted besides, or None: `REMARKS` has those there are.
        logprobs: texts and log-probs (nats) of the most probable first tokens, in that order; None: none were
            requested, or the engine has none.
    """

    text: str
    tokens: int | None
    finish_reason: FinishReason
    sampling: Sampling | SentSampling
    reasoning_content: str | None = None
    tool_calls: str | None = None
    token_ids: tuple[int, ...] | None = None
    tokenizer: str | None = None
    remarks: tuple[str, ...] | None = None
    logprobs: TopLogprobs | None = None


class Problem(NamedTuple):
    """The reason why a request has no completions: a quarantine reason, and a detail for a person."""

    reason: str
    detail: str


# The result of one request: its completions in the order of its samplings, or why there are none.
Result = tuple[Completion, ...] | Problem


# The reason of a request whose answer comes with a batch: nothing is wrong with it, and it is never stored.
IN_BATCH = "in_batch"
PENDING = Problem(IN_BATCH, "the answer comes with a batch")


class Call(NamedTuple):
    """Requests that an engine computes at once; the results depend on these requests alone.

    `owners` holds for each of `requests` the position of the request that it is (a part of). The parts of a
    request that is divided among calls follow one another. A `problem` that was found before anything was
    sent is the result of every request of the call.
    """

    requests: tuple[Request, ...]
    owners: tuple[int, ...]
    problem: Problem | None = None


class Unloaded(NamedTuple):
    """What is known of an engine without its model: `identity` and `calls` are those of `Engine`."""

    identity: Mapping[str, Any]
    calls: Callable[[Sequence[Request]], list[Call]]


class Engine(Protocol):
    """A generator of completions; the module's docstring describes the protocol."""

    @property
    def name(self) -> str:
        """The name of the model, recorded with each completion."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything besides the call that its results depend on, as JSON values."""
        ...

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        """Divide requests into calls, in the order in which they are best computed."""
        ...

    def room(self) -> bool:
        """Return whether another call may be submitted now; true for an idle engine."""
        ...

    def submit(self, number: int, call: Call) -> None:
        """Accept a call; `collect` will return its results under `number`."""
        ...

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        """Return finished calls, each with the results of its requests; wait until there is one."""
        ...

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        """Stop: return the results that are worth waiting for, or that may not have been stored yet."""
        ...

    def usage(self) -> Mapping[str, float]:
        """Return the consumption so far, by name, for the progress bar and the run log."""
        ...

    def close(self) -> None:
        """Release whatever the engine holds."""
        ...


class BatchEngine(Engine, Protocol):
    """An engine that puts calls into batches and returns `PENDING` for them, until they are answered.

    The answers of a batch go to the cache of calls, where whoever asks again finds them. Calls that a batch
    has left unanswered are made directly, as those of `direct` are.
    """

    @property
    def direct(self) -> Engine:
        """The engine without batches: the same server, budget and counts."""
        ...

    def flush(self) -> None:
        """Submit the batch that is being filled."""
        ...

    @property
    def waiting(self) -> int:
        """The number of requests in the batches with calls that were asked for."""
        ...

    def wait(self, advance: Callable[[int], None]) -> bool:
        """Wait for these batches; return whether there is anything to ask again.

        `advance` is called with the number of requests that are done.
        """
        ...


class PlannedEngine(Engine, Protocol):
    """An engine that counts what would go into batches, for a dry run.

    Attributes:
        requests, size, batches: of what would be submitted: its requests, bytes and batches.
        prompt, completion: its most tokens.
        submitted: requests in batches of an earlier run.
    """

    requests: int
    size: int
    batches: int
    prompt: int
    completion: int
    submitted: int


def sample_seed(seed: int, set_id: str, index: int) -> int:
    """Return the seed of sample `index` of a set, below 2**53 because JSON readers keep that exactly."""
    # A hash and not a counter, because a set has to get the same seeds in any batch, order or resumed build.
    digest = hashlib.sha256(f"{seed}/{set_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11
