"""Attention over packed sequences, under a name that every model of transformers knows.

A model whose configuration names `NAME` calls `packed_attention` in each layer, with the `Packed` of the
current pass in place of a mask. On a CPU each segment attends in a call of its own; on a GPU the whole
sequence attends in one call of flex_attention, whose block mask encodes the same rule.

Shapes: N tokens of the sequence, M keys, H query heads, G <= H key heads (grouped-query attention), D head
    size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from pairkit.training.logprobs.packing import Packed

NAME = "pairkit_packed"
RECOMPILE_LIMIT = 64
LEAST_HEAD = 16  # flex_attention's smallest head on a GPU
Keys = tuple[Tensor, Tensor]  # keys and values, [1, G, M, D] each
_current: ContextVar[Packed | None] = ContextVar("packed", default=None)


@contextmanager
def using_packed_attention(model: nn.Module, *others: nn.Module | None) -> Iterator[None]:
    """Have these models attend over packed sequences, forward and backward.

    The context must still be open during backward: with activation checkpoints the layers run again there,
    and would otherwise recompute their outputs with another attention than in forward.
    """
    modules = [module for root in (model, *others) if root is not None for module in root.modules()]
    # A configuration can belong to several modules: change and restore each once.
    configs = {id(module.config): module.config for module in modules if hasattr(module, "config")}
    switchable: list[Any] = [c for c in configs.values() if hasattr(c, "_attn_implementation_internal")]
    # The private field, because the public setter checks the name against what the class supports. Models
    # read the field in every forward, so that switching costs nothing.
    before = [config._attn_implementation_internal for config in switchable]
    for config in switchable:
        config._attn_implementation_internal = NAME
    try:
        yield
    finally:
        for config, name in zip(switchable, before, strict=True):
            config._attn_implementation_internal = name


@contextmanager
def current_sequence(packed: Packed) -> Iterator[None]:
    """Make this the sequence that the models inside are called with.

    A context variable, because the call goes through transformers, which would drop or convert an argument.
    """
    token = _current.set(packed)
    try:
        yield
    finally:
        _current.reset(token)


def text_counts() -> npt.NDArray[np.int64] | None:
    """Return how many texts each token of the current sequence is a part of, `[N]`; None outside of one."""
    packed = _current.get()
    return None if packed is None else packed.tokens.text_counts()


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Packed,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attend over a packed sequence, with the signature that transformers calls.

    Args:
        query: `[1, H, N, D]`.
        key: `[1, G, N, D]`, as is the value.
        sliding_window: how many positions a token sees, itself included.
        softcap: c of scores c tanh(s / c), as in Gemma 2.

    Returns:
        `[1, N, H, D]`, and no attention weights.

    Raises:
        ValueError: the model adds a bias of its own to the scores, or has attention sinks.
    """
    for name in ("position_bias", "s_aux"):
        if others.get(name) is not None:
            raise ValueError(f"packed attention does not support {name}")
    # transformers hands through whatever the mask function returned: here the layout of the sequence.
    packed, layer = attention_mask, getattr(module, "layer_idx", 0)
    query, key, value = (heads.to(_precision(value)) for heads in (query, key, value))
    # A layer that runs again in backward (activation checkpoints) overwrites its entry. That is safe, because
    # the backward of all passes that read the entry comes before its own.
    if packed.cache is not None:
        packed.cache[layer] = key, value
    keys = [(key, value)]
    if packed.earlier is not None and packed.earlier.cache is not None:
        keys.insert(0, packed.earlier.cache[layer])  # [1, G, M, D] of the prompts, before the sequence's own
    attend = _attend_with_flex if query.is_cuda else _attend_by_segment
    scores = Scores(scaling or query.shape[-1] ** -0.5, sliding_window, softcap)
    # Contiguous, as transformers' own attention returns it, because some classes take a view of it.
    return attend(packed, query, keys, scores).transpose(1, 2).contiguous(), None


def _precision(value: Tensor) -> torch.dtype:
    """Return what attention computes in: autocast's dtype where that is on, as in torch's own attention.

    flex_attention is unknown to autocast. Rotary positions and norms have made float32 of queries and keys by
    then, but not of values, and a GPU attends many times slower in float32.
    """
    device = value.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype


class Scores(NamedTuple):
    """How attention scores are made of the products of queries and keys, and how far back a token sees."""

    scale: float
    window: int | None  # positions
    softcap: float | None


def _attend_by_segment(packed: Packed, query: Tensor, keys: Sequence[Keys], scores: Scores) -> Tensor:
    """Attend segment by segment, so that few products are made only to be hidden by a mask."""
    groups = query.shape[1] // keys[0][0].shape[1]  # query heads per key head, H / G

    # One split per sequence instead of a slice per segment: autograd joins the gradients of a split in one
    # operation, but adds up those of slices, each as large as the whole sequence.
    def split(sequence: Packed, heads: Tensor) -> Sequence[Tensor]:
        # From `[1, H, N, D]` to `[1, H, tokens, D]` per segment.
        return torch.split_with_sizes(heads, [segment.size for segment in sequence.segments], dim=2)

    def split_pair(sequence: Packed, pair: Keys) -> list[tuple[Tensor, ...]]:
        # SDPA expects as many key heads as query heads: each is repeated for its group.
        per_head = (x if groups == 1 else x.repeat_interleave(groups, dim=1) for x in pair)
        return list(zip(*(split(sequence, x) for x in per_head), strict=True))

    own = split_pair(packed, keys[-1])  # per segment: keys and values, [1, H, tokens, D]
    prompts = own if packed.earlier is None else split_pair(packed.earlier, keys[0])
    queries = split(packed, query)  # per segment [1, H, tokens, D]
    outputs = []
    for i, segment in enumerate(packed.segments):
        k, v = own[i]
        if segment.prompt is not None:  # prompt first: the order of the columns of `Packed.bias`
            k, v = (torch.cat(both, dim=2) for both in zip(prompts[segment.prompt], own[i], strict=True))
        bias = packed.bias(segment, scores.window, query.dtype)
        if scores.softcap is None:
            output = scaled_dot_product_attention(
                queries[i], k, v, attn_mask=bias, is_causal=bias is None, scale=scores.scale
            )
        else:
            output = _attend_softcapped(queries[i], k, v, bias, scores.scale, scores.softcap)
        outputs.append(output)
    return torch.cat(outputs, dim=2)  # [1, H, N, D], in the order of the sequence


def _attend_softcapped(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float, softcap: float
) -> Tensor:
    """SDPA with logit soft-capping, which torch does not support."""
    products = torch.tanh(query @ key.transpose(-1, -2) * (scale / softcap)) * softcap  # [1, H, tokens, keys]
    # Masked after capping: tanh would turn -inf into -softcap, a score like any other.
    if bias is None:
        later = torch.ones(products.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
        products = products.masked_fill(later, float("-inf"))
    else:
        products = products + bias
    # In float32, because bfloat16 would lose the smaller terms of the sum over the keys.
    return products.softmax(dim=-1, dtype=torch.float32).to(query.dtype) @ value


def _attend_with_flex(packed: Packed, query: Tensor, keys: Sequence[Keys], scores: Scores) -> Tensor:
    scale, window, softcap = scores
    key, value = (torch.cat(parts, dim=2) for parts in zip(*keys, strict=True))  # [1, G, M, D]
    size = value.shape[-1]
    # Zeros change no product of a query and a key, and those of the values are cut off again.
    query, key, value = (
        pad(heads, (0, max(0, LEAST_HEAD - heads.shape[-1]))) for heads in (query, key, value)
    )
    output: Tensor = _compiled_flex()(
        query,
        key,
        value,
        score_mod=None if softcap is None else _softcap(softcap, query.device),
        block_mask=packed.block_mask(window),
        scale=scale,
        # The kernel reads each key head once for its group, so that none is repeated in memory.
        enable_gqa=query.shape[1] != key.shape[1],
        # Not the kernel for a few tokens, which would be one more to compile, and round in another way.
        kernel_options={"FORCE_USE_FLEX_ATTENTION": True},
    )
    return output[..., :size]


@lru_cache
def _softcap(softcap: float, device: torch.device) -> Callable[..., Tensor]:
    """Return what caps a score; flex_attention's mask hides it afterwards, so that no cap undoes that."""
    # A tensor, because a number is a part of the compiled code: each cap would compile it again.
    cap = torch.tensor(softcap, device=device)

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        # A scalar: flex_attention calls it with one score at a time, and compiles that into its kernel.
        return torch.tanh(score / cap) * cap

    return capped


@lru_cache(maxsize=1)
def _compiled_flex() -> Any:
    """Compile flex_attention once; its sizes are symbols, because every pass has another number of tokens."""
    from torch.nn.attention.flex_attention import flex_attention

    # Each of these is compiled by itself: with and without gradient, a softcap, sequences of one block of
    # tokens or keys, and those with earlier keys. Dynamo gives up after 8, and what is not compiled makes all
    # scores, [H, N, M]; `fullgraph` makes an error of that.
    config: Any = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, RECOMPILE_LIMIT)
    return torch.compile(flex_attention, dynamic=True, fullgraph=True)


AttentionInterface.register(NAME, packed_attention)
# In place of a mask: transformers makes it once per pass and passes it to every layer.
AttentionMaskInterface.register(NAME, lambda *_, **__: _current.get())
