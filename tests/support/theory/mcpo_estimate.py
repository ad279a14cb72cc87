"""MC-PO: its objective as an estimate of a likelihood, and when its gradient is unbiased."""

from __future__ import annotations

from itertools import permutations

import torch
from support.theory.mcpo_kernel import kernel
from support.theory.space import (
    BEST_FIRST,
    BETA,
    PROPOSAL,
    REFERENCE,
    SIZE,
    TARGET,
    THETA,
    after,
    gradient,
    log_ratios,
    losses,
    model,
    noise,
    scored,
)
from torch import Tensor


def expected_loss(theta: Tensor, negatives: int) -> Tensor:
    """Average rnce over y_0 ~ pi* and independent noise."""
    index, chances = after(TARGET.softmax(0), *noise(negatives))
    return chances @ losses("rnce", theta, index, beta=BETA)


def likelihood(theta: Tensor) -> Tensor:
    """Average equation 6, -beta r(y) + log Z, over y ~ pi*."""
    log_z = torch.logsumexp(PROPOSAL.log_softmax(0) + BETA * log_ratios(theta), dim=0)
    return log_z - BETA * TARGET.softmax(0) @ log_ratios(theta)


def least(proposal: Tensor = PROPOSAL) -> Tensor:
    """Return the logits of the policy of which p = pi*: ref (pi* / mu)^(1 / beta)."""
    return REFERENCE.log_softmax(0) + (TARGET.log_softmax(0) - proposal.log_softmax(0)) / BETA


def exact(beta: float = BETA, proposal: Tensor = PROPOSAL) -> Tensor:
    """Differentiate log Z."""
    weights = proposal.log_softmax(0)
    return gradient(lambda theta: torch.logsumexp(weights + beta * log_ratios(theta), dim=0))


def estimate(index: Tensor, chances: Tensor, beta: float = BETA) -> Tensor:
    """Average the gradient of log Z-hat: rnce is -beta r(y_0) + log of the sum, so beta r(y_0) is added."""

    def log_z(theta: Tensor) -> Tensor:
        return chances @ (losses("rnce", theta, index, beta=beta) + beta * log_ratios(theta)[index[:, 0]])

    return gradient(log_z)


def bias(first: Tensor, negatives: int, beta: float = BETA) -> float:
    """Measure how far the average estimate of the gradient of log Z is off, with y_0 ~ first."""
    return float((estimate(*after(first, *noise(negatives)), beta) - exact(beta)).norm())


def bias_without_replacement(negatives: int) -> float:
    """Measure it with y_0 ~ p and negatives of mu of which none is sampled twice."""
    rows = list(permutations(range(SIZE), negatives))
    mu, chances = PROPOSAL.softmax(0).tolist(), []
    for row in rows:
        chance, left = 1.0, 1.0
        for column in row:
            chance, left = chance * mu[column] / left, left - mu[column]
        chances.append(chance)
    weights = torch.tensor(chances, dtype=torch.float64)
    return float((estimate(*after(model(), torch.tensor(rows), weights)) - exact()).norm())


def bias_of_drawn(candidates: int) -> float:
    """Measure it with y_0 ~ p and the pair (y_0, y'), y' drawn by the kernel from `candidates` of mu."""
    index, chances = after(model(), *noise(candidates))
    negatives = index[:, 1:]
    weights = chances[:, None] * kernel(scored(THETA, negatives), scored(REFERENCE, negatives))
    pairs = torch.stack([index[:, :1].expand_as(negatives), negatives], dim=2)
    return float((estimate(pairs.reshape(-1, 2), weights.flatten()) - exact()).norm())


def best_of(count: int) -> Tensor:
    """Compute the distribution of the best of `count` samples of the policy, by the true reward."""
    below = 1.0 - THETA.softmax(0)[BEST_FIRST].cumsum(0)  # chance of a worse one
    above = torch.cat([torch.ones(1, dtype=torch.float64), below[:-1]])
    return torch.zeros_like(below).scatter(0, BEST_FIRST, above**count - below.clamp(min=0) ** count)
