"""Losses on the likelihood of one completion."""

from __future__ import annotations

from pairkit.losses.types import Logps, LossOutput, Term, output


def chosen_nll(policy: Logps, coefficient: float = 1.0) -> Term:
    """The token mean of column 0's negative log-likelihood over the whole global batch, nats a token."""
    return Term(-policy.sum[:, 0], policy.length[:, 0].to(policy.sum.dtype), coefficient)


def sft(policy: Logps) -> LossOutput:
    """Supervised fine-tuning: the token-mean negative log-likelihood of the preferred completion.

    loss = -sum_b log p(y_b) / sum_b |y_b|

    Args:
        policy: sums over completion tokens, nats, [B, K]; only column 0 is read.

    Returns:
        One term, a mean over tokens; rewards are mean log-probs.
    """
    return output(chosen_nll(policy), rewards=policy.mean)
