"""Pairs with the log-probs of a policy and a reference, for tests of the pairwise losses that take both.

Pair A: log p of chosen and rejected -40, -45, reference -42, -44, so log-ratios a = 2, b = -1 and D = 3.
Pair B: -50, -40, reference -48, -43, so a = -2, b = 3 and D = -5. Both have 20 and 25 tokens.
"""

from __future__ import annotations

from dataclasses import replace
from math import exp, log1p
from typing import Any

import torch
from torch import Tensor

from pairkit.losses import Logps, Loss, WeightedSum

Models = tuple[Logps, Logps]  # of policy and reference


def logps(sums: Any, lengths: Any = (20, 25), mask: Any = None, **more: Any) -> Logps:
    """Make float64 `Logps` from nested lists; one row of lengths may apply to all."""
    total = torch.as_tensor(sums, dtype=torch.float64)
    present = torch.ones_like(total, dtype=torch.bool) if mask is None else torch.tensor(mask)
    fields = {name: torch.tensor(value, dtype=torch.float64) for name, value in more.items()}
    return Logps(total, torch.tensor(lengths).expand(total.shape), present, **fields)


A = (
    logps([[-40.0, -45.0]], token_kl=[[2.0, 3.0]], alignment=[[-0.1, -0.2]], head_sum=[[-40.0, -36.0]]),
    logps([[-42.0, -44.0]], head_sum=[[-42.0, -34.0]]),
)
B = (
    logps([[-50.0, -40.0]], token_kl=[[1.0, 4.0]], alignment=[[0.2, 0.1]], head_sum=[[-50.0, -33.0]]),
    logps([[-48.0, -43.0]], head_sum=[[-48.0, -35.0]]),
)


def _batch(first: Logps, second: Logps) -> Logps:
    other = second.tensors()
    return Logps(**{name: torch.cat([value, other[name]]) for name, value in first.tensors().items()})


AB = _batch(A[0], B[0]), _batch(A[1], B[1])


def ratios(a: float, b: float) -> Models:
    """Make one pair with these log-ratios."""
    reference = torch.tensor([[-60.0, -70.0]], dtype=torch.float64)
    return logps(reference + torch.tensor([[a, b]], dtype=torch.float64)), logps(reference)


def random_pairs(seed: int = 0, size: int = 16) -> Models:
    """Make pairs of 5 to 30 tokens with all that any loss needs; the shorter completion is all head."""
    random = torch.Generator().manual_seed(seed)

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(size, 2, generator=random, dtype=torch.float64)

    length = draw(5, 31).long()
    total, other = -length * draw(0.5, 2), -length * draw(0.5, 2)
    head = length.min(dim=1, keepdim=True).values / length
    present = torch.ones_like(length, dtype=torch.bool)
    return (
        Logps(total, length, present, draw(0, 5), draw(-1, 0.5), total * head),
        Logps(other, length, present, head_sum=other * head),
    )


def gradient(loss: Loss | WeightedSum, pair: Models, dtype: torch.dtype = torch.float64) -> Tensor:
    """Compute the gradient of the sum of the losses by the policy's sums, all in this precision."""
    policy, reference = pair
    sums = policy.sum.detach().to(dtype).clone().requires_grad_()
    loss(replace(policy, sum=sums), replace(reference, sum=reference.sum.to(dtype))).losses.sum().backward()
    assert sums.grad is not None
    return sums.grad


def nls(x: float) -> float:
    """Compute -log sigmoid(x)."""
    return log1p(exp(-x))
