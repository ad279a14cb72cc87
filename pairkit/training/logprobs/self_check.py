"""Before the first step: a check that completions score together, packed or padded, as they do alone.

The probe of a few made-up tokens cannot see everything, for example a window that only long texts reach. A
wrong pass would train on wrong numbers without an error, so the run's own texts are compared once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pairkit.errors import TrainingError
from pairkit.training.distributed.sharding import reshard
from pairkit.training.logprobs.forward import score
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.token_set import TokenSet

SETS = 4  # how many are compared: the longest and the shortest
# Nats per token. bfloat16 rounds each state to 3 digits, and passes of another shape round elsewhere.
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
SHARED = "after a shared prompt", "cannot share prompts; train it with share_prompts=false"
PADDED = "in a padded batch", "cannot be trained; choose another model"


def sample(sets: Sequence[TokenSet]) -> list[SetSelection]:
    """Choose what is compared: the longest reach windows and limits; the shortest share a block."""
    by_size = sorted((SetSelection.all(item) for item in sets), key=lambda item: item.size)
    return by_size if len(by_size) <= SETS else [*by_size[: SETS // 2], *by_size[-SETS // 2 :]]


@torch.no_grad()
def check_packed(model: nn.Module, sets: Sequence[TokenSet], precision: torch.dtype) -> None:
    """Compare the packed or padded pass of some sets with a pass of each completion by itself.

    Args:
        precision: what the model computes in.

    Raises:
        TrainingError: they differ by more than rounding.
    """
    shared = packs(model)
    some = sample(sets)
    together = score(model, some, shared=shared).policy
    for i, (tokens, completions) in enumerate(some):
        for completion in completions:
            alone = score(model, [SetSelection(tokens, (completion,))], shared=False).policy.mean[0, 0]
            in_batch = together.mean[i, completion]
            # A pass by itself that is not finite shows diverged weights, which the step reports.
            if alone.isfinite() and not abs(in_batch - alone) <= TOLERANCE[precision] * (1 + abs(alone)):
                where, remedy = SHARED if shared else PADDED
                raise TrainingError(
                    f"set {tokens.set_id}, completion {completion + 1}: its mean log-prob is {in_batch:.4f} "
                    f"{where} but {alone:.4f} by itself, so this model {remedy}, and please report its "
                    "architecture"
                )
    reshard(model)  # the passes above have no backward, which would do it
