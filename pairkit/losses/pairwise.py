"""Losses on a pair: column 0 is the chosen completion, column 1 the rejected one."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses.types import Logps, LossOutput, log_ratio, output, pair_of, set_mean


def dpo(
    policy: Logps,
    reference: Logps,
    *,
    beta: float,
    label_smoothing: float,
) -> LossOutput:
    """Direct preference optimization; with label smoothing its conservative form, cDPO.

    loss = -(1 - e) log sigmoid(beta D) - e log sigmoid(-beta D),  D = log-ratio(chosen) - log-ratio(rejected)

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        label_smoothing: e, the share of pairs taken to be labelled wrongly, in [0, 0.5).

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Rafailov et al. 2023, arXiv 2305.18290, equation 7; Mitchell 2023 (cDPO).

    Differs from:
        TRL since 0.29 ignores `label_smoothing` for its loss_type "sigmoid".
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    return output(set_mean(smoothed_logistic(chosen - rejected, label_smoothing)), rewards=rewards)


def smoothed_logistic(logits: Tensor, smoothing: float) -> Tensor:
    """-(1 - e) log sigmoid(x) - e log sigmoid(-x), elementwise."""
    if smoothing == 0.0:
        return -logsigmoid(logits)
    return -(1.0 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)
