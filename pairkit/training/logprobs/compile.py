"""Layers compiled by torch: what repeats in a transformer is compiled once."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AttentionInterface

from pairkit.training.distributed.sharding import layers
from pairkit.training.logprobs.attention import NAME, packed_attention


def compile_layers(model: nn.Module) -> None:
    """Has torch compile the parts of each layer when they first pass; what layers share is compiled once.

    Lengths differ from pass to pass, so they are symbols. What attends stays outside: its pieces are another
    number in every pass, and on a GPU flex_attention is compiled by itself. A layer as a whole stays outside
    too, since it may be recomputed in backward, which is a call that torch cannot look into.
    """
    AttentionInterface.register(NAME, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
    for layer in layers(model):
        for module in layer.children():
            module.compile(dynamic=True)
