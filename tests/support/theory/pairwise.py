"""SPO, StaPO and MinorDPO: their losses on a pair, and on the five completions of the space."""

from __future__ import annotations

from math import log
from typing import Any

import torch
from support.theory.space import REFERENCE, SIZE, TARGET, gradient, log_ratios, losses, scored, slopes, sums
from torch import Tensor

from pairkit.losses import Logps, build


def value(name: str, a: float, b: float, **keywords: Any) -> float:
    """Compute a loss at log-ratios a of the chosen and b of the rejected completion."""
    return float(build(name, **keywords)(*sums([[a, b]])).losses)


def slope(name: str, a: float, b: float, **keywords: Any) -> tuple[float, float]:
    """Differentiate it by a and by b."""
    of_chosen, of_rejected = slopes(name, *sums([[a, b]]), **keywords)[0].tolist()
    return of_chosen, of_rejected


def well(z: float) -> float:
    """Compute f'(z) of SPO's f(z) = -z exp(-z)."""
    return slope("spo", z, 0.0, beta=1.0, alpha=0.0)[0]


def bent(z: float, step: float = 1e-4) -> float:
    """Compute f''(z), by a difference of f'."""
    return (well(z + step) - well(z - step)) / (2 * step)


def two_sided(z: float, beta: float, left: float = 0.6, right: float = 0.8) -> tuple[float, float]:
    """Compute StaPO's loss at Z = z, and its slope by Z."""
    policy, _ = sums([[z, 0.0]])
    keywords = {"beta": beta, "left_margin": left, "right_margin": right}
    loss = float(build("stapo", **keywords)(policy).losses)
    return loss, float(slopes("stapo", policy, None, **keywords)[0, 0])


def aligned(beta: float) -> Tensor:
    """Return the logits of the policy that maximizes reward - beta KL: ref exp(reward / beta)."""
    return REFERENCE.log_softmax(0) + TARGET / beta


def bradley_terry_gradient(name: str, theta: Tensor, **keywords: Any) -> Tensor:
    """Differentiate a loss, averaged over all pairs and Bradley-Terry labels of the reward, by the logits."""
    pairs = torch.combinations(torch.arange(SIZE), 2)
    both = torch.cat([pairs, pairs.flip(1)])  # either may be the chosen one
    reward = TARGET[both]
    chances = torch.sigmoid(reward[:, 0] - reward[:, 1]) / len(pairs)
    return gradient(lambda theta: chances @ losses(name, theta, both, **keywords), theta)


def descended(name: str, steps: int, rate: float = 1.0, beta: float = 0.1) -> tuple[float, float]:
    """Descend a loss on the pair (0, 1) from the reference; return log-ratios a and b, nats."""
    loss, index = build(name, beta=beta), torch.tensor([[0, 1]])
    theta, reference = REFERENCE.clone().requires_grad_(), scored(REFERENCE, index)
    for _ in range(steps):
        loss(scored(theta, index), reference).losses.sum().backward()
        assert theta.grad is not None
        with torch.no_grad():
            theta -= rate * theta.grad
        theta.grad = None
    a, b = log_ratios(theta.detach())[:2].tolist()
    return a, b


def first_move(name: str, beta: float = 0.1) -> float:
    """Compute how fast b moves at the start of that descent, per unit of rate, nats."""
    index = torch.tensor([[0, 1]])
    down = -gradient(lambda theta: losses(name, theta, index, beta=beta).sum(), REFERENCE)
    return float(down @ gradient(lambda theta: log_ratios(theta)[1], REFERENCE))


def coefficient(beta: float, margin: float) -> float:
    """Compute MinorDPO's f(beta, margin) of DPO, minus its slope by a."""
    return -slope("dpo", margin, 0.0, beta=beta)[0]


def without_bracket(pair: tuple[Logps, Logps], beta: float) -> list[float]:
    """Compute StaPO's equation 4 as printed, -log sigma(beta Z - m), m the reference's difference."""
    policy, reference = pair
    z, m = (logps.sum[:, 0] - logps.sum[:, 1] for logps in (policy, reference))
    printed: list[float] = torch.nn.functional.softplus(m - beta * z).tolist()
    return printed


def smoothed_optimum(smoothing: float) -> float:
    """Return log((1 - e) / e), the beta D at which DPO with label smoothing e is least."""
    return log((1 - smoothing) / smoothing)
