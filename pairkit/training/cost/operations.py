"""Count the floating-point operations of a step: those of the model's definition, whatever executes them.

A multiplication and an addition are two. What gradient checkpointing or a kernel computes again is not
counted, nor padding, nor anything but products of matrices; because then a rate of these operations compares
with a device's peak (Chowdhery et al. 2022, arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from pairkit.training.cost.layers import layers_of
from pairkit.training.logprobs.hidden import head_of
from pairkit.training.logprobs.selection import SetSelection


@dataclass(frozen=True)
class TokenCost:
    """The products that one token takes part in.

    Attributes:
        trained, frozen: weights that it is multiplied by before the output head, with and without a gradient
            of their own; of a mixture's experts those that a token is sent to.
        attention: by window (None for full attention), multiplications per pair of a query and a key, over
            all such layers: the sizes of all heads' keys and values.
        head: weights of the output head.
        head_trained: whether they get a gradient.
    """

    trained: float
    frozen: float
    attention: dict[int | None, float]
    head: int
    head_trained: bool


@dataclass(frozen=True)
class TokenLoad:
    """The tokens of a pass, those of them that the head predicts, and where each text begins and ends."""

    tokens: int
    predicted: int
    spans: list[tuple[int, int]]  # positions of the text whose queries pass; their keys begin at 0

    def seen(self, window: int | None) -> int:
        """Count the pairs of a query and a key that it sees."""
        return sum(_seen(start, stop, window) for start, stop in self.spans)

    def __add__(self, other: TokenLoad) -> TokenLoad:
        return TokenLoad(
            self.tokens + other.tokens, self.predicted + other.predicted, [*self.spans, *other.spans]
        )


def cost_per_token(model: nn.Module) -> TokenCost:
    """Count the products per token of a model, which may be on the meta device."""
    owner, output = head_of(model)
    config: Any = owner.config.get_text_config()  # type: ignore[operator, union-attr]
    weights = {True: 0.0, False: 0.0}
    experts = max((layer.experts_per_token for layer in layers_of(config)), default=1)
    for name, module in owner.named_modules():
        if module is output or isinstance(module, nn.Embedding):
            continue
        if isinstance(module, nn.Linear):  # by its features, because quantized weights are packed
            weights[module.weight.requires_grad] += module.in_features * module.out_features
            continue
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1:
                # Experts are stacked as [experts, out, in]; a token meets those that it is sent to.
                stacked = parameter.ndim == 3 and "experts" in name
                share = min(1.0, experts / parameter.shape[0]) if stacked else 1.0
                weights[parameter.requires_grad] += parameter.numel() * share
    weight = getattr(output, "weight", None)
    return TokenCost(
        weights[True],
        weights[False],
        _attention(config),
        0 if weight is None else weight.numel(),
        weight is not None and weight.requires_grad,
    )


def token_load(
    work: Sequence[SetSelection], *, shared: bool = True, prompts: bool = True, turns: bool = False
) -> TokenLoad:
    """Count what a pass over some sets takes.

    Args:
        shared: whether a prompt passes once for all its completions.
        prompts: False where completions pass on keys and values of prompts that have passed before.
        turns: whether the assistant's earlier turns that count are predicted, as gradient passes do.
    """
    spans = []
    predictions = 0
    for item in work:
        prompt, sizes = len(item.tokens.prompt), [len(ids) for ids in item.completions]
        spans += [(0, prompt)] * (prompts * (1 if shared else len(sizes)))
        # From the prompt's end on, but seeing its keys too, whether or not it passes here.
        spans += [(prompt, prompt + size) for size in sizes]
        predictions += sum(column.length for column in item.picked)  # the head reads scored tokens only
        predictions += item.tokens.turn_count if turns else 0  # once per set, however often its prompt passes
    return TokenLoad(sum(stop - start for start, stop in spans), predictions, spans)


def draw_load(usable: Sequence[SetSelection], *, lead: bool) -> TokenLoad:
    """Count what a draw within the gradient pass takes without gradient, on prompts that have passed.

    Args:
        lead: whether completion 0, which passes with gradient, is predicted for the draw too.
    """
    others = [SetSelection(item.tokens, item.columns[1:]) for item in usable]
    firsts = sum(item.picked[0].length for item in usable) if lead else 0
    return token_load(others, prompts=False) + TokenLoad(0, firsts, [])


def without_gradient(cost: TokenCost, load: TokenLoad) -> float:
    """Count the operations of a forward pass."""
    attention = sum(size * load.seen(window) for window, size in cost.attention.items())
    weights = (cost.trained + cost.frozen) * load.tokens + cost.head * load.predicted
    return 2 * (weights + attention)


def with_gradient(cost: TokenCost, load: TokenLoad) -> float:
    """Count the operations of a forward pass and of backward, which makes two products of each one's.

    A frozen weight has one of them, because only the gradient of its input is needed.
    """
    savings = cost.frozen * load.tokens + (0 if cost.head_trained else cost.head * load.predicted)
    # Forward is one third, backward two; a saved product is two operations per weight.
    return 3 * without_gradient(cost, load) - 2 * savings


def _attention(config: Any) -> dict[int | None, float]:
    totals: Counter[int | None] = Counter()  # multiplications by window
    for layer in layers_of(config):
        if layer.attends:
            value = layer.size("v_head_dim") or layer.head_size
            totals[layer.window] += layer.heads * (layer.head_size + value)
    return dict(totals)


def _seen(start: int, stop: int, window: int | None) -> int:
    """Count the keys that the queries at the positions from `start` to `stop` see, each itself included."""
    keys = _triangle(stop) - _triangle(start)
    if window is None:
        return keys
    return keys - (_triangle(max(stop - window, 0)) - _triangle(max(start - window, 0)))


def _triangle(n: int) -> int:
    return n * (n + 1) // 2
