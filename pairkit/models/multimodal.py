"""Checkpoints of text and images, video or sound: their own class is loaded, and its text part is trained.

A causal class of transformers may drop the other parts, and what is saved then no longer loads as what it
was.
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMultimodalLM


def is_multimodal(config: Any) -> bool:
    """Return whether a configuration has a text part and others, and transformers a class for all of them."""
    return config.get_text_config() is not config and type(config) in AutoModelForMultimodalLM._model_mapping


def auto_class(config: Any) -> Any:
    """Return the auto class that loads a configuration with all of its parts."""
    return AutoModelForMultimodalLM if is_multimodal(config) else AutoModelForCausalLM


def freeze_other_parts(model: nn.Module) -> None:
    """Leave only the text part of a multimodal model to be trained: the decoder and the output head."""
    network: Any = model
    if not is_multimodal(network.config):
        return
    parts = (network.get_decoder(), network.get_input_embeddings(), network.get_output_embeddings())
    text = {id(p) for part in parts if part is not None for p in part.parameters()}
    for parameter in network.parameters():
        parameter.requires_grad_(id(parameter) in text)


def outside_text(model: nn.Module) -> str | None:
    """Return the pattern of the names of modules outside of the text part; None for a model of text alone."""
    network: Any = model
    if not is_multimodal(network.config):
        return None
    parts = [network.get_decoder(), network.get_input_embeddings(), network.get_output_embeddings()]
    names = [name for name, module in network.named_modules() if any(module is part for part in parts)]
    inside = "|".join(re.escape(name) for name in names)
    return rf"(?!({inside})(\.|$)).+"
