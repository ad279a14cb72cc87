"""One prompt with five completions: every expectation over them is a sum.

All logits are written out, so that the numbers of docs/theory.md are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor

from pairkit.losses import Logps, build


def reals(*values: float) -> Tensor:
    """Make a float64 vector."""
    return torch.tensor(values, dtype=torch.float64)


BETA = 0.7
THETA = reals(0.9, -0.4, 0.3, -1.2, 0.5)  # logits of the policy, its parameters
REFERENCE = reals(0.1, 0.6, -0.5, 0.2, -0.3)
PROPOSAL = reals(-0.2, 0.4, 0.1, 0.7, -0.9)  # mu, of which the noise is sampled
TARGET = reals(1.1, -0.6, 0.2, -0.9, 0.4)  # pi*, of which the observations are; also the true reward
LENGTH = torch.tensor([4, 6, 5, 3, 7])  # tokens
SIZE = len(THETA)
BEST_FIRST = TARGET.argsort(descending=True)


def scored(logits: Tensor, index: Tensor) -> Logps:
    """Score the completions `index`, [N, K], under softmax(logits)."""
    return Logps(logits.log_softmax(0)[index], LENGTH[index], torch.ones_like(index, dtype=torch.bool))


def sums(policy: Any, reference: Any = None, length: Any = None) -> tuple[Logps, Logps]:
    """Make (policy, reference) of explicit log-probs, [B, K]; by default 1 token, and a reference of 0."""
    total = torch.as_tensor(policy, dtype=torch.float64)
    other = torch.zeros_like(total) if reference is None else torch.as_tensor(reference, dtype=torch.float64)
    tokens = torch.ones(total.shape, dtype=torch.long) if length is None else torch.as_tensor(length)
    present = torch.ones_like(tokens, dtype=torch.bool)
    return Logps(total, tokens, present), Logps(other, tokens, present)


def losses(name: str, theta: Tensor, index: Tensor, **keywords: Any) -> Tensor:
    """Compute a loss on the completions `index`, [N, K], of the policy softmax(theta); [N]."""
    return build(name, **keywords)(scored(theta, index), scored(REFERENCE, index)).losses


def slopes(name: str, policy: Logps, reference: Logps | None, **keywords: Any) -> Tensor:
    """Differentiate the sum of the losses by the policy's log-probs, [B, K]."""
    total = policy.sum.clone().requires_grad_()
    build(name, **keywords)(Logps(total, policy.length, policy.mask), reference).losses.sum().backward()
    assert total.grad is not None
    return total.grad


def gradient(function: Callable[[Tensor], Tensor], at: Tensor = THETA) -> Tensor:
    """Differentiate a scalar function of the policy's logits."""
    theta = at.clone().requires_grad_()
    function(theta).backward()
    assert theta.grad is not None
    return theta.grad


def log_ratios(theta: Tensor, reference: Tensor = REFERENCE) -> Tensor:
    """Compute r(y) of every completion, nats."""
    return theta.log_softmax(0) - reference.log_softmax(0)


def model(theta: Tensor = THETA, beta: float = BETA, proposal: Tensor = PROPOSAL) -> Tensor:
    """Compute p, proportional to mu exp(beta r): MC-PO's probability model."""
    return (proposal.log_softmax(0) + beta * log_ratios(theta)).softmax(0)


def noise(count: int, proposal: Tensor = PROPOSAL) -> tuple[Tensor, Tensor]:
    """List every set of `count` independent samples of mu, in no order: rows [N, count], chances [N]."""
    rows = torch.tensor(list(combinations_with_replacement(range(SIZE), count)))
    times = torch.stack([(rows == each).sum(1) for each in range(SIZE)], dim=1).double()  # [N, 5]
    orders = torch.lgamma(torch.tensor(count + 1.0, dtype=torch.float64)) - torch.lgamma(times + 1).sum(1)
    return rows, (orders + times @ proposal.log_softmax(0)).exp()


def after(first: Tensor, rows: Tensor, chances: Tensor) -> tuple[Tensor, Tensor]:
    """Put y_0, sampled from `first`, [5], in front of each row: index [5 N, 1 + M], chances [5 N]."""
    front = torch.arange(SIZE).repeat_interleave(len(rows))[:, None]
    return torch.cat([front, rows.repeat(SIZE, 1)], dim=1), first.repeat_interleave(
        len(rows)
    ) * chances.repeat(SIZE)


def total_variation(p: Tensor, q: Tensor) -> float:
    """Compute half of the sum of |p - q|."""
    return 0.5 * float((p - q).abs().sum())
