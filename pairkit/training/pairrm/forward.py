"""Where logits of pairs are made: pairs in, `Logps` out whose `sum` has the logits of both orders."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pairkit.losses import Logps
from pairkit.rankers.pairrm.text import PREFIX_AT
from pairkit.training.logprobs.selection import Scored, SetSelection, lengths
from pairkit.training.tokens.token_set import Column, Ids


def score_pairs(
    model: nn.Module,
    work: Sequence[SetSelection],
    *,
    want: frozenset[str] = frozenset(),
    live: nn.Module | None = None,
) -> Scored:
    """Compute the logit of each selected order of some pairs, float32 `[B, K]`, with gradient.

    Takes and returns what `logprobs.forward.score` does, so that a step need not know which of them it calls.

    Args:
        work: pairs of `RankedPairs`.
        want: nothing, because a logit is all that there is.
        live: None, because a PairRM has no reference.

    Raises:
        ValueError: statistics, or a reference.
    """
    if want or live is not None:
        raise ValueError(f"PairRM has neither a reference nor statistics of tokens: {sorted(want)}")
    device = next(model.parameters()).device
    texts = [(item.tokens.prompt, column) for item in work for column in item.picked]
    logits = model(*(tensor.to(device) for tensor in pair_inputs(texts))).float()  # [orders]
    length, mask = lengths(work, device)  # [B, K] each
    token_count = sum(len(prompt) + len(column.ids) for prompt, column in texts)
    # Row by row, which is the order of the texts.
    sums = torch.zeros(mask.shape, device=device).masked_scatter(mask, logits)
    return Scored(Logps(sums, length, mask), None, None, token_count)


def pair_inputs(texts: Sequence[tuple[Ids, Column]]) -> tuple[Tensor, Tensor, Tensor]:
    """Join sources and columns to ids `[N, L]`, mask `[N, L]` and places of the prefixes `[N, 3]`."""
    width = max(len(prompt) + len(column.ids) for prompt, column in texts)
    ids = np.zeros((len(texts), width), np.int64)  # padding is masked, whatever it is
    mask = np.zeros((len(texts), width), np.int64)
    places = np.zeros((len(texts), 3), np.int64)
    for row, (prompt, column) in enumerate(texts):
        size = len(prompt) + len(column.ids)
        ids[row, :size] = np.concatenate([prompt, column.ids])
        mask[row, :size] = 1
        assert column.scored is not None, "a column of `RankedPairs`"
        places[row] = [PREFIX_AT, *(len(prompt) + np.flatnonzero(column.scored))]
    return torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(places)
