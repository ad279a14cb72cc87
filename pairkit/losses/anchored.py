"""Losses that compare each completion with an anchor, independently of the other one of its pair.

a, b = log-ratio of the chosen (column 0) and the rejected completion (column 1).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.errors import InputError
from pairkit.losses.spec import Rows, State
from pairkit.losses.types import Logps, LossOutput, Term, log_ratio, output, pair_of, set_mean

REWARDS_SO_FAR = {"mean": 0.0, "count": 0.0}  # of bco: beta x nats, and how many rewards


def kto(
    policy: Logps,
    reference: Logps,
    labels: Tensor | None,
    kl_baseline: Tensor,
    *,
    beta: float,
    desirable_weight: float,
    undesirable_weight: float,
) -> LossOutput:
    """Kahneman-Tversky optimization: each completion is desirable or not, relative to a KL reference point.

    loss = w_D (1 - sigmoid(beta (a - z0)))  of a desirable completion
    loss = w_U (1 - sigmoid(beta (z0 - b)))  of an undesirable one

    A pair is one of each. z0 is the running reference point: the mean log-ratio of completions paired with
    other prompts, at least 0, from the last observed batch; 0 before the first.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2], or [B, 1] with labels; a set of one
            completion may also have a masked second column.
        labels: bool [B], whether column 0 is desirable; by default it is. Column 1 is undesirable.
        kl_baseline: z0 in nats, a scalar.
        beta: weight of the KL term, > 0.
        desirable_weight: w_D, >= 0.
        undesirable_weight: w_U, >= 0.

    Returns:
        One term, a mean over all completions; rewards are beta x log-ratio.

    Raises:
        InputError: more than two completions.

    References:
        Ethayarajh et al. 2024, arXiv 2402.01306, equation 7.

    Differs from:
        TRL and HALOs pair each prompt with its neighbor in the batch, so that z0 depends on the micro-batch;
        here each prompt has a fixed partner. The older "kto_pair" measures z0 on the pairs themselves.
        SimPO's table may have a plus before the undesirable part (not verified), which would be a sign error.
    """
    if policy.sum.shape[1] > 2:
        raise InputError(f"kto takes pairs or single completions, got sets of {policy.sum.shape[1]}")
    ratios = log_ratio(policy, reference)
    baseline = torch.as_tensor(kl_baseline, dtype=ratios.dtype, device=ratios.device).detach()
    desirable = torch.zeros_like(policy.mask)  # [B, 1 or 2]
    desirable[:, 0] = True if labels is None else labels
    distance = beta * (ratios - baseline)  # [B, 1 or 2]
    good = desirable_weight * torch.sigmoid(-distance)
    bad = undesirable_weight * torch.sigmoid(distance)
    each = torch.where(desirable, good, bad).masked_fill(~policy.mask, 0.0)
    # Weighted by completions: a pair has two, a labeled completion is one.
    term = Term(each.sum(dim=1), policy.mask.sum(dim=1).to(each.dtype))
    return output(term, rewards=beta * ratios, metrics={"kl_baseline": baseline})


def observe_kl(state: State, policy: Logps, reference: Logps) -> tuple[State, Rows]:
    """Set kto's reference point: the mean log-ratio of completions of other prompts, at least 0."""
    ratios = log_ratio(policy, reference)[policy.mask]
    if not ratios.numel():
        return state, {}
    # At least 0, as a KL is; its estimate from few completions can be below.
    return {"kl_baseline": ratios.double().mean().clamp(min=0.0)}, {}


def bco(policy: Logps, reference: Logps, statistics: Mapping[str, Tensor], *, beta: float) -> LossOutput:
    """Binary classifier optimization: classifies completions as chosen or rejected by a shifted reward.

    loss = -log sigmoid(beta a - d) - log sigmoid(d - beta b)

    d is the running mean of all rewards beta a and beta b, including this batch; with d = 0 the loss is the
    "biasedNCA" of Noise Contrastive Alignment's code.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        statistics: "mean", d.
        beta: weight of the KL term, > 0; the paper uses 0.01.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio, not shifted.

    References:
        Jung et al. 2024, arXiv 2404.04656.

    Differs from:
        TRL since 0.29 ("bco_pair") omits d; earlier versions count the mean of each step once, however many
        rewards it covers. MC-PO's table 5 has the wrong sign on the second d. The paper's weights of
        undesirable completions are for unpaired data and not part of this loss.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    # A constant, because most of the completions that it is a mean of are of earlier batches.
    shift = statistics["mean"].detach().to(rewards)
    losses = -logsigmoid(chosen - shift) - logsigmoid(shift - rejected)
    return output(set_mean(losses), rewards=rewards, metrics={"reward_shift": shift})


def observe_rewards(state: State, policy: Logps, reference: Logps, *, beta: float) -> tuple[State, Rows]:
    """Update the mean of all rewards so far, each counted once."""
    # Double, because a running mean of millions of rewards changes in digits that float32 lacks.
    rewards = beta * log_ratio(policy, reference)[policy.mask].double().cpu()
    count = state["count"] + rewards.numel()
    # By differences from the mean, because a sum of all rewards so far would only grow.
    change = (rewards - state["mean"]).sum() / count.clamp(min=1.0)
    return {"mean": state["mean"] + change, "count": count}, {}


def apo_zero(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Anchored preference optimization, zero: chosen completion up, rejected one down.

    loss = 1 - sigmoid(beta a) + sigmoid(beta b)

    Use it if chosen completions are better than the model's own. It is KTO on pairs with z0 = 0.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 7.

    Differs from:
        MC-PO's table 5 takes the logarithm of the sigmoids, which is unbounded below.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    return output(set_mean(torch.sigmoid(-chosen) + torch.sigmoid(rejected)), rewards=rewards)


def apo_down(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Anchored preference optimization, down: both completions down, the rejected one further.

    loss = sigmoid(beta a) + 1 - sigmoid(beta (a - b))

    Use it if chosen completions are worse than the model's own.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        D'Oosterlinck et al. 2024, arXiv 2408.06266, equation 8.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    return output(set_mean(torch.sigmoid(chosen) + torch.sigmoid(rejected - chosen)), rewards=rewards)
