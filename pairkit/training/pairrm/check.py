"""Before the first step: a check that the logits of a batch are those of transformers' own DeBERTa.

Attention is computed by `rankers.pairrm.deberta`, in batches that are padded; the run's own texts are
compared once with transformers' model, each alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pairkit.errors import TrainingError
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.logprobs.self_check import TOLERANCE
from pairkit.training.pairrm.forward import pair_inputs, score_pairs
from pairkit.training.pairrm.start import TrainedPairRM
from pairkit.training.tokens.token_set import TokenSet

COMPARED = 2  # pairs


@torch.no_grad()
def check_pairs(model: nn.Module, pairs: Sequence[TokenSet], precision: torch.dtype) -> None:
    """Compare the logits of some pairs with those from transformers' pass of each by itself.

    Args:
        precision: what the model computes in.

    Raises:
        TrainingError: they differ by more than rounding.
    """
    assert isinstance(model, TrainedPairRM)
    some = [SetSelection.all(pair) for pair in pairs[:COMPARED]]
    together = score_pairs(model, some).policy.sum
    device = together.device
    for i, item in enumerate(some):
        for side, column in enumerate(item.picked):
            ids, mask, places = (t.to(device) for t in pair_inputs([(item.tokens.prompt, column)]))
            states = model.pretrained_model(input_ids=ids, attention_mask=mask).last_hidden_state
            alone, in_batch = model.compare(states[:, places[0]])[0], together[i, side]
            if alone.isfinite() and not abs(in_batch - alone) <= TOLERANCE[precision] * (1 + abs(alone)):
                raise TrainingError(
                    f"pair {item.tokens.set_id}: its logit is {in_batch:.4f} in a batch but {alone:.4f} by "
                    "transformers' own pass; please report the configuration of this model"
                )
