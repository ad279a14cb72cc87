"""Before the first step: completions behind a shared prompt have the log-probs that they have alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pairkit.errors import TrainingError
from pairkit.training.distributed.sharding import reshard
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.sets import TokenSet

SETS = 4  # that are compared: the longest ones and the shortest ones
# Nats a token. bfloat16 rounds each state to 3 digits, and passes of another shape round elsewhere.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}


@torch.no_grad()
def check_packed(model: nn.Module, sets: Sequence[TokenSet], precision: torch.dtype) -> None:
    """Compares the packed pass of some sets with one of each completion by itself.

    Args:
        precision: what the model computes in.

    Raises:
        TrainingError: they differ by more than rounding.
    """
    if not packs(model):
        return
    every = sorted((SetSelection.all(one) for one in sets), key=lambda one: one.size)
    some = every if len(every) <= SETS else [*every[: SETS // 2], *every[-SETS // 2 :]]
    together = score(model, some, shared=True).policy
    for i, (tokens, columns) in enumerate(some):
        for column in columns:
            alone = score(model, [SetSelection(tokens, (column,))], shared=False).policy.mean[0, 0]
            packed = together.mean[i, column]
            if alone.isfinite() and not abs(packed - alone) <= TOLERANCE[precision] * (1 + abs(alone)):
                raise TrainingError(
                    f"set {tokens.set_id}, completion {column + 1}: its mean log-prob is {packed:.4f} behind "
                    f"a prompt that it shares, and {alone:.4f} by itself: this model cannot share prompts; "
                    "train it with share_prompts=false, and please report its architecture"
                )
    reshard(model)
