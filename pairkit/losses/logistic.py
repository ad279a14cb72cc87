"""Losses on DPO's logit beta D: column 0 is the chosen completion, column 1 the rejected one.

D = log-ratio(chosen) - log-ratio(rejected), log-ratio = log p of the policy minus that of the reference.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses.types import Logps, LossOutput, log_ratio, output, pair_of, set_mean

LARGEST_EXPONENT = 80.0  # because exp of it, times a scale, is still finite in float32


def dpo(
    policy: Logps,
    reference: Logps,
    *,
    beta: float,
    label_smoothing: float,
) -> LossOutput:
    """Direct preference optimization; with label smoothing its conservative form, cDPO.

    loss = -(1 - e) log sigmoid(beta D) - e log sigmoid(-beta D),  D = log-ratio(chosen) - log-ratio(rejected)

    With e > 0 the minimum is at beta D = log((1 - e) / e); with e = 0 the loss decreases without end.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        label_smoothing: e, the assumed share of wrongly labeled pairs, in [0, 0.5).

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


def robust_dpo(policy: Logps, reference: Logps, *, beta: float, label_smoothing: float) -> LossOutput:
    """Robust DPO: an unbiased estimate of the DPO loss on correct labels when some pairs are swapped.

    loss = [-(1 - e) log sigmoid(beta D) + e log sigmoid(-beta D)] / (1 - 2e)

    If labels are swapped at random with probability e, its mean equals that of DPO on labels without noise.
    It is unbounded below, as -e beta D / (1 - 2e): negative values are normal.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        label_smoothing: e, the probability that a pair is swapped, in [0, 0.5); 0 is DPO.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Chowdhury, Kini and Natarajan 2024, arXiv 2403.00409.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    logits, e = chosen - rejected, label_smoothing  # [B]
    # logsigmoid and not log of sigmoid, which is -inf where a pair is far in the wrong order.
    losses = (e * logsigmoid(-logits) - (1.0 - e) * logsigmoid(logits)) / (1.0 - 2.0 * e)
    return output(set_mean(losses), rewards=rewards)


def hinge(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """The hinge loss of RSO: a pair has no gradient once its margin beta D exceeds 1.

    loss = max(0, 1 - beta D)

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: scale of the log-ratios, > 0 (gamma in the paper); the margin is 1/beta nats.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Liu et al. 2023, arXiv 2309.06657; TRL's loss_type "hinge".

    Differs from:
        SLiC-HF's hinge has no reference and adds the NLL of the chosen completion: `slic_hf`.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    return output(set_mean(torch.relu(1.0 - (chosen - rejected))), rewards=rewards)


def ropo(policy: Logps, reference: Logps, *, beta: float, alpha: float) -> LossOutput:
    """ROPO's noise-tolerant loss: a bounded sigmoid added to the logistic loss.

    loss = -4 k / (1 + k)^2 log sigmoid(beta D) + 4 k^2 / (1 + k)^2 sigmoid(-beta D),  k = alpha

    The sigmoid's gradient vanishes for pairs that the policy clearly ranks the other way, whose labels are
    probably wrong. The full method also drops the pairs with the highest loss; this loss does not.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        alpha: k, weight of the sigmoid against the logistic loss, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Liang et al. 2024, arXiv 2404.04102, version 2, equation 9.

    Differs from:
        Version 1 and other implementations use alpha sigmoid(-beta D) - gamma log sigmoid(beta D) with
        alpha 2, gamma 0.1. alpha 14 is from two independent implementations, not verified in the paper.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    logits = chosen - rejected
    scale = 4.0 * alpha / (1.0 + alpha) ** 2  # 1 at alpha = 1, where both parts weigh alike
    return output(set_mean(scale * (alpha * torch.sigmoid(-logits) - logsigmoid(logits))), rewards=rewards)


def discopop(policy: Logps, reference: Logps, *, beta: float, temperature: float) -> LossOutput:
    """DiscoPOP: a blend of logistic and exponential loss discovered by a language model (LRML).

    loss = (1 - k) (-log sigmoid(r)) + k exp(-r),  r = beta D,  k = sigmoid(r / temperature)

    Gradient flows through k. At temperature 0.05 the loss is not monotone: it has a local minimum of 0.786
    at r = -0.119 and a local maximum of 0.878 at r = 0.072, so a pair that starts below may stay there.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        temperature: width of the transition to the exponential loss at r = 0, > 0 (tau in the paper).

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Lu et al. 2024, arXiv 2406.08414, equation 5.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    logits = chosen - rejected
    # k exp(-r) is one exponential, because exp(-r) alone overflows where k is 0.
    exponent = logsigmoid(logits / temperature) - logits  # [B], of k exp(-r)
    # Beyond the clamp a pair is as wrong as float32 can tell, and this part has no gradient.
    exponential = torch.exp(exponent.clamp(max=LARGEST_EXPONENT))
    losses = exponential - torch.sigmoid(-logits / temperature) * logsigmoid(logits)
    return output(set_mean(losses), rewards=rewards)


def smoothed_logistic(logits: Tensor, smoothing: float) -> Tensor:
    """Compute -(1 - e) log sigmoid(x) - e log sigmoid(-x), elementwise."""
    if smoothing == 0.0:  # 0 times an infinite logit would be NaN
        return -logsigmoid(logits)
    return -(1.0 - smoothing) * logsigmoid(logits) - smoothing * logsigmoid(-logits)
