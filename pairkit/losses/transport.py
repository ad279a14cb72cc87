"""Losses that compare sorted batches of differences, not pairs: alignment by optimal transport.

Whom a row is matched with is a matter of the whole global batch, and said by `observe`; it is a constant to
the gradient, as a sort's permutation is.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pairkit.losses.logistic import smoothed_logistic
from pairkit.losses.spec import Rows, State
from pairkit.losses.types import Logps, LossOutput, log_ratio, output, pair_of, set_mean


def aot(
    policy: Logps, reference: Logps, statistics: dict[str, Tensor], *, beta: float, label_smoothing: float
) -> LossOutput:
    """AOT for paired data: the policy's differences against the reference's of the same rank in the batch.

    loss = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d),  d = x_(p) - y_(p)

    x_(p) is the p-th smallest of log p(chosen) - log p(rejected) under the policy, y_(p) under the reference,
    of the global batch. In a batch of one pair it is DPO. A set's loss depends on the others of its batch, so
    that weights of single pairs mean little.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        statistics: of each row, as "partner", the reference's difference at the row's rank.
        beta: weight of the KL term, > 0.
        label_smoothing: e, the share of pairs taken to be labelled wrongly, in [0, 0.5).

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Melnyk et al. 2024, arXiv 2406.05882.

    Differs from:
        TRL sorts each process's micro-batch by itself. Until 0.27 it called the unpaired form `aot_pair`.
    """
    chosen, rejected = pair_of(policy.sum)
    logits = beta * (chosen - rejected - statistics["partner"])
    return output(
        set_mean(smoothed_logistic(logits, label_smoothing)), rewards=beta * log_ratio(policy, reference)
    )


def observe_aot(state: State, policy: Logps, reference: Logps) -> tuple[State, Rows]:
    """The partner of each row."""
    own, other = ((chosen - rejected) for chosen, rejected in map(pair_of, (policy.sum, reference.sum)))
    return state, {"partner": _matched(own, other)}


def aot_unpaired(
    policy: Logps, reference: Logps, statistics: dict[str, Tensor], *, beta: float, label_smoothing: float
) -> LossOutput:
    """AOT for unpaired data: log-ratios of chosen completions against rejected ones' of the same rank.

    loss = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d),  d = a_(p) - b_(p)

    a_(p) is the p-th smallest log-ratio of the chosen completions of the global batch, b_(p) of the rejected
    ones. The two mostly belong to different rows, and each row has half the loss of its chosen completion's
    match and half of its rejected one's: a single row's value is shared with others', and its gradient is
    that of its own two completions in the batch's sum, whose value and gradient are exact.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        statistics: of each row, as "rejected_partner" the b at its a's rank, as "chosen_partner" the a at its
            b's rank.
        beta: weight of the KL term, > 0.
        label_smoothing: e, the share of pairs taken to be labelled wrongly, in [0, 0.5).

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Melnyk et al. 2024, arXiv 2406.05882.

    Differs from:
        TRL sorts each process's micro-batch by itself, and calls this form `aot_pair` until 0.27.
    """
    ratios = log_ratio(policy, reference)
    chosen, rejected = pair_of(ratios)
    values = smoothed_logistic(beta * (chosen - statistics["rejected_partner"]), label_smoothing)
    values = values + smoothed_logistic(beta * (statistics["chosen_partner"] - rejected), label_smoothing)
    # Each match is counted by two rows, but has its gradient in one completion of each.
    return output(set_mean(values - values.detach() / 2), rewards=beta * ratios)


def observe_aot_unpaired(state: State, policy: Logps, reference: Logps) -> tuple[State, Rows]:
    """The partners of each row."""
    chosen, rejected = pair_of(log_ratio(policy, reference))
    return state, {
        "rejected_partner": _matched(chosen, rejected),
        "chosen_partner": _matched(rejected, chosen),
    }


def _matched(values: Tensor, others: Tensor) -> Tensor:
    """[B]: of each of `values` the one of `others` that has the same rank."""
    return torch.empty_like(others).scatter(0, values.argsort(stable=True), others.sort().values)
