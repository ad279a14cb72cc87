"""The models and sets of the timed steps: shapes of Llama 3 with random weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from workload import MAX_LENGTH, MODELS, NEGATIVES, token_sets

from gpu.jobs import need
from pairkit.training.cost.operations import cost_per_token, token_load, with_gradient, without_gradient
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.token_set import Column, TokenSet

POSITIONS = 2 * MAX_LENGTH


class Shape(NamedTuple):
    """What is trained, and how.

    Attributes:
        fields: of the configuration, besides the vocabulary.
        lora: adapters of rank 16 on all layers, instead of all weights.
        checkpoints: whether activations are computed again in backward.
        sets: of a step.
        budget: pairkit's tokens per micro-batch.
        rows: of a micro-batch of the others: as many pairs.
    """

    fields: dict[str, Any]
    vocabulary: int
    lora: bool
    checkpoints: bool
    sets: int
    budget: int
    rows: int

    @property
    def trained(self) -> str:
        """What is trained, in words."""
        what = "LoRA, rank 16, all layers" if self.lora else "all weights"
        return what + (", gradient checkpointing" if self.checkpoints else "")


LLAMA_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8,
}  # fmt: skip
TINY = {
    "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
SHAPES = {
    "1b": Shape(MODELS["1b"] | {"tie_word_embeddings": True}, 128256, False, False, 32, 16384, 8),
    # All 8 billion weights with gradients and two moments are 64 GB in bfloat16, which leaves an 80 GB device
    # too little for a padded batch; adapters leave room on both sizes of device.
    "8b": Shape(LLAMA_8B, 128256, True, True, 16, 16384, 8),
    "tiny": Shape(TINY | {"tie_word_embeddings": True}, 512, False, False, 4, 2048, 2),
    "tiny, lora": Shape(TINY, 512, True, True, 4, 2048, 2),
}


def make_model(shape: Shape, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """Make the model on its device, in training mode, with adapters where the shape has them."""
    config = LlamaConfig(**shape.fields, vocab_size=shape.vocabulary, max_position_embeddings=POSITIONS)
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # so that no float32 copy is ever made
    try:
        with torch.device(device):
            model: nn.Module = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    if shape.lora:
        need("peft", "'pairkit[lora]'")
        from peft import LoraConfig, get_peft_model

        lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
    return model.train()


def make_sets(shape: Shape, steps: int) -> list[TokenSet]:
    """Make the sets of some steps: a chosen completion and five others each, ranked in their order."""
    return [
        TokenSet(
            str(i),
            np.array(prompt, np.int32),
            tuple(
                Column(np.array(ids, np.int32), r + 1, None, "source") for r, ids in enumerate(completions)
            ),
        )
        for i, (prompt, completions) in enumerate(token_sets(steps * shape.sets, shape.vocabulary))
    ]


def pairs(sets: list[TokenSet]) -> list[TokenSet]:
    """Return the sets with their first two completions alone."""
    return [item._replace(columns=item.columns[:2]) for item in sets]


def count(model: nn.Module, sets: list[TokenSet], *, draws: bool) -> tuple[int, float]:
    """Count the tokens of some sets, prompts once, and the operations that a step on them needs.

    Nothing is counted twice, however a contender passes it: forward and twice that for backward of the
    prompt, the chosen and one other completion, and where one is drawn forward alone of the rest.
    """
    cost = cost_per_token(model)
    tokens, operations = 0, 0.0
    for item in sets:
        negative = round(sum(len(c.ids) for c in item.columns[1:]) / (len(item.columns) - 1))
        other = Column(np.zeros(negative, np.int32), None, None, "source")
        pair = SetSelection.all(item._replace(columns=(item.columns[0], other)))
        operations += with_gradient(cost, token_load([pair]))
        if draws:
            scored = SetSelection(item, tuple(range(1, 1 + NEGATIVES)))
            once = SetSelection(pair.tokens, (1,))  # the drawn one's forward is counted above
            operations += without_gradient(cost, token_load([scored], prompts=False))
            operations -= without_gradient(cost, token_load([once], prompts=False))
        tokens += SetSelection.all(item).size
    return tokens, operations
