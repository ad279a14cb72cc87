"""A transformer's layers: the part of it that repeats, which is sharded and compiled one by one."""

from __future__ import annotations

import torch
from torch import nn
from transformers import AttentionInterface

from pairkit.errors import ModelError
from pairkit.training.attention import NAME, packed_attention


def layers(model: nn.Module) -> list[nn.Module]:
    """The list of modules with the most parameters.

    Raises:
        ModelError: a model without one.
    """
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    if not lists:
        raise ModelError(f"{type(model).__name__} has no list of layers: train it without shard and compile")
    return max(lists, key=lambda layers: sum(p.numel() for layer in layers for p in layer.parameters()))


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
