"""Estimate the peak memory of a run from a model without weights.

What is allocated throughout is counted: weights, gradients, the optimizer's states. What a micro-batch
saves for backward is estimated from the model's sizes: in each layer two norms, attention without a score
matrix, and an MLP, as Llama has them; the output head by the slices in which its logits are made. What a
GPU's driver, kernels and an allocator take in addition is unknown here, and so is what torch.compile saves.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn

from pairkit.training.cost.layers import Layer, layers_of
from pairkit.training.cost.unknown import count_or_none
from pairkit.training.logprobs.head import CHUNK_LOGITS
from pairkit.training.logprobs.hidden import head_of
from pairkit.training.logprobs.target_logp import KEPT_LOGITS, SLICE_LOGITS
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.optimizer import state_bytes

MEBIBYTE = 2**20
NF4 = 0.516  # bytes per weight: half of one, and constants of 8 bits per 64 and 32 bits per 64 * 256 weights
GATES = {"gate_proj", "gate_up_proj", "w1"}  # of MLPs that multiply two projections


class MicroBatchSize(NamedTuple):
    """The size of the largest micro-batch, in tokens.

    Attributes:
        tokens: those that pass, padding included.
        keys: those of its attention calls; on a CPU each completion is attended with its prompt's keys.
        predicted: those that the head predicts.
    """

    tokens: int
    keys: int
    predicted: int


class Footprint(NamedTuple):
    """Bytes at the peak of a step, of one process that holds the whole model."""

    weights: float
    gradients: float
    optimizer: float
    reference: float  # one that runs next to the policy
    activations: float | None  # None: unknown
    head: float  # logits, and the gradient of the head's weight on its way

    @property
    def total(self) -> float | None:
        """The sum; None where a part is unknown."""
        parts = [part for part in self if part is not None]
        return sum(parts) if len(parts) == len(self) else None

    def in_mib(self) -> dict[str, int | str]:
        """Return each part and the total in MiB, or "unknown", as plain data."""
        parts = self._asdict() | {"total": self.total}
        return {
            name: "unknown" if number is None else round(number / MEBIBYTE) for name, number in parts.items()
        }


def footprint(
    model: nn.Module,
    live: nn.Module | None,
    recipe: TrainRecipe,
    largest: MicroBatchSize,
    *,
    plain: bool,
    device: str,
) -> Footprint:
    """Estimate the memory of a run.

    Args:
        model: on the meta device, with its adapters if it has any.
        live: the reference that runs next to it, where it is a model of its own.
        plain: whether the loss needs nothing but log-probs, because then logits are made in slices.
        device: "cpu" or "cuda".
    """
    gradients = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    return Footprint(
        _weights(model) - (_quantized(model) if recipe.lora and recipe.lora.base else 0),
        gradients,
        state_bytes(recipe.optimizer, model),
        0 if live is None else _weights(live),
        count_or_none("activations", model, lambda: _activations(model, recipe, largest, device)),
        _head(model, largest.predicted, plain=plain, device=device),
    )


def _weights(model: nn.Module) -> float:
    return sum(tensor.numel() * tensor.element_size() for tensor in [*model.parameters(), *model.buffers()])


def _quantized(model: nn.Module) -> float:
    """Count the bytes saved by linear layers in four bits: those below adapters, but for the output head."""
    _, output = head_of(model)
    frozen = (m.weight for m in model.modules() if isinstance(m, nn.Linear) and not m.weight.requires_grad)
    return sum(
        w.numel() * (w.element_size() - NF4) for w in frozen if output is None or w is not output.weight
    )


def _activations(model: nn.Module, recipe: TrainRecipe, largest: MicroBatchSize, device: str) -> float:
    owner, _ = head_of(model)
    config: Any = owner.config.get_text_config()  # type: ignore[operator, union-attr]
    hidden, layers = config.hidden_size, layers_of(config)
    narrow = recipe.dtype == "bfloat16"  # weights and all
    size = 2 if narrow or recipe.bf16 else 4  # bytes per element of a matrix product's input
    stream = 2 if narrow else 4  # bytes per element of the residual stream
    # A norm keeps its input in float32, the scaled and the weighted one, and a cast for the product after it.
    norm = 4 + 2 * stream + (size if size != stream else 0)
    tokens, width = largest.tokens, _width(model)
    inner = [size * width * _between(layer, hidden) for layer in layers]  # bytes per token
    per_layer = [
        tokens * (2 * norm * hidden + between) + size * _attended(layer, largest, device)
        for layer, between in zip(layers, inner, strict=True)
    ]
    activations = sum(per_layer)
    if recipe.gradient_checkpointing:  # the input of each layer, and all of the one that is recomputed
        activations = len(layers) * tokens * stream * hidden + max(per_layer)
    backward = max(inner) + (norm + 4 * size) * hidden  # gradients of one layer, and the last norm's tensors
    cast = sum(p.numel() for p in model.parameters() if p.ndim > 1) * (2 if recipe.bf16 else 0)
    return float(activations + tokens * backward + cast)


def _attended(layer: Layer, largest: MicroBatchSize, device: str) -> float:
    """Count the elements that attention saves: queries, keys, values, and its output before and after the
    transposition. On a CPU each query head gets keys and values of its own."""
    heads = layer.heads
    shared = layer.size("num_key_value_heads") or heads
    keys = heads * largest.keys if device == "cpu" else shared * largest.tokens
    return float(layer.head_size * (3 * heads * largest.tokens + 2 * keys))


def _width(model: nn.Module) -> int:
    """Count the tensors between the projections of an MLP."""
    names = {name.rpartition(".")[2] for name, _ in (*model.named_modules(), *model.named_parameters())}
    return 4 if names & GATES else 2  # an activation's input and output; with a gate, it and the product too


def _between(layer: Layer, hidden: int) -> int:
    """Count the elements per token of such a tensor, of all experts that the token is sent to."""
    inner = layer.size("moe_intermediate_size", "intermediate_size", "n_inner") or 4 * hidden
    return inner * layer.experts_per_token


def _head(model: nn.Module, tokens: int, *, plain: bool, device: str) -> float:
    weight: Any = getattr(head_of(model)[1], "weight", None)
    if weight is None:
        return 0
    vocabulary, hidden = weight.shape
    logits = tokens * vocabulary
    if plain:
        largest = SLICE_LOGITS[device] if logits > KEPT_LOGITS else KEPT_LOGITS
        elements = 3 * min(logits, largest)  # logits, probabilities, their gradient
    else:
        elements = 6 * min(logits, CHUNK_LOGITS)
    gradient = weight.numel() * weight.element_size() if weight.requires_grad else 0
    return float(4 * (elements + 2 * tokens * hidden) + gradient)


def device_type() -> str:
    """Name the type of device that a run on this machine uses."""
    return "cuda" if torch.cuda.is_available() else "cpu"
