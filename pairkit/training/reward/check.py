"""Before the first step: a check that rewards of packed sets are those that transformers itself gives.

A probe of made-up tokens cannot see everything, and where transformers looks for the last token depends on
the padding token of the configuration. So the run's own texts are compared once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pairkit.errors import TrainingError
from pairkit.training.distributed.sharding import reshard
from pairkit.training.logprobs.hidden import arguments_of
from pairkit.training.logprobs.padding import pad_rows
from pairkit.training.logprobs.probe import packs
from pairkit.training.logprobs.self_check import PADDED, SHARED, TOLERANCE, sample
from pairkit.training.reward.forward import score_rewards
from pairkit.training.tokens.token_set import TokenSet


@torch.no_grad()
def check_rewards(model: nn.Module, sets: Sequence[TokenSet], precision: torch.dtype) -> None:
    """Compare the rewards of some sets with the logit of a pass of each completion by itself.

    Args:
        precision: what the model computes in.

    Raises:
        TrainingError: they differ by more than rounding.
    """
    shared = packs(model)
    device = next(model.parameters()).device
    some = sample(sets)
    together = score_rewards(model, some, shared=shared).policy.sum
    for i, item in enumerate(some):
        for place, ids in enumerate(item.completions):
            inputs = pad_rows([(item.tokens.prompt, ids)], device)
            alone = model(**arguments_of(model, inputs)).logits[0, 0].float()
            in_batch = together[i, place]
            if alone.isfinite() and not abs(in_batch - alone) <= TOLERANCE[precision] * (1 + abs(alone)):
                where, remedy = SHARED if shared else PADDED
                raise TrainingError(
                    f"set {item.tokens.set_id}, completion {place + 1}: its reward is {in_batch:.4f} {where} "
                    f"but {alone:.4f} by itself, so this model {remedy}, and please report its architecture"
                )
    reshard(model)  # the passes above have no backward, which would do it
