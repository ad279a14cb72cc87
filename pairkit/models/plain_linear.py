"""Linear layers by class that are none by what they return: adapters cannot add to them.

A router may be a subclass of a linear layer that returns scores and indices (Phi-3.5-MoE, Llama 4), a grouped
projection one that takes other shapes. Found by trying, because some subclasses are plain (Falcon).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def not_plain(model: nn.Module) -> list[str]:
    """Name the linear layers of a model that return something else; it may be on the meta device."""
    return [
        name
        for name, module in model.named_modules()
        # Quantized weights have a class of their own, and their layers are plain.
        if isinstance(module, nn.Linear)
        and type(module).forward is not nn.Linear.forward
        and type(module.weight) is nn.Parameter
        and not _is_plain(module)
    ]


def _is_plain(module: nn.Linear) -> bool:
    weight = module.weight
    inputs = torch.zeros(2, module.in_features, dtype=weight.dtype, device=weight.device)
    # A router may sample, and what comes after it must not depend on that.
    devices = [weight.device] if weight.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        try:
            output = module(inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whatever a class does with a plain input
            return False
    return isinstance(output, Tensor) and output.shape == (2, module.out_features)
