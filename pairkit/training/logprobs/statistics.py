"""Statistics of each scored token: from the states of the output heads, else from the models' own logits.

Shapes: T scored tokens of all sets, V vocabulary, S statistics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pairkit.errors import ModelError
from pairkit.training.distributed.sharding import sharded
from pairkit.training.logprobs import head
from pairkit.training.logprobs.attention import current_sequence, using_packed_attention
from pairkit.training.logprobs.hidden import head_of, hidden_states, last_positions
from pairkit.training.logprobs.packing import pack
from pairkit.training.logprobs.padding import ModelInputs, pad_rows
from pairkit.training.logprobs.selection import (
    SetSelection,
    scored_ids,
    scored_places,
)
from pairkit.training.logprobs.turns import turns_of, with_turns
from pairkit.training.tokens.token_set import Column, TokenSet


class _Row(NamedTuple):
    """A prompt with one completion after it; `turns`: whether the turns of the prompt count here."""

    tokens: TokenSet
    column: Column
    turns: bool

    @property
    def texts(self) -> list[Column]:
        """What is scored, in order."""
        return [turns_of(self.tokens), self.column] if self.turns else [self.column]


def statistics_of_tokens(
    model: nn.Module,
    live: nn.Module | None,
    work: Sequence[SetSelection],
    names: tuple[str, ...],
    shared: bool,
    turns: bool,
) -> tuple[dict[str, Tensor], int]:
    """Compute statistics of each scored token, `[T]` by name; count the tokens that pass.

    Args:
        turns: whether the assistant's earlier turns count, before the completions of their set.
    """
    device = next(model.parameters()).device
    texts = with_turns(work) if turns else [column for item in work for column in item.picked]
    targets, places = scored_ids(texts, device), scored_places(texts)  # [T] each
    if shared:
        masks = [item.tokens.turns for item in work] if turns else None
        inputs, packed = pack([(item.tokens.prompt, item.completions) for item in work], device, turns=masks)
        inputs = inputs.at(places)
        # One sequence for both models, because their states are compared token by token.
        with using_packed_attention(model, live), current_sequence(packed):
            statistics = _statistics_from_states(model, live, inputs, targets, names)
        assert statistics is not None, "a model that packs has a plain head"
        return statistics, int(inputs.arguments["input_ids"].numel())
    # In the first row of a set, because its prompt is the same in all of them.
    rows = [
        _Row(item.tokens, column, turns and place == 0)
        for item in work
        for place, column in enumerate(item.picked)
    ]
    inputs = _padded(rows, device)
    token_count = int(inputs.arguments["attention_mask"].sum())  # tokens; a rate must not count padding
    statistics = _statistics_from_states(model, live, inputs, targets, names)
    # The models' own logits are the last resort, because [rows, positions, V] of them are made.
    return statistics or _statistics_from_own_logits(model, live, rows, names), token_count


def _statistics_from_states(
    model: nn.Module, live: nn.Module | None, inputs: ModelInputs, targets: Tensor, names: tuple[str, ...]
) -> dict[str, Tensor] | None:
    """Compute statistics, `[T]` each, from the states that heads would get; None where one is not plain."""
    reference = None
    # The reference first: where it cannot do this, the policy's pass with its graph would be for nothing.
    if live is not None:
        with torch.no_grad():
            reference = hidden_states(live, inputs)
        if reference is None:
            return None
    policy = hidden_states(model, inputs)
    return None if policy is None else head.token_statistics(names, policy, targets, reference)


def _statistics_from_own_logits(
    model: nn.Module, live: nn.Module | None, texts: Sequence[_Row], names: tuple[str, ...]
) -> dict[str, Tensor]:
    """Compute statistics from the logits that the models themselves return, a few rows at a time.

    Each part runs under an activation checkpoint, so that the logits of one part exist at a time in backward
    too.
    """
    if sharded(model, live):  # the number of passes depends on the rows, which differ between processes
        raise ModelError(
            "a model whose logits are not those of a plain output head cannot be sharded: set shard=false"
        )
    device = next(model.parameters()).device

    def part_statistics(inputs: ModelInputs, targets: Tensor) -> Tensor:  # [S, tokens]
        def logits(network: nn.Module) -> Tensor:
            # [tokens, V], float32 before the softmax, because a loss subtracts sums of its logarithms.
            output = last_positions(network(**inputs.arguments).logits, inputs)
            return output.flatten(0, 1)[inputs.predictors].float()

        reference = None
        if live is not None:
            with torch.no_grad():
                reference = logits(live)
        return head.statistics_from_logits(names, logits(model), targets, reference)

    # Without a weight the size of the vocabulary is unknown, and one row at a time is safe.
    weight = getattr(head_of(model)[1], "weight", None)
    # As many rows as have `CHUNK_LOGITS` logits, which the other path holds at a time too.
    positions = _padded(texts, device).arguments["logits_to_keep"]
    step = 1 if weight is None else max(1, head.CHUNK_LOGITS // (positions * len(weight)))  # rows
    parts = [texts[at : at + step] for at in range(0, len(texts), step)]
    rows = [
        checkpoint(
            part_statistics,
            _padded(part, device),
            scored_ids([text for row in part for text in row.texts], device),
            use_reentrant=False,  # the other kind needs an input with a gradient, and there is none
            preserve_rng_state=False,  # dropout is off, so that nothing random is repeated
        )
        for part in parts
    ]
    return head.rows_by_name(names, torch.cat(rows, dim=1))  # [S, T]


def _padded(rows: Sequence[_Row], device: torch.device) -> ModelInputs:
    """Make padded rows, and predict the scored tokens."""
    turns = [row.tokens.turns if row.turns else None for row in rows]
    inputs = pad_rows([(row.tokens.prompt, row.column.ids) for row in rows], device, turns)
    return inputs.at(scored_places([text for row in rows for text in row.texts]))
