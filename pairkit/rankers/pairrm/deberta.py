"""DeBERTa-v2 (He et al. 2021, arXiv:2006.03654, eq. 2-4) for inference, with less work than transformers'.

    scores[i, j] = (q_i · k_j + q_i · kr_b(i-j) + k_j · qr_b(i-j)) / scale

where kr and qr are projections of the embeddings of relative positions and b is the bucket of a distance.
transformers computes the three terms, their scales, the mask and the softmax one after another, each of them
[B, H, L, L], and repeats kr and qr for every sequence. Here the two relative terms and the mask are the bias
of `scaled_dot_product_attention`; the last layer computes the wanted tokens alone; no layer but the last is
kept. The weights are those of transformers' model, and so is the result but for rounding.

Shapes: B sequences, L tokens, Q of them that ask, H heads, D of each, R relative positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import DebertaV2Model
from transformers.models.deberta_v2.modeling_deberta_v2 import build_relative_position


def encode(model: DebertaV2Model, ids: Tensor, mask: Tensor, wanted: Tensor) -> Tensor:
    """The last hidden states `[B, W, H * D]` of the tokens at the positions `wanted` `[B, W]`.

    `ids` and `mask` are `[B, L]`, padded on the right. The model is one with relative attention.
    """
    encoder = model.encoder
    hidden = model.embeddings(input_ids=ids, mask=mask)
    bias = torch.zeros_like(mask, dtype=hidden.dtype).masked_fill(mask == 0, torch.finfo(hidden.dtype).min)
    bias = bias[:, None, None]
    relative, buckets = encoder.get_rel_embedding(), _buckets(model, hidden)[None]
    rows = torch.arange(len(ids), device=ids.device)[:, None]
    # The convolution, where there is one, stands behind the first layer and mixes its tokens.
    narrow = len(encoder.layer) > 1 or encoder.conv is None
    for depth, layer in enumerate(encoder.layer):
        asking = hidden
        if narrow and depth == len(encoder.layer) - 1:
            asking, buckets = hidden[rows, wanted], buckets[0, wanted]
        mixed = _attention(layer.attention.self, asking, hidden, bias, buckets, relative)
        attended = layer.attention.output(mixed, asking)
        output = layer.output(layer.intermediate(attended), attended)
        if depth == 0 and encoder.conv is not None:
            output = encoder.conv(hidden, output, mask)
        hidden = output
    found: Tensor = hidden if narrow else hidden[rows, wanted]
    return found


def _attention(
    module: Any, asking: Tensor, hidden: Tensor, bias: Tensor, buckets: Tensor, relative: Tensor
) -> Tensor:
    """What a `DisentangledSelfAttention` gives `asking` `[B, Q, H * D]` of `hidden` `[B, L, H * D]`.

    `bias` `[B, 1, 1, L]` masks; `buckets` `[B or 1, Q, L]` in [0, R) says which relative position a token
    has to one that asks; `relative` `[R, H * D]` are their embeddings.
    """

    def heads(projected: Tensor) -> Tensor:
        return projected.view(*projected.shape[:-1], module.num_attention_heads, -1).transpose(-2, -3)

    kinds = [kind for kind in ("c2p", "p2c") if kind in module.pos_att_type]
    scale = (module.attention_head_size * (1 + len(kinds))) ** -0.5
    query, key, value = (
        heads(project(states))
        for project, states in (
            (module.query_proj, asking),
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
        each = key @ (heads(project(relative)) * scale).transpose(-1, -2)  # [B, H, L, R]: a row is a key's
        columns = torch.arange(size[-1], device=buckets.device) * each.shape[-1]
        index = (buckets + columns).flatten(1)[:, None].expand(*size[:2], -1)
        bias = each.flatten(-2).gather(-1, index).view(size).add_(bias)
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=scale)
    return mixed.transpose(1, 2).flatten(2)


def _buckets(model: DebertaV2Model, hidden: Tensor) -> Tensor:
    """`[L, L]`: the row of the relative embeddings for each pair of positions."""
    encoder = model.encoder
    span = encoder.layer[0].attention.self.pos_ebd_size
    distance = build_relative_position(
        hidden, hidden, bucket_size=encoder.position_buckets, max_position=encoder.max_relative_positions
    )
    return (distance[0] + span).clamp(0, 2 * span - 1)  # type: ignore[no-any-return]
