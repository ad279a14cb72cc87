"""Completions as rows: each with its prompt before it, padded on the right to the longest of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pairkit.training.tokens.sets import Ids


class Feed(NamedTuple):
    """What a model is called with, and where it predicts the completions' tokens.

    Attributes:
        inputs: keyword arguments of the call.
        at: [tokens], the state that predicts each token, of those that the output head gets, flattened.
    """

    inputs: dict[str, Any]
    at: Tensor


def padded(texts: Sequence[tuple[Ids, Ids]], device: torch.device) -> Feed:
    """A row for each (prompt, completion); the head gets no position that is prompt in every row."""
    width = max(len(prompt) + len(completion) for prompt, completion in texts)
    first = min(len(prompt) for prompt, _ in texts) - 1  # the position that predicts the first token of all
    ids = np.zeros((len(texts), width), np.int64)
    attention = np.zeros((len(texts), width), np.int64)
    at = []
    for row, (prompt, completion) in enumerate(texts):
        start, end = len(prompt), len(prompt) + len(completion)
        ids[row, :start] = prompt
        ids[row, start:end] = completion
        attention[row, :end] = 1
        at.append(row * (width - first) + torch.arange(start - 1, end - 1) - first)
    inputs = {
        "input_ids": torch.from_numpy(ids).to(device),
        "attention_mask": torch.from_numpy(attention).to(device),
        "use_cache": False,
        "logits_to_keep": width - first,
    }
    return Feed(inputs, torch.cat(at).to(device))
