"""Losses on a set of K completions: column 0 is the preferred one, the others stand below it."""

from __future__ import annotations

import torch

from pairkit.losses.types import Logps, LossOutput, log_ratio, output, set_mean


def rnce(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Ranking noise-contrastive estimation: the preferred completion against its negatives.

    loss = -s_0 + logsumexp(s_0, ..., s_M),  s = beta x log-ratio

    MC-PO has the same objective; its negatives are drawn in proportion to exp(s) by `sample_negatives`.
    With one negative it is DPO.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 1 + M]; masked columns contribute nothing.
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Chen et al. 2025, arXiv 2502.04567, equation 7 and proposition 2.1.
    """
    rewards = beta * log_ratio(policy, reference)
    logits = rewards.masked_fill(~policy.mask, -torch.inf)
    return output(set_mean(torch.logsumexp(logits, dim=1) - rewards[:, 0]), rewards=rewards)
