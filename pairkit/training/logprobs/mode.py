"""The mode in which a model is trained: it has to compute there what it computes when it is used.

Dropout is off in the configuration, but some classes do more in training: they multiply the input of a router
by noise, or sample a token's experts (Phi-3.5-MoE). Then policy and reference would differ by chance, and two
passes over one text as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pairkit.errors import ModelError
from pairkit.training.logprobs.hidden import class_name
from pairkit.training.logprobs.rows import LATER, PADDING, TEXT, differ, own_logits


@torch.no_grad()
def set_training(model: nn.Module) -> None:
    """Set training mode, but for the parts of the model that would then compute something else.

    Raises:
        ModelError: the model cannot compute in training what it computes in use.
    """
    model.eval()
    logits = own_logits(model, [TEXT])  # [1, L, V]
    model.train()
    if _computes(model, logits):
        return
    # Only modules that may recompute activations in backward, because they do so in training mode alone.
    for module in model.modules():
        module.training = hasattr(module, "gradient_checkpointing")
    if not _computes(model, logits):
        name = class_name(model)
        raise ModelError(
            f"{name} cannot be trained: its log-probs in training are not those that it has in use; "
            "choose another model"
        )


def _computes(model: nn.Module, logits: Tensor) -> bool:
    """Return whether the model gives these logits, `[1, tokens, V]`, in its current mode, every time."""
    once, again = own_logits(model, [TEXT]), own_logits(model, [TEXT])
    # Other kernels may run in training; but a pass that is repeated takes the same ones.
    return not logits.isfinite().all() or not (differ(logits, once, PADDING) or differ(once, again, LATER))
