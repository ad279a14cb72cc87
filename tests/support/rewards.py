"""Tiny reward models, and their rewards one conversation at a time."""

from __future__ import annotations

import numpy as np
import torch
import transformers
from support.architectures import ARCHITECTURES
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from pairkit.training.logprobs.selection import SetSelection


def tiny_reward(architecture: str = "Llama", seed: int = 0) -> nn.Module:
    """Make a reward model of random weights, large enough for rewards of a few units."""
    config = getattr(transformers, f"{architecture.partition('-')[0]}Config")(**ARCHITECTURES[architecture])
    config.num_labels, config.pad_token_id = 1, 0
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
            elif name.endswith("bias"):
                parameter.normal_()
    return model.eval()  # type: ignore[no-any-return]


def naive_rewards(model: nn.Module, work: list[SetSelection]) -> list[Tensor]:
    """Return what the model itself returns for each conversation alone, per set `[K]`."""
    rewards = []
    for item in work:
        texts = [
            torch.from_numpy(np.concatenate([item.tokens.prompt, ids])).long() for ids in item.completions
        ]
        rewards.append(torch.stack([model(input_ids=ids[None]).logits[0, 0] for ids in texts]))
    return rewards
