"""DPO's logistic loss with a margin other than the difference of summed log-ratios.

a, b = log-ratio of the chosen (column 0) and the rejected completion (column 1), D = a - b.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses.logistic import LARGEST_EXPONENT
from pairkit.losses.types import (
    Logps,
    LossOutput,
    log_ratio,
    mean_log_ratio,
    output,
    pair_of,
    positive_part,
    set_mean,
)


def r_dpo(
    policy: Logps, reference: Logps, *, beta: float, length_weight: float, length_inside_beta: bool
) -> LossOutput:
    """Length-regularized DPO: the longer the chosen completion, the smaller the required margin.

    loss = -log sigmoid(beta D + w (|chosen| - |rejected|))

    It follows from maximizing reward - w x length - beta KL: a pair whose chosen completion is longer gets a
    smaller gradient, because it may have been chosen for its length alone.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        length_weight: w, reward that one token costs, >= 0 (alpha in the paper); 0 is DPO.
        length_inside_beta: whether beta multiplies the length term too, as in StaPO's table 1.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Park et al. 2024, arXiv 2403.19159; with the length inside beta restated as equation 6 and table 1 of
        StaPO's paper ("Stable Preference Optimization via Two-Sided Contrastive Learning"). The paper itself
        was not available: the formula is from its derivation and from three papers that quote it. The ranges
        that SimPO searched are not verified.

    Differs from:
        alpha-DPO's code ("rDPO") has a minus sign, and uses the number of rows in place of the lengths,
        which makes it plain DPO.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    longer = (policy.length[:, 0] - policy.length[:, 1]).to(rewards.dtype)  # [B], tokens
    weight = beta * length_weight if length_inside_beta else length_weight  # reward per token
    return output(set_mean(-logsigmoid(chosen - rejected + weight * longer)), rewards=rewards)


def dpop(policy: Logps, reference: Logps, *, beta: float, penalty_weight: float) -> LossOutput:
    """DPO-positive (Smaug): a penalty if the chosen completion is less likely than under the reference.

    loss = -log sigmoid(beta (D - w max(0, -a))),  a = log-ratio(chosen)

    At a = 0, where every run starts, there is no penalty, so that the first step is DPO's. Log-ratios down to
    -0.0005 nats count as 0, because the sign of a rounding error decides nothing.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        penalty_weight: w, weight of the penalty inside the sigmoid, >= 0 (lambda in the paper); 0 is DPO.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Pal et al. 2024, arXiv 2402.13228; equation 5 of the MinorDPO paper. The paper's beta, 0.3, is not
        verified.
    """
    ratios = log_ratio(policy, reference)
    chosen, rejected = pair_of(ratios)
    margin = chosen - rejected - penalty_weight * positive_part(-chosen)  # [B], nats
    return output(set_mean(-logsigmoid(beta * margin)), rewards=beta * ratios, contrast=margin)


def minor_dpo(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """MinorDPO: pushes the rejected completion down to the reference's log-prob and no further.

    loss = -log sigmoid(beta (a - max(0, b))),  a, b = log-ratio of chosen and rejected

    A rejected completion at or below the reference (b <= 0) has no gradient, as in the paper's section 3.4.
    So the first step, where b = 0, only raises the chosen completion. Log-ratios up to 0.0005 nats count as
    0, because the sign of a rounding error decides nothing.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0; the paper tries 0.02 to 0.2.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Xie et al. 2024, "Minor DPO reject penalty to increase training robustness", equation 6
        and section 3.4.
    """
    ratios = log_ratio(policy, reference)
    chosen, rejected = pair_of(ratios)
    margin = chosen - positive_part(rejected)  # [B], nats
    return output(set_mean(-logsigmoid(beta * margin)), rewards=beta * ratios, contrast=margin)


def dpo_norm(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Length-normalized DPO (Tulu 3): log-ratios are means over tokens.

    loss = -log sigmoid(beta (a / |chosen| - b / |rejected|)),  a, b = log-ratio of chosen and rejected

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2]; divided by `length` here.
        beta: scale of the mean log-ratios, > 0; about the length of a completion times DPO's.

    Returns:
        One term, a mean over sets; rewards are beta x mean log-ratio, the unit of its logit.

    References:
        Lambert et al. 2024, arXiv 2411.15124; the default of open-instruct, TRL's loss_type "sigmoid_norm".
    """
    rewards = beta * mean_log_ratio(policy, reference)  # [B, 2]
    chosen, rejected = pair_of(rewards)
    return output(set_mean(-logsigmoid(chosen - rejected)), rewards=rewards)


def f_dpo(policy: Logps, reference: Logps, *, beta: float, divergence: str, alpha: float) -> LossOutput:
    """f-DPO: DPO with a divergence other than the reverse KL between policy and reference.

    loss = -log sigmoid(beta (u(a) - u(b))),  a, b = log-ratio of chosen and rejected
    reverse_kl  u(x) = x
    forward_kl  u(x) = -exp(-x)
    js          u(x) = log sigmoid(x)
    alpha       u(x) = exp((A - 1) x) / (A - 1)

    u is the derivative of f at the ratio exp(x), up to a constant that cancels in the difference. Exponents
    are clamped at 80, beyond which a completion has no gradient.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the divergence, > 0.
        divergence: "reverse_kl" (DPO), "forward_kl", "js" or "alpha".
        alpha: A, in [0, 1), used with divergence "alpha" only; 0 is the forward KL, the limit 1 is DPO.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Wang et al. 2023, arXiv 2309.16240.

    Differs from:
        TRL before 0.29 takes c = 1 - A, with default 1, the forward KL.
    """
    ratios = log_ratio(policy, reference)
    chosen, rejected = pair_of(_derivative(ratios, divergence, alpha))  # [B] each
    contrast = chosen - rejected
    return output(set_mean(-logsigmoid(beta * contrast)), rewards=beta * ratios, contrast=contrast)


def _derivative(ratios: Tensor, divergence: str, alpha: float) -> Tensor:
    """Compute u(x) of `f_dpo`, elementwise, up to a constant."""
    if divergence == "reverse_kl":
        return ratios
    if divergence == "js":
        return logsigmoid(ratios)
    power = -1.0 if divergence == "forward_kl" else alpha - 1.0  # alpha 0 is the forward KL
    # exp(px) - 1 in place of exp(px), because near p = 0 it tends to px, where exp(px) / p loses all digits.
    return torch.expm1((power * ratios).clamp(max=LARGEST_EXPONENT)) / power
