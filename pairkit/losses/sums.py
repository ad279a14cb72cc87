"""Named weighted sums of other losses."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pairkit.losses.anchored import bco
from pairkit.losses.likelihood import chosen_nll, sft
from pairkit.losses.logistic import dpo
from pairkit.losses.types import Logps, LossOutput, add, output


def rpo(policy: Logps, reference: Logps, *, beta: float, nll_weight: float, nll_reduction: str) -> LossOutput:
    """Regularized (or iterative reasoning) preference optimization: DPO plus the chosen completion's NLL.

    loss = -log sigmoid(beta D) + w NLL(chosen),  D = log-ratio(chosen) - log-ratio(rejected)

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        nll_weight: w, weight of the chosen completion's negative log-likelihood, >= 0.
        nll_reduction: "token_mean" divides the NLL by the tokens of all chosen completions of the batch,
            "sum" keeps it in nats per completion.

    Returns:
        Two terms, the first a mean over sets, the second over tokens or sets; rewards are beta x log-ratio.

    References:
        Pang et al. 2024, arXiv 2404.19733; Liu et al. 2024, arXiv 2405.16436.

    Differs from:
        Pang divides the NLL by the length of each completion, with weight 1. Liu's weight is 0.005 at beta
        0.01, multiplied by beta (not verified). NVIDIA's reward-aware RPO is a different loss. MC-PO's table
        5 subtracts the reference's NLL, which has the gradient of "sum".
    """
    preference = dpo(policy, reference, beta=beta, label_smoothing=0.0)  # one term, over sets
    nll = chosen_nll(policy, nll_weight, nll_reduction)  # over tokens or sets: a term of its own
    return output(*preference.terms, nll, rewards=preference.rewards)


def mpo(
    policy: Logps,
    reference: Logps,
    statistics: Mapping[str, Tensor],
    *,
    beta: float,
    dpo_weight: float,
    bco_weight: float,
    sft_weight: float,
) -> LossOutput:
    """Mixed preference optimization: DPO for relative, BCO for absolute quality, SFT for generation.

    loss = w_dpo DPO + w_bco BCO + w_sft NLL(chosen)

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        statistics: "mean", BCO's shift.
        beta: weight of the KL term in DPO and BCO, > 0.
        dpo_weight: w_dpo, >= 0.
        bco_weight: w_bco, >= 0.
        sft_weight: w_sft, weight of the token-mean negative log-likelihood, >= 0.

    Returns:
        Three terms, the last a mean over tokens, the others over sets; rewards are beta x log-ratio.

    References:
        Wang et al. 2024, arXiv 2411.10442.
    """
    classifier = bco(policy, reference, statistics, beta=beta)  # with the shift, as the paper has it
    total = add(
        (dpo_weight, dpo(policy, reference, beta=beta, label_smoothing=0.0)),
        (bco_weight, classifier),
        (sft_weight, sft(policy)),
    )
    # `add` keeps the metrics of the first part only, and DPO has none.
    return total._replace(metrics=classifier.metrics)
