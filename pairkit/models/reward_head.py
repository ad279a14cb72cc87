"""The head of a reward model: one logit per state, loaded with its checkpoint or made from a seed.

It is the layer `score` of transformers' sequence-classification classes with `num_labels` 1.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from pairkit.errors import ModelError
from pairkit.models.multimodal import is_multimodal
from pairkit.models.resolve import CLASSIFIER, reads_only

HEAD = "score"
INITIALIZER_RANGE = 0.02  # of configurations that name none, as in transformers


def with_one_logit(config: Any, name: str) -> None:
    """Set a configuration to one logit.

    Raises:
        ModelError: a classifier with several, or a model of more than text.
    """
    if is_multimodal(config):
        raise ModelError(
            f"the model {name!r} has images, video or sound: reward models are trained from models of text"
        )
    classifier = any(CLASSIFIER in kind for kind in getattr(config, "architectures", None) or ())
    if classifier and config.num_labels != 1:
        raise ModelError(
            f"the model {name!r} is a classifier with {config.num_labels} logits, and a reward model has "
            "one; use a reward model or a model that generates text"
        )
    config.num_labels = 1


def refuse_reward_model(config: Any, name: str) -> None:
    """Raise `ModelError` for a checkpoint of rewards or classes, where one that writes text is loaded.

    transformers loads it all the same, with a random output head where embedding and head are two matrices.
    """
    kinds = getattr(config, "architectures", None) or ()
    if kinds and all(CLASSIFIER in kind for kind in kinds):
        raise reads_only(name, kinds[0])


def refuse_reward_adapters(task: object, model: nn.Module, name: str) -> None:
    """Raise `ModelError` for adapters of a reward model (peft's `task`) on a model that writes text."""
    if task == "SEQ_CLS" and CLASSIFIER not in type(model).__name__:
        raise reads_only(name, "adapters with a head of rewards or classes")


def _is_no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()


@contextmanager
def quiet_report() -> Iterator[None]:
    """Hide transformers' report on a head that is missing or not used: `complete_head` says what is done."""
    logger = logging.getLogger("transformers.modeling_utils")
    # Not by the logger's level, above which transformers reports on something else.
    logger.addFilter(_is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_report)


def complete_head(model: nn.Module, missing: Collection[str], name: str, seed: int) -> bool:
    """Make a head from a seed where the checkpoint has none; return whether it was made.

    Args:
        missing: the weights that the checkpoint lacks, by name.

    Raises:
        ModelError: a class without such a head, or a checkpoint that lacks other weights.
    """
    network: Any = model
    head = getattr(network, HEAD, None)
    if type(head) is not nn.Linear or head.out_features != 1:
        raise ModelError(
            f"the model {name!r}: {type(model).__name__} has no head that gives one reward per token, so it "
            "cannot be trained as a reward model; use a decoder-only model such as Llama or Qwen"
        )
    if others := sorted(key for key in missing if not key.startswith(f"{HEAD}.")):
        raise ModelError(
            f"the model {name!r} cannot be loaded: {others[0]} (one of {len(others)}) is missing from it"
        )
    if not missing:
        return False
    random = torch.Generator().manual_seed(seed)
    deviation = getattr(network.config.get_text_config(), "initializer_range", INITIALIZER_RANGE)
    with torch.no_grad():
        # In float32 and on its own generator, so that it is the same whatever else is loaded.
        values = torch.randn(head.weight.shape, generator=random) * deviation
        head.weight.copy_(values)
        if head.bias is not None:
            head.bias.zero_()
    return True


def set_padding(model: nn.Module, padding: int) -> None:
    """Tell the model which token is padding: transformers reads a reward at the last other one."""
    network: Any = model
    for config in {id(each): each for each in (network.config, network.config.get_text_config())}.values():
        config.pad_token_id = padding
