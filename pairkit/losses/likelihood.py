"""Losses on the likelihood of one completion."""

from __future__ import annotations

from pairkit.losses.types import Logps, LossOutput, Term, output, set_mean


def chosen_nll(policy: Logps, coefficient: float = 1.0, reduction: str = "token_mean") -> Term:
    """Build the term of column 0's negative log-likelihood.

    Args:
        reduction: "token_mean" averages over all chosen tokens of the global batch, nats per token; "sum"
            averages over sets, nats per completion.
    """
    values = -policy.sum[:, 0]  # [B], nats
    if reduction == "sum":
        return set_mean(values)._replace(coefficient=coefficient)
    # Weights are tokens, so that micro-batches and processes add up to one mean over all tokens.
    return Term(values, policy.length[:, 0].to(values.dtype), coefficient)


def sft(policy: Logps) -> LossOutput:
    """Supervised fine-tuning: the token-mean negative log-likelihood of the preferred completion.

    loss = -sum_b log p(y_b) / sum_b |y_b|

    Args:
        policy: sums over completion tokens, nats, [B, K]; only column 0 is read.

    Returns:
        One term, a mean over tokens; rewards are mean log-probs.

    References:
        Maximum likelihood; the first step of Ouyang et al. 2022, arXiv 2203.02155.
    """
    return output(chosen_nll(policy), rewards=policy.mean)
