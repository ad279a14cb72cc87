"""Losses that compare sorted values of a batch instead of pairs: alignment by optimal transport (AOT).

The match of a row depends on the whole global batch, so `observe` computes it. It gets no gradient, because
a sort's permutation has none.
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
    """AOT for paired data: each of the policy's differences against the reference's of the same rank.

    loss = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d),  d = x_(p) - y_(p)

    x_(p) is the p-th smallest of log p(chosen) - log p(rejected) under the policy, y_(p) under the reference,
    of the global batch. In a batch of one pair it is DPO. The loss of a set depends on the other sets of its
    batch, so per-pair weights have little meaning.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        statistics: per row "partner", the reference's difference at the rank of the row.
        beta: weight of the KL term, > 0.
        label_smoothing: e, the assumed share of wrongly labeled pairs, in [0, 0.5).

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Melnyk et al. 2024, arXiv 2406.05882.

    Differs from:
        TRL sorts each process's micro-batch separately. Up to 0.27 it names the unpaired form `aot_pair`.
    """
    chosen, rejected = pair_of(policy.sum)  # [B] each, nats
    logits = beta * (chosen - rejected - statistics["partner"])
    return output(
        set_mean(smoothed_logistic(logits, label_smoothing)), rewards=beta * log_ratio(policy, reference)
    )


def observe_aot(state: State, policy: Logps, reference: Logps) -> tuple[State, Rows]:
    """Compute the partner of each row."""
    # [B] each, of the whole global batch: a rank within a micro-batch would mean something else.
    own, other = ((chosen - rejected) for chosen, rejected in map(pair_of, (policy.sum, reference.sum)))
    return state, {"partner": _matched(own, other)}


def aot_unpaired(
    policy: Logps, reference: Logps, statistics: dict[str, Tensor], *, beta: float, label_smoothing: float
) -> LossOutput:
    """AOT for unpaired data: log-ratios of chosen completions against rejected ones of the same rank.

    loss = -(1 - e) log sigmoid(beta d) - e log sigmoid(-beta d),  d = a_(p) - b_(p)

    a_(p) is the p-th smallest log-ratio of the chosen completions of the global batch, b_(p) of the rejected
    ones. The two usually belong to different rows. A row gets half the loss of its chosen completion's match
    and half that of its rejected one's; its gradient is that of its own two completions. Summed over the
    batch, both value and gradient are exact.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        statistics: per row "rejected_partner", the b at the rank of its a, and "chosen_partner", the a at
            the rank of its b.
        beta: weight of the KL term, > 0.
        label_smoothing: e, the assumed share of wrongly labeled pairs, in [0, 0.5).

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Melnyk et al. 2024, arXiv 2406.05882.

    Differs from:
        TRL sorts the micro-batch of each process separately, and calls this form `aot_pair` up to 0.27.
    """
    ratios = log_ratio(policy, reference)  # [B, 2], nats
    chosen, rejected = pair_of(ratios)
    values = smoothed_logistic(beta * (chosen - statistics["rejected_partner"]), label_smoothing)
    values = values + smoothed_logistic(beta * (statistics["chosen_partner"] - rejected), label_smoothing)
    # Halve the value but not the gradient, because two rows count each match, each with one completion of it.
    return output(set_mean(values - values.detach() / 2), rewards=beta * ratios)


def observe_aot_unpaired(state: State, policy: Logps, reference: Logps) -> tuple[State, Rows]:
    """Compute the partners of each row."""
    chosen, rejected = pair_of(log_ratio(policy, reference))
    return state, {
        "rejected_partner": _matched(chosen, rejected),
        "chosen_partner": _matched(rejected, chosen),
    }


def _matched(values: Tensor, others: Tensor) -> Tensor:
    """Return, for each of `values`, the one of `others` with the same rank, [B]."""
    # Stable, so that ties are matched in the order of the batch on every device.
    return torch.empty_like(others).scatter(0, values.argsort(stable=True), others.sort().values)
