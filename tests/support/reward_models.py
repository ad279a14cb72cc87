"""Tiny reward models with random weights, and models that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from support.tiny import WORDS
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
)

from pairkit.models.chat.render import DEFAULT_TEMPLATE
from pairkit.models.load import train_bpe

SIZES: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip


def save(
    folder: Path,
    kind: str = "llama",
    *,
    template: str | None = DEFAULT_TEMPLATE,
    pad: int | None = None,
    labels: int = 1,
    **changes: Any,
) -> Path:
    """Save a model with random weights, large enough that scores differ, and its tokenizer."""
    tokenizer = train_bpe(iter([" ".join(WORDS)] * 3), 300)
    tokenizer.chat_template = template
    common = {
        "vocab_size": len(tokenizer),
        "bos_token_id": 1,
        "eos_token_id": 2,
        **SIZES,
        "num_labels": labels,
    }
    torch.manual_seed(0)
    if kind == "bert":
        model: Any = BertForSequenceClassification(BertConfig(**common, pad_token_id=0, **changes))
    else:
        config = LlamaConfig(**common, pad_token_id=pad, max_position_embeddings=256, **changes)
        model = LlamaForCausalLM(config) if kind == "causal" else LlamaForSequenceClassification(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
