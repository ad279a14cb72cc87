"""Check: attention over a packed sequence with heads of real models' sizes, forward and backward.

Exact is a dense float64 softmax with the layout's mask. What is off is relative to the norm of the exact
output and of each exact gradient: at most 1e-4 in float32 and 2e-2 in bfloat16. On a GPU this is
flex_attention's kernel, which has other tiles for each size and may not fit a small device's shared memory;
the tiny classes of the other check all have small heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gpu.jobs import FAILED, OK, Job, Result, result
from pairkit.training.logprobs.attention import packed_attention
from pairkit.training.logprobs.packing import Packed, pack, pack_after

LIMITS = {"float32": 1e-4, "bfloat16": 2e-2}
SIZES = ((300, 140, 20), (40, 30), (130, 260))  # tokens of prompts and completions
MORE = ((150,), (7, 90), ())  # of completions that follow


class Heads(NamedTuple):
    """Sizes of a layer's heads, how many there are, and what is made of scores."""

    size: int
    queries: int = 4
    keys: int = 2
    value: int | None = None  # size, where it is another
    window: int | None = None
    softcap: float | None = None


HEADS = {
    "64": Heads(64),
    "80": Heads(80, 4, 4),
    "96": Heads(96, 4, 4),
    "128": Heads(128, 8, 1),
    "128, window": Heads(128, window=100),
    "192 and 128": Heads(192, 4, 4, value=128),
    "256, softcap": Heads(256, softcap=50.0),
    "256, window": Heads(256, 4, 1, window=50),
}


def check(job: Job, name: str) -> Iterator[Result]:
    """Compare one kind of heads; `arguments`: device, dtype."""
    device, dtype = torch.device(job.arguments["device"]), job.arguments["dtype"]
    sets = [(_ids(prompt), [_ids(n) for n in completions]) for prompt, *completions in SIZES]
    _, packed = pack(sets, device, cache=True)
    _, later = pack_after(packed, [[_ids(n) for n in completions] for completions in MORE])
    off = [_off(HEADS[name], layout, device, getattr(torch, dtype)) for layout in (packed, later)]
    worst = max(off)
    wrong = "" if worst <= LIMITS[dtype] else f"off by {worst:.1e} of the norm, limit {LIMITS[dtype]:.0e}"
    yield result(job, name, FAILED if wrong else OK, wrong, gradient=worst)


def _ids(count: int) -> np.ndarray:
    return np.zeros(count, np.int32)


def _off(heads: Heads, packed: Packed, device: torch.device, dtype: torch.dtype) -> float:
    """Return the largest error of the output and of the gradients."""
    generator = torch.Generator(device).manual_seed(0)
    own = len(packed.tokens.owner)
    before = 0 if packed.earlier is None else len(packed.earlier.tokens.owner)

    def normal(count: int, tokens: int, size: int) -> Tensor:
        return torch.randn(1, count, tokens, size, generator=generator, device=device).to(dtype)

    value = heads.value or heads.size
    query = normal(heads.queries, own, heads.size)
    key, values = normal(heads.keys, before + own, heads.size), normal(heads.keys, before + own, value)
    back = normal(own, heads.queries, value)  # of the output, [1, N, H, D]
    inputs = [x.detach().requires_grad_() for x in (query, key, values)]
    if packed.earlier is not None:
        packed.earlier.cache = {0: (inputs[1][:, :, :before], inputs[2][:, :, :before])}
    output, _ = packed_attention(
        torch.nn.Identity(), inputs[0], inputs[1][:, :, before:], inputs[2][:, :, before:], packed,
        sliding_window=heads.window, softcap=heads.softcap,
    )  # fmt: skip
    found = (output, *torch.autograd.grad(output, inputs, back))
    exact_inputs = [x.detach().double().requires_grad_() for x in (query, key, values)]
    right = _dense(heads, packed, *exact_inputs)
    exact = (right, *torch.autograd.grad(right, exact_inputs, back.double()))
    return max(float((one.double() - e).norm() / e.norm()) for one, e in zip(found, exact, strict=True))


def _dense(heads: Heads, packed: Packed, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    keys = packed.tokens if packed.earlier is None else packed.earlier.tokens.concatenate(packed.tokens)
    seen = torch.from_numpy(packed.tokens.sees(keys, heads.window)).to(query.device)  # [N, M]
    groups = heads.queries // heads.keys
    key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
    scores = query @ key.transpose(-1, -2) * heads.size**-0.5
    if heads.softcap is not None:
        scores = torch.tanh(scores / heads.softcap) * heads.softcap
    weights = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1)
    return (weights @ value).transpose(1, 2)
