"""Whether padded rows give the log-probs of a causal language model: found out by trying, once per model.

A class of transformers may see later tokens (an encoder that is not set up as a decoder), take padding for
text, or need inputs that only its own processor makes. Training would then run on wrong numbers without an
error, or end in one from deep inside the class.

Shapes: R rows, L tokens of a row, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pairkit.errors import ModelError
from pairkit.training.distributed.sharding import reshard
from pairkit.training.logprobs.hidden import class_name, head_of, own_outputs
from pairkit.training.logprobs.padding import pad_rows

TEXT = [1, 2, 3, 4, 5, 6, 7, 2, 3, 1, 4]
CHANGED = [*TEXT[:-1], 6]  # another last token
SHORT = 7  # tokens of the text that is padded
# Relative to the largest logit. Another last token leaves the shapes of all products as they are, so that
# only a mixture's experts may round differently; padding changes the shapes.
LATER = {torch.float32: 1e-5, torch.bfloat16: 0.05}
PADDING = {torch.float32: 1e-3, torch.bfloat16: 0.1}


@torch.no_grad()
def check_rows(model: nn.Module) -> None:
    """Run a few tokens through the model: alone, again, with another last token, and padded.

    Raises:
        ModelError: it fails on them, two passes differ, or a later token or padding changes a log-prob.
    """
    name = class_name(model)
    alone, again, variant = (own_logits(model, [text])[0] for text in (TEXT, TEXT, CHANGED))  # [L, V] each
    short, batch_row = (
        own_logits(model, [TEXT[:SHORT]])[0],
        own_logits(model, [TEXT, TEXT[:SHORT]])[1, :SHORT],
    )
    if not alone.isfinite().all():
        return  # the weights have diverged: that tells nothing about the model's class
    if differ(alone, again, LATER):
        raise ModelError(
            f"{name} cannot be trained: two passes over one text give other log-probs; choose another model"
        )
    before = slice(0, len(TEXT) - 1)
    if differ(alone[before], variant[before], LATER):
        raise ModelError(
            f"{name} is not a causal language model: a later token changes its log-probs of earlier ones; "
            + _remedy(model)
        )
    if differ(short, batch_row, PADDING):
        raise ModelError(
            f"{name} cannot be trained in batches: padding after a text changes its log-probs; "
            "choose another model"
        )


def own_logits(model: nn.Module, texts: list[list[int]]) -> Tensor:
    """Return what the model itself returns for some texts, `[R, L, V]`, without gradient.

    Raises:
        ModelError: it fails on them.
    """
    # One token of each counts as the prompt, so that every position is kept.
    rows = [(np.array(ids[:1], np.int32), np.array(ids[1:], np.int32)) for ids in texts]
    inputs = pad_rows(rows, next(model.parameters()).device)
    try:
        with torch.no_grad():
            logits = own_outputs(model, inputs)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a class does with a plain text
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise ModelError(
            f"{class_name(model)} cannot be trained: it fails on a plain text "
            f"({type(error).__name__}: {reason}); {_remedy_of_failure(model)}"
        ) from error
    reshard(model)  # no backward comes, which would do it
    return logits


def differ(first: Tensor, second: Tensor, tolerances: dict[torch.dtype, float]) -> bool:
    """Return whether two tensors of one shape differ by more than a share of the first's largest value."""
    tolerance = tolerances.get(first.dtype, tolerances[torch.bfloat16])
    return not bool((first - second).abs().max() <= tolerance * first.abs().max())


def _remedy_of_failure(model: nn.Module) -> str:
    # A router, for one, may be a linear layer that returns more than a tensor.
    if hasattr(head_of(model)[0], "disable_adapter"):
        return (
            "some of its modules may not take adapters: name those to adapt with lora.targets, such as "
            "lora.targets=[q_proj,v_proj]"
        )
    return "choose another model"


def _remedy(model: nn.Module) -> str:
    config: Any = head_of(model)[0].config
    for switch in ("is_decoder", "causal"):  # of BERT and its kind, of XLM
        if getattr(config, switch, None) is False:
            return f"set {switch}: true in its config.json if it was trained to continue texts"
    return "choose another model"
