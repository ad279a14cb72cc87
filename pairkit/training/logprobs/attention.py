"""Attention over packed sequences, under a name that every model of transformers knows.

A model whose configuration names `NAME` calls `packed_attention` in each layer with the `Packed` of the pass
in place of a mask. On a CPU it attends piece by piece; on a GPU in one call of flex_attention, whose block
mask says the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from pairkit.training.logprobs.packing import Packed

NAME = "pairkit_packed"
Keys = tuple[Tensor, Tensor]  # keys and values, [1, heads, tokens, size]
_packed: ContextVar[Packed | None] = ContextVar("packed", default=None)


@contextmanager
def packing(model: nn.Module, *others: nn.Module | None) -> Iterator[None]:
    """Within it, these models attend over packed sequences: their passes, and backward through them."""
    modules = [module for one in (model, *others) if one is not None for module in one.modules()]
    configs = {id(module.config): module.config for module in modules if hasattr(module, "config")}
    named: list[Any] = [c for c in configs.values() if hasattr(c, "_attn_implementation_internal")]
    before = [config._attn_implementation_internal for config in named]
    for config in named:
        config._attn_implementation_internal = NAME
    try:
        yield
    finally:
        for config, name in zip(named, before, strict=True):
            config._attn_implementation_internal = name


@contextmanager
def passing(packed: Packed) -> Iterator[None]:
    """Within it, what a model is called with is this sequence."""
    token = _packed.set(packed)
    try:
        yield
    finally:
        _packed.reset(token)


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
    """What transformers asks of an attention function, for a packed sequence.

    Args:
        query: [1, heads, tokens, size]; key and value have as many heads or fewer.
        sliding_window: positions that a token sees, itself included.
        softcap: c of scores c tanh(s / c), Gemma 2's.

    Returns:
        [1, tokens, heads, size], and no weights.

    Raises:
        ValueError: a model that adds a bias of its own to the scores or has attention sinks.
    """
    for name in ("position_bias", "s_aux"):
        if others.get(name) is not None:
            raise ValueError(f"packed attention has no {name}")
    packed, layer = attention_mask, getattr(module, "layer_idx", 0)
    if packed.kept is not None:
        packed.kept[layer] = key, value
    keys = [(key, value)]
    if packed.before is not None and packed.before.kept is not None:
        keys.insert(0, packed.before.kept[layer])
    attend = _flex if query.is_cuda else _by_pieces
    scores = Scores(scaling or query.shape[-1] ** -0.5, sliding_window, softcap)
    return attend(packed, query, keys, scores).transpose(1, 2), None


class Scores(NamedTuple):
    """What a model makes of the products of queries and keys, and how far back a token sees."""

    scale: float
    window: int | None
    softcap: float | None


def _by_pieces(packed: Packed, query: Tensor, keys: Sequence[Keys], scores: Scores) -> Tensor:
    groups = query.shape[1] // keys[0][0].shape[1]

    def split(of: Packed, heads: Tensor) -> Sequence[Tensor]:
        return torch.split_with_sizes(heads, [piece.size for piece in of.pieces], dim=2)

    def pairs(of: Packed, pair: Keys) -> list[tuple[Tensor, ...]]:
        each = (x if groups == 1 else x.repeat_interleave(groups, dim=1) for x in pair)
        return list(zip(*(split(of, x) for x in each), strict=True))

    own = pairs(packed, keys[-1])
    prompts = own if packed.before is None else pairs(packed.before, keys[0])
    queries = split(packed, query)
    found = []
    for i, piece in enumerate(packed.pieces):
        k, v = own[i]
        if piece.sees is not None:
            k, v = (torch.cat(both, dim=2) for both in zip(prompts[piece.sees], own[i], strict=True))
        bias = packed.bias(piece, scores.window, query.dtype)
        if scores.softcap is None:
            causal = bias is None
            out = scaled_dot_product_attention(
                queries[i], k, v, attn_mask=bias, is_causal=causal, scale=scores.scale
            )
        else:
            out = _capped(queries[i], k, v, bias, scores.scale, scores.softcap)
        found.append(out)
    return torch.cat(found, dim=2)


def _capped(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, scale: float, softcap: float
) -> Tensor:
    """`scaled_dot_product_attention` with a softcap, which torch's has not."""
    products = torch.tanh(query @ key.transpose(-1, -2) * (scale / softcap)) * softcap
    if bias is None:
        later = torch.ones(products.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
        products = products.masked_fill(later, float("-inf"))
    else:
        products = products + bias
    return products.softmax(dim=-1, dtype=torch.float32).to(query.dtype) @ value


def _flex(packed: Packed, query: Tensor, keys: Sequence[Keys], scores: Scores) -> Tensor:
    scale, window, softcap = scores
    key, value = (torch.cat(parts, dim=2) for parts in zip(*keys, strict=True))

    def capped(score: Tensor, *_: Tensor) -> Tensor:
        return torch.tanh(score / softcap) * softcap  # type: ignore[operator]

    return _compiled_flex()(  # type: ignore[no-any-return]
        query,
        key,
        value,
        score_mod=None if softcap is None else capped,
        block_mask=packed.block_mask(window),
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


@lru_cache(maxsize=1)
def _compiled_flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True)


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, lambda *_, **__: _packed.get())
