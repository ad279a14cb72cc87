"""Requests in batches, for an engine that computes a batch at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pairkit.engines.base import Call, Problem, Request
from pairkit.engines.local import rendered
from pairkit.models.chat.format import ChatFormat


def batched(chat: ChatFormat, config: Any, batch_tokens: int, requests: Sequence[Request]) -> list[Call]:
    """Divide requests into batches, longest prompts first, so that out-of-memory errors come early.

    `config` is that of the model. `batch_tokens` bounds prompt and completion tokens of all rows of a batch.
    """
    # A model of text and images has the limit in the part of its config that is about text.
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    prepared: dict[int, Request] = {}
    refusals: list[Call] = []
    for index, request in enumerate(requests):
        outcome = rendered(chat, request, limit)
        if isinstance(outcome, Problem):
            refusals.append(Call((request,), (index,), outcome))
        elif request.samplings:
            prepared[index] = outcome
    batches = _batches(prepared, batch_tokens)
    return refusals + [Call(tuple(prepared[index] for index in batch), tuple(batch)) for batch in batches]


def _batches(prepared: Mapping[int, Request], batch_tokens: int) -> Iterator[list[int]]:
    """Yield keys of requests, longest prompt first, in batches whose cache stays within the budget."""
    batch: list[int] = []
    rows = width = 0
    for index in sorted(prepared, key=lambda index: -len(prepared[index].prompt)):
        samplings = prepared[index].samplings
        # The cache of a batch is its rows times its longest row.
        room = len(prepared[index].prompt) + max(sampling.max_tokens for sampling in samplings)
        if batch and (rows + len(samplings)) * max(width, room) > batch_tokens:
            yield batch
            batch, rows, width = [], 0, 0
        batch.append(index)
        rows += len(samplings)
        width = max(width, room)
    if batch:
        yield batch
