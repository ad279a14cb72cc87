"""Explicit and random log-probs, for tests of single losses."""

from __future__ import annotations

from math import exp, log1p
from typing import Any

import torch
from torch import Tensor

from pairkit.losses import Extras, Logps, Loss, build


def logps(sums: Any, lengths: Any, mask: Any = None, **more: Any) -> Logps:
    """Make float64 `Logps` from nested lists; all completions are present by default."""
    total = torch.as_tensor(sums, dtype=torch.float64)
    present = torch.ones_like(total, dtype=torch.bool) if mask is None else torch.tensor(mask)
    fields = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in more.items()}
    return Logps(total, torch.as_tensor(lengths), present, **fields)


# Pair A and pair B of the golden values.
LENGTHS = [[20, 25], [20, 25]]
POLICY = logps([[-40.0, -45.0], [-50.0, -40.0]], LENGTHS)
REFERENCE = logps([[-42.0, -44.0], [-48.0, -43.0]], LENGTHS)


def single(name: str, **keywords: Any) -> Loss:
    """Build a loss that is not a sum."""
    loss = build(name, **keywords)
    assert isinstance(loss, Loss)
    return loss


def softplus(x: float) -> float:
    """Compute log(1 + exp(x))."""
    return max(x, 0.0) + log1p(exp(-abs(x)))


def random_logps(sets: int, completions: int = 2, seed: int = 0) -> tuple[Logps, Logps]:
    """Make (policy, reference): 3 to 30 tokens, about -1.5 nats per token, log-ratios of a few nats."""
    random = torch.Generator().manual_seed(seed)
    length = torch.randint(3, 31, (sets, completions), generator=random)
    noise = torch.randn(2, sets, completions, generator=random, dtype=torch.float64)
    total = -length * (1.5 + 0.3 * noise[0])
    return logps(total, length), logps(total + 3 * noise[1], length)


def with_sum(policy: Logps, total: Tensor) -> Logps:
    """Replace the sums, which may require a gradient."""
    return Logps(total, policy.length, policy.mask, policy.token_kl)


def value_and_gradient(
    loss: Loss, policy: Logps, reference: Logps | None, scores: Tensor | None = None, **extras: Any
) -> tuple[Tensor, Tensor]:
    """Compute the losses of the sets, and the gradient of their sum by the policy's sums."""
    total = policy.sum.clone().requires_grad_()
    losses = loss(with_sum(policy, total), reference, scores, extras=Extras(**extras)).losses
    losses.sum().backward()
    assert total.grad is not None
    return losses.detach(), total.grad


def in_parts(loss: Loss, policy: Logps, reference: Logps | None, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """Observe the whole batch, then compute the loss in parts of different sizes, as the loop does.

    Returns:
        The objective, summed terms over summed weights, and its gradient by the policy's sums.
    """
    rows = loss.observe(policy, reference, seeds)
    total = policy.sum.clone().requires_grad_()
    whole = with_sum(policy, total)
    values, weights = torch.zeros((), dtype=torch.float64), 0.0
    for part in torch.arange(len(total)).flip(0).split([1, 4, len(total) - 5]):
        statistics = {name: row[part] for name, row in rows.items()}
        extras = Extras(statistics=statistics)
        (term,) = loss(whole.rows(part), reference and reference.rows(part), extras=extras).terms
        values, weights = values + term.values.sum(), weights + float(term.weights.sum())
    objective = values / weights
    objective.backward()
    assert total.grad is not None
    return objective.detach(), total.grad
