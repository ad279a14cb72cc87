"""alpha-DPO: lemma 4.2, its losses and its bound, computed by simpo and alpha_dpo."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import torch
from support.theory.space import BEST_FIRST, REFERENCE, THETA, log_ratios, reals, scored, sums
from torch import Tensor

from pairkit.losses import Logps, build

SCALE, RATIO = 2.0, 0.25  # beta and gamma / beta of the losses, simpo's defaults
Pairs = tuple[Logps, Logps, Tensor]  # policy and reference, [N, 2]; chances [N]


def explicit(a: Tensor, b: Tensor) -> Pairs:
    """Make equally likely pairs of one token with the lemma's A and B, [N] each."""
    ahead, zero = a / SCALE + RATIO, torch.zeros_like(a)
    policy, reference = sums(torch.stack([ahead, zero], 1), torch.stack([ahead - b, zero], 1))
    return policy, reference, torch.full_like(a, 1 / len(a))


def spread(a: float, deviation: float, count: int = 64) -> Pairs:
    """Make pairs with one A, and B of the quantiles of a normal distribution around 0."""
    shares = [(each + 0.5) / count for each in range(count)]
    b = reals(*(NormalDist(0, deviation).inv_cdf(share) for share in shares))
    return explicit(torch.full_like(b, a), b)


def preferred() -> Tensor:
    """List the pairs (better, worse) of the five completions by the true reward, [10, 2]."""
    return torch.combinations(BEST_FIRST, 2)


def in_space() -> Pairs:
    """Make the pairs of two samples of the reference, without those that are twice the same completion."""
    index = preferred()
    return scored(THETA, index), scored(REFERENCE, index), _both(REFERENCE.softmax(0), index)


def _both(first: Tensor, index: Tensor) -> Tensor:
    return 2 * first[index].prod(dim=1)


def simpo(pairs: Pairs) -> Tensor:
    """Compute -log sigma(A), [N]."""
    return build("simpo", beta=SCALE, gamma_beta_ratio=RATIO)(pairs[0]).losses


def gaps(pairs: Pairs) -> Tensor:
    """Compute B, the difference of two sums of log-ratios, [N]."""
    ratios = pairs[0].sum - pairs[1].sum
    return ratios[:, 0] - ratios[:, 1]


def adapted(pairs: Pairs, alpha: float) -> float:
    """Compute L2, the mean of -log sigma(A - alpha B): alpha_dpo, whose own M is beta B."""
    loss = build(
        "alpha_dpo",
        beta=SCALE,
        gamma_beta_ratio=RATIO,
        alpha=alpha / SCALE,
        normalize=False,
        margin_reduction="sum",
    )
    return float(pairs[2] @ loss(pairs[0], pairs[1]).losses)


def corrected(pairs: Pairs, alpha: float) -> float:
    """Compute L1 of the proof, the mean of -log sigma(A) exp(alpha B)."""
    return float(pairs[2] @ (simpo(pairs) * (alpha * gaps(pairs)).exp()))


def epsilon(pairs: Pairs, alpha: float) -> float:
    """Compute the bound, alpha times the mean of |B| |log sigma(A) - sigma(A) + 1|."""
    losses = simpo(pairs)
    return alpha * float(pairs[2] @ (gaps(pairs).abs() * (1 - losses - (-losses).exp()).abs()))


def excess(pairs: Pairs, alpha: float) -> float:
    """Compute |L1 - L2| - epsilon: above 0 the bound fails."""
    return abs(corrected(pairs, alpha) - adapted(pairs, alpha)) - epsilon(pairs, alpha)


def largest(pairs: Pairs) -> float:
    """Find the alpha in (0.001, 10) from which on the bound fails, by bisection."""
    return crossing(lambda alpha: excess(pairs, alpha), 0.001, 10.0)


def crossing(function: Callable[[float], float], low: float, high: float) -> float:
    """Find where a function that is negative at `low` becomes positive, to 1e-9 of its place."""
    assert function(low) < 0 < function(high)
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
    return high


def online(alpha: float) -> tuple[float, float, float]:
    """Compute equation 13 over pairs of pi_old, equation 14 with 15, and equation 14 with 16.

    pi_old is the proof's, proportional to ref (pi / ref)^alpha, so that C is the same for every completion.
    """
    pairs, index = in_space(), preferred()
    old = (REFERENCE.log_softmax(0) + alpha * log_ratios(THETA)).softmax(0)
    weights = (old / REFERENCE.softmax(0))[index]
    losses = simpo(pairs)
    return (
        float(_both(old, index) @ losses),
        float(pairs[2] @ (losses * weights[:, 0] * weights[:, 1])),
        float(pairs[2] @ (losses * weights[:, 0] / weights[:, 1])),
    )
