"""What every engine takes and gives: requests in, one result a request out.

A request is a prompt and the samplings of the completions that are wanted of it. An engine first says with
`calls` what it computes in one go (a batch, one HTTP call), and is then given those calls one by one while
it has `room`, and asked to `collect` what is ready, in any order. `asking.Asking` does both, stores what a
call has given under a hash of the call, and gives it again when the same call comes again.

A request that cannot be served ends in a `Problem` and its set in quarantine; an engine raises only what
stops all requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from pairkit.models.chat import Messages

# refused: by the model or its provider, and told so by the engine, not read from the text.
FinishReason = Literal["stop", "length", "refused"]


class Sampling(NamedTuple):
    """How one completion is drawn: the fields of `schema.SAMPLING`."""

    temperature: float  # 0 takes the most probable token
    top_p: float
    seed: int
    max_tokens: int  # of the completion, the end-of-turn token included


@dataclass(frozen=True)
class Request:
    """A prompt and the samplings of the completions that are wanted of it, one completion each.

    The prompt is either messages, which the engine renders once with its chat template, or token ids.
    """

    prompt: Messages | Sequence[int]
    samplings: tuple[Sampling, ...]


class Completion(NamedTuple):
    """One completion. `tokens` counts what was sampled, the end-of-turn token included; None: not told."""

    text: str
    tokens: int | None
    finish_reason: FinishReason
    sampling: Sampling


class Problem(NamedTuple):
    """Why a request has no completions: a quarantine reason and what a person should know."""

    reason: str
    detail: str


# Of one request: its completions in the order of its samplings.
Result = tuple[Completion, ...] | Problem


class Call(NamedTuple):
    """What an engine computes in one go: nothing but these requests determines the results.

    `owners` are the positions of the requests that `requests` are (parts of). The parts of a request that
    is divided among calls follow one another. A `problem` was found before anything was asked: it is the
    result of every request of the call.
    """

    requests: tuple[Request, ...]
    owners: tuple[int, ...]
    problem: Problem | None = None


class Engine(Protocol):
    """Something that completes prompts: see the module's text."""

    @property
    def name(self) -> str:
        """Of the model, recorded with each completion."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the results of a call depend on beside the call, as JSON values."""
        ...

    def calls(self, requests: Sequence[Request]) -> list[Call]:
        """The calls in which these requests are computed, in the order in which they are best made."""
        ...

    def room(self) -> bool:
        """Whether another call may be submitted now: one that waits for work says yes."""
        ...

    def submit(self, number: int, call: Call) -> None:
        """Takes a call; `number` is what `collect` will name it."""
        ...

    def collect(self) -> list[tuple[int, tuple[Result, ...]]]:
        """The calls that are done, each with the results of its requests; waits until there is one."""
        ...

    def drain(self) -> list[tuple[int, tuple[Result, ...]]]:
        """What is worth waiting for when the asking is over, and what may not have been stored yet."""
        ...

    def usage(self) -> Mapping[str, float]:
        """What was spent so far, by name, for the progress bar and the run log."""
        ...

    def close(self) -> None:
        """Gives back whatever the engine holds."""
        ...


def sample_seed(seed: int, set_id: str, index: int) -> int:
    """The seed of sample `index` of a set, in [0, 2**53): every JSON reader keeps such a number exactly."""
    digest = hashlib.sha256(f"{seed}/{set_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11
