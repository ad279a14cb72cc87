"""DPO without padding and with each prompt twice: texts in one row, attention text by text, all logits.

This is how open-instruct trains where padding-free is on: prompt and chosen, prompt and rejected, all in one
sequence whose positions begin again with each text; flash attention of such sequences (here torch's own
`varlen_attn`; on a CPU a call per text); the logits of all positions, of which the targets' log-probs are
picked. Written from that description, for the comparison only.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid, scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface

from gpu.jobs import need
from pairkit.training.tokens.token_set import TokenSet

NAME = "texts_without_padding"
_ends: list[int] = []  # of the texts of the current row, with a 0 in front


def use_attention_by_text(model: Any) -> None:
    """Have the model attend text by text."""
    if next(model.parameters()).is_cuda:
        need("torch.nn.attention.varlen", "'torch>=2.10'")
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)
    for module in model.modules():
        if hasattr(module, "config") and hasattr(module.config, "_attn_implementation_internal"):
            module.config._attn_implementation_internal = NAME


def dpo_gradients(model: nn.Module, sets: list[TokenSet], beta: float, reference: float, size: int) -> float:
    """Add the gradient of DPO's loss of some pairs of a batch of `size`; return their part of the loss.

    Args:
        reference: the reference's log-prob of every token, nats.
    """
    device = next(model.parameters()).device
    # All chosen ones first, then all rejected ones.
    texts = [(item.prompt, item.columns[side].ids) for side in (0, 1) for item in sets]
    lengths = [len(prompt) + len(completion) for prompt, completion in texts]
    _ends[:] = np.cumsum([0, *lengths]).tolist()
    ids = torch.from_numpy(np.concatenate([ids for text in texts for ids in text])).long().to(device)
    positions = torch.from_numpy(np.concatenate([np.arange(n) for n in lengths])).to(device)
    scored = np.concatenate([np.arange(len(p) + len(c)) >= len(p) for p, c in texts])
    owner = torch.from_numpy(np.repeat(np.arange(len(texts)), lengths)).to(device)
    at = torch.from_numpy(np.flatnonzero(scored)).to(device)  # [T], a token; the one before predicts it
    logits = model(input_ids=ids[None], position_ids=positions[None], use_cache=False).logits[0]  # [N, V]
    logp = log_softmax(logits[at - 1].float(), dim=-1).gather(1, ids[at, None])[:, 0]
    sums = torch.zeros(len(texts), device=device).index_add(0, owner[at], logp - reference)
    chosen, rejected = sums.chunk(2)
    loss = -logsigmoid(beta * (chosen - rejected)).sum() / size
    loss.backward()  # type: ignore[no-untyped-call]
    return float(loss.detach())


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Attend within each text of the current row, with the signature that transformers calls."""
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        known = signature(varlen_attn).parameters  # it has changed between versions of torch
        options: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in known else {"is_causal": True}
        groups = query.shape[1] // key.shape[1]
        if "enable_gqa" in known:
            options["enable_gqa"] = groups > 1
        else:
            key, value = (heads.repeat_interleave(groups, dim=1) for heads in (key, value))
        ends = torch.tensor(_ends, dtype=torch.int32, device=query.device)
        longest = max(np.diff(_ends).tolist())
        heads = (x[0].transpose(0, 1).to(value.dtype).contiguous() for x in (query, key, value))  # [N, H, D]
        output = varlen_attn(*heads, ends, ends, longest, longest, scale=scaling, **options)
        return output[None], None
    parts = zip(*(x.split(np.diff(_ends).tolist(), dim=2) for x in (query, key, value)), strict=True)
    outputs = [
        scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=True)
        for q, k, v in parts
    ]
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None
