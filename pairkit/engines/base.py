"""What every engine takes and gives: requests in, answers out, one answer a request.

An engine is any object with a `name` (of the model, recorded with each completion) and a method
`complete`. Answers may come in any order and as soon as they are ready, so that a caller can store each
one; `Answer.request` says whose it is. A request that an engine cannot serve is answered with a `Problem`
and ends in quarantine; an engine raises only what stops all requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from pairkit.chat import Messages

FinishReason = Literal["stop", "length"]


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
    """One completion. `tokens` counts what was sampled, the end-of-turn token included."""

    text: str
    tokens: int
    finish_reason: FinishReason
    sampling: Sampling


class Problem(NamedTuple):
    """Why a request has no completions: a quarantine reason and what a person should know."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Answer:
    """The completions of the request at position `request`, in the order of its samplings; or a problem."""

    request: int
    completions: tuple[Completion, ...] = ()
    problem: Problem | None = None


class Engine(Protocol):
    """Something that completes prompts: see the module's text."""

    @property
    def name(self) -> str: ...

    def complete(self, requests: Sequence[Request]) -> Iterator[Answer]: ...


def sample_seed(seed: int, set_id: str, index: int) -> int:
    """The seed of sample `index` of a set, in [0, 2**53): every JSON reader keeps such a number exactly."""
    digest = hashlib.sha256(f"{seed}/{set_id}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11
