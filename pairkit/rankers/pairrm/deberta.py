"""DeBERTa-v2 (He et al. 2021, arXiv:2006.03654, eq. 2-4) faster than transformers' version.

    scores[i, j] = (q_i · k_j + q_i · kr_b(i-j) + k_j · qr_b(i-j)) / scale

where kr and qr are projections of the embeddings of relative positions and b is the bucket of a distance.
transformers computes the three terms, their scales, the mask and the softmax one after another, each of them
[B, H, L, L], and repeats kr and qr for every sequence. Here the two relative terms and the mask form the bias
of `scaled_dot_product_attention`, the last layer computes only the selected tokens, and no hidden states but
the last are kept. The weights are those of transformers' model, and the result is the same up to rounding.

Shapes: B sequences, L tokens, Q query tokens, W selected tokens, H heads of size D, R relative positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers import DebertaV2Model
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position


def encode_tokens(
    model: DebertaV2Model, ids: Tensor, mask: Tensor, selected: Tensor, *, recompute: bool = False
) -> Tensor:
    """Compute the last hidden states `[B, W, H * D]` of the tokens at the positions `selected` `[B, W]`.

    `ids` and `mask` are `[B, L]`, padded on the right. The model must use relative attention and have dropout
    off. With `recompute`, backward computes each layer again.
    """
    encoder = model.encoder
    hidden = model.embeddings(input_ids=ids, mask=mask)
    bias = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(mask == 0, torch.finfo(hidden.dtype).min)
    # [B, 1, 1, L], for all heads and queries.
    bias = bias[:, None, None]
    relative, buckets = encoder.get_rel_embedding(), _buckets(model, hidden)[None]
    rows = torch.arange(len(ids), device=ids.device)[:, None]
    # A convolution, if the model has one, follows the first layer and needs all of its tokens: a model of one
    # layer can then not be restricted to the selected ones.
    narrow = len(encoder.layer) > 1 or encoder.conv is None
    for depth, layer in enumerate(encoder.layer):
        queries = hidden
        if narrow and depth == len(encoder.layer) - 1:
            queries, buckets = hidden[rows, selected], buckets[0, selected]
        inputs = layer, queries, hidden, bias, buckets, relative
        # The other kind needs an input with a gradient, which the first layer of frozen embeddings has not.
        output = checkpoint(_layer, *inputs, use_reentrant=False) if recompute else _layer(*inputs)
        if depth == 0 and encoder.conv is not None:
            output = encoder.conv(hidden, output, mask)
        hidden = output
    states: Tensor = hidden if narrow else hidden[rows, selected]
    return states


def _layer(
    layer: Any, queries: Tensor, hidden: Tensor, bias: Tensor, buckets: Tensor, relative: Tensor
) -> Tensor:
    """Apply a `DebertaV2Layer`, `[B, Q, H * D]`; the arguments are those of `_attention`."""
    context = _attention(layer.attention.self, queries, hidden, bias, buckets, relative)
    attention = layer.attention.output(context, queries)
    return layer.output(layer.intermediate(attention), attention)  # type: ignore[no-any-return]


def _attention(
    module: Any, queries: Tensor, hidden: Tensor, bias: Tensor, buckets: Tensor, relative: Tensor
) -> Tensor:
    """Apply a `DisentangledSelfAttention` of `queries` `[B, Q, H * D]` to `hidden` `[B, L, H * D]`.

    `bias` `[B, 1, 1, L]` is the mask; `buckets` `[B or 1, Q, L]`, in [0, R), holds the relative position of
    each token to each query; `relative` `[R, H * D]` are the embeddings of those positions.
    """

    def heads(projected: Tensor) -> Tensor:
        return projected.view(*projected.shape[:-1], module.num_attention_heads, -1).transpose(-2, -3)

    kinds = [kind for kind in ("c2p", "p2c") if kind in module.pos_att_type]
    scale = (module.attention_head_size * (1 + len(kinds))) ** -0.5
    query, key, value = (
        heads(project(states))
        for project, states in (
            (module.query_proj, queries),
            (module.key_proj, hidden),
            (module.value_proj, hidden),
        )
    )
    size = (len(hidden), query.shape[1], *buckets.shape[1:])
    if "c2p" in kinds:
        project = module.key_proj if module.share_att_key else module.pos_key_proj
        each = query @ (heads(project(relative)) * scale).transpose(-1, -2)
        bias = each.gather(-1, buckets[:, None].expand(size)).add_(bias)
    if "p2c" in kinds:
        project = module.query_proj if module.share_att_key else module.pos_query_proj
        each = key @ (heads(project(relative)) * scale).transpose(-1, -2)  # [B, H, L, R]: one row per key
        columns = torch.arange(size[-1], device=buckets.device) * each.shape[-1]
        index = (buckets + columns).flatten(1)[:, None].expand(*size[:2], -1)
        bias = each.flatten(-2).gather(-1, index).view(size).add_(bias)
    context = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
    return context.transpose(1, 2).flatten(2)


def _buckets(model: DebertaV2Model, hidden: Tensor) -> Tensor:
    """Compute `[L, L]`: the row of the relative embeddings that each pair of positions uses."""
    encoder = model.encoder
    span = encoder.layer[0].attention.self.pos_ebd_size
    distance = build_relative_position(
        hidden, hidden, bucket_size=encoder.position_buckets, max_position=encoder.max_relative_positions
    )
    return (distance[0] + span).clamp(0, 2 * span - 1)  # type: ignore[no-any-return]
