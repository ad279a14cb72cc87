"""Sampling the next token such that a completion depends on its own seed and on nothing else.

Each completion has a seed, and each of its tokens a uniform number, a hash of (seed, position). No generator
is shared, so neither the batch, nor its order, nor a restart changes a token. The token is the inverse of the
cumulative distribution at that number, computed in float64. Logits that differ by rounding (another batch
size, another device) move the boundaries between tokens by as much, and a token changes only if its number
lies in between: about once in 10^5 tokens in float32.

Two models with the same seeds use the same numbers, which reduces the variance of their comparison.

Shapes: R rows (completions in flight), V vocabulary.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from pairkit.errors import ModelError
from pairkit.random_bits import GOLDEN, finalize_words

_ELEMENTS = 2**19  # logits that are handled at a time on a CPU: 4 MiB in float64


def uniforms(seeds: npt.NDArray[np.uint64], position: int) -> npt.NDArray[np.float64]:
    """Return a number in [0, 1) per seed `[R]` at a position: the top 53 bits of a hash of the two."""
    with np.errstate(over="ignore"):
        counter = np.uint64(position) * np.uint64(GOLDEN)
        # Mixed before the position is added: otherwise seeds that differ by GOLDEN would share numbers.
        mixed = _mix(_mix(seeds) + counter)
    return (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Take one step of splitmix64 from state `x`."""
    return finalize_words(x + np.uint64(GOLDEN))


def draw(
    logits: torch.Tensor, temperature: torch.Tensor, top_p: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """Sample the next token of each row, int64 `[R]`.

    Args:
        logits: `[R, V]`.
        temperature: float64 `[R]`; temperature 0 takes the most probable token.
        top_p: float64 `[R]`; the smallest set of most probable tokens that reaches this probability is kept.
        uniform: float64 `[R]`, in [0, 1).

    Raises `ModelError` for NaN logits.
    """
    best, greedy = logits.max(dim=-1)
    if torch.isnan(best).any():
        raise ModelError("the model's logits are NaN: check its weights, or use a precision with more range")
    sampled = temperature > 0
    if not sampled.any():
        return greedy
    scale = torch.where(sampled, temperature, 1.0).unsqueeze(1)
    # On a CPU a few rows at a time, because float64 of all rows is more than its caches hold.
    rows = max(1, _ELEMENTS // logits.shape[-1]) if logits.device.type == "cpu" else len(logits)
    parts = [torch.split(part, rows) for part in (logits, scale, top_p, uniform)]
    tokens = torch.cat([_inverse(*part) for part in zip(*parts, strict=True)])
    return torch.where(sampled, tokens, greedy)


def _inverse(
    logits: torch.Tensor, scale: torch.Tensor, top_p: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor:
    """Return the token at which the cumulative distribution of a row passes `uniform`: `[B, V]` to `[B]`."""
    # float64, because a float32 sum over the vocabulary loses small probabilities.
    probabilities = torch.softmax(logits.double().div_(scale), dim=-1)
    if (top_p < 1).any():
        probabilities = _nucleus(probabilities, top_p)
    cumulative = probabilities.cumsum_(dim=-1)
    # Scaled by the sum itself, which rounding or the nucleus keeps from being exactly 1.
    target = (uniform * cumulative[:, -1]).unsqueeze(1)
    return torch.searchsorted(cumulative, target, right=True).squeeze(1).clamp(max=logits.shape[-1] - 1)


def _nucleus(probabilities: torch.Tensor, top_p: torch.Tensor) -> torch.Tensor:
    """Set all but each row's nucleus to 0, `[R, V]`; the most probable token always stays."""
    # Stable, so that equal probabilities are cut in the same order everywhere.
    ordered, index = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    dropped = before >= top_p.unsqueeze(1)
    dropped[:, 0] = False
    return probabilities.masked_fill(torch.zeros_like(dropped).scatter(1, index, dropped), 0.0)
