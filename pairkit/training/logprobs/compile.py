"""Layers compiled by torch: what repeats in a transformer is compiled once."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AttentionInterface

from pairkit.training.distributed.sharding import layers
from pairkit.training.logprobs.attention import NAME, packed_attention


def compile_layers(model: nn.Module) -> None:
    """Have torch compile the parts of each layer when they first run; layers share the compiled code.

    Sizes are symbols (`dynamic=True`), because the number of tokens differs from pass to pass. Attention
    stays
    outside: the number of its segments differs too, and on a GPU flex_attention is compiled by itself. A
        layer as a whole stays outside as well, because it may be recomputed in backward, a call that torch
        cannot trace.
    """
    AttentionInterface.register(NAME, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
    # Layers only, because embeddings and head run once per pass: compiling them gains little.
    for layer in layers(model):
        for module in layer.children():
            module.compile(dynamic=True)
