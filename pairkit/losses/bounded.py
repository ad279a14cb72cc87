"""Losses on a pair with a finite optimum: they pull back a margin that exceeds it.

a, b = log-ratio of the chosen (column 0) and the rejected completion (column 1), D = a - b.
"""

from __future__ import annotations

from math import exp, log

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses.types import Logps, LossOutput, log_ratio, mean_log_ratio, output, pair_of, set_mean

LOWEST_ARGUMENT = -60.0  # because z exp(-z), and its tangent below, are finite in float32 from here on


def ipo(policy: Logps, reference: Logps, *, beta: float, reduction: str) -> LossOutput:
    """Identity preference optimization: a squared distance to the margin 1 / (2 beta).

    loss = (h - 1 / (2 beta))^2,  h = a / |chosen| - b / |rejected|, or h = a - b with reduction "sum"

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: the optimum is h = 1 / (2 beta), > 0 (tau in the paper).
        reduction: "mean" divides each log-ratio by the length of its completion, "sum" keeps it in nats per
            completion.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio, summed over tokens with either reduction.

    References:
        Azar et al. 2023, arXiv 2310.12036, equation 17. The values of beta that SimPO searched are not
        verified.

    Differs from:
        The paper's text uses the sum. Its authors told TRL that the published results use the mean, as TRL
        and HALOs do; eric-mitchell's code and OpenRLHF use the sum. SPO's paper compares with the sum, at
        half of SPO's beta, where both have the same best margin.
    """
    ratios = log_ratio(policy, reference)
    # [B] each: nats per token, or nats with "sum".
    chosen, rejected = pair_of(mean_log_ratio(policy, reference) if reduction == "mean" else ratios)
    height = chosen - rejected
    return output(set_mean((height - 0.5 / beta) ** 2), rewards=beta * ratios, contrast=height)


def sppo(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Self-play preference optimization, hard form: a target log-ratio each for chosen and rejected.

    loss = (a - 1 / (2 beta))^2 + (b + 1 / (2 beta))^2

    The minimum is at a = 1 / (2 beta), b = -a: +-500 nats at the default beta. There the loss of a new run
    is 500,000, and its gradient grows as 1 / beta. The paper uses RMSprop with learning rate 5e-7.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: the optimum is at +-1 / (2 beta) nats, > 0 (1 / eta in the paper).

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Wu et al. 2024, arXiv 2405.00675, equation 4.7 with winning probabilities 1 and 0.

    Differs from:
        The official code uses half of this, with probabilities estimated from scores in place of 1 and 0.
        TRL ("sppo_hard") uses this form, with default beta 0.1; MC-PO's table 5 has 0.5 beta for 0.5 / beta.
    """
    ratios = log_ratio(policy, reference)
    chosen, rejected = pair_of(ratios)
    target = 0.5 / beta  # nats
    return output(set_mean((chosen - target) ** 2 + (rejected + target) ** 2), rewards=beta * ratios)


def exo(policy: Logps, reference: Logps, *, beta: float, label_smoothing: float) -> LossOutput:
    """Efficient exact optimization on a pair (EXO-pref): the reverse KL from the policy to the labels.

    loss = q (log q - log(1 - e)) + (1 - q) (log(1 - q) - log e),  q = sigmoid(beta D)

    It is KL(q || 1 - e). The minimum, 0, is at beta D = log((1 - e) / e), which is 6.9 at the default. A
    pair that is ranked clearly wrong has almost no gradient, because q is flat there.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        label_smoothing: e, the probability that the labels give to the rejected completion, in (0, 0.5).

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Ji et al. 2024, arXiv 2402.00856, equation 16.

    Differs from:
        The official code uses unnormalized targets exp(0) and exp(-10) and ignores its smoothing setting.
        MC-PO's table 5 has a formula without e, which is unbounded below.
    """
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    logits = chosen - rejected  # [B]
    # sigmoid times logsigmoid goes to 0 at both ends, where q log q of a rounded q would be NaN.
    right = torch.sigmoid(logits) * (logsigmoid(logits) - log(1.0 - label_smoothing))
    wrong = torch.sigmoid(-logits) * (logsigmoid(-logits) - log(label_smoothing))
    return output(set_mean(right + wrong), rewards=rewards)


def spo(policy: Logps, reference: Logps, *, beta: float, alpha: float, z_clip: float | None) -> LossOutput:
    """Stable preference optimization (SPO): a finite margin for the pair, a finite drop of the rejected one.

    loss = f(beta D) + f(-alpha b),  f(z) = -z exp(-z)

    f has its minimum -1/e at z = 1. For the sum this is b = -1/alpha, a = 1/beta - 1/alpha, loss -2/e. Beyond
    z = 2 the gradient decays; below 0 the loss grows as |z| exp(|z|), f(-5) = 742, so a single pair in the
    wrong order can dominate a batch: `z_clip` bounds the gradient. With the default beta and alpha, which are
    equal, a = 0: the chosen completion stays where it was. It is unrelated to `stapo`.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        beta: the optimal D is 1 / beta nats, > 0.
        alpha: the optimal b is -1 / alpha nats, >= 0; 0 drops the second term.
        z_clip: value of z, at most 0, below which f continues as its tangent; below -60, the limit of
            float32, it always does.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        "Stable Preference Optimization: Learning Preference Is More Important than Imitation", equations 6
        and 11. Its alpha and beta are not published.

    Differs from:
        The paper calls z = 1 a maximum and f convex, says that it solves exploding gradients, and omits the
        minus sign of the optimal b; the formula is the paper's. Its DPO baseline has `label_smoothing` 0.1,
        and so a best margin of its own, beta D = log 9.
    """
    ratios = log_ratio(policy, reference)
    chosen, rejected = pair_of(ratios)
    # A lower z_clip is not used, because f would soon be infinite in float32.
    lowest = LOWEST_ARGUMENT if z_clip is None else max(z_clip, LOWEST_ARGUMENT)
    losses = _well(beta * (chosen - rejected), lowest) + _well(-alpha * rejected, lowest)
    return output(set_mean(losses), rewards=beta * ratios)


def stapo(
    policy: Logps,
    reference: Logps | None,
    *,
    beta: float,
    left_margin: float,
    right_margin: float,
    logit: str,
) -> LossOutput:
    """StaPO: a two-sided contrast that keeps the logit of a pair between two margins.

    loss = -log sigmoid(beta (Z - left)) - log sigmoid(beta (right - Z))
    Z = m_chosen - m_rejected, of mean log-probs ("simpo"), or Z = a - b, of log-ratios ("dpo")

    The minimum is at Z = (left + right) / 2. With equal margins it is twice a logistic loss with labels of
    one half; with a very large right margin it is SimPO.

    Args:
        policy: sums over completion tokens, nats, [B, 2].
        reference: the same, with logit "dpo" only.
        beta: scale of Z and the margins, > 0.
        left_margin: the lower margin, in units of Z; with logit "simpo" it is gamma / beta.
        right_margin: the upper margin, at least the left one.
        logit: "simpo" needs no reference and is in nats per token; "dpo" is in nats per completion, for
            which the paper gives no margins.

    Returns:
        One term, a mean over sets; rewards are beta x mean log-prob, with logit "dpo" beta x log-ratio.

    References:
        "Stable Preference Optimization via Two-Sided Contrastive Learning", equation 7. The paper's margins
        are 0.6 and 0.8; its beta is not published.

    Differs from:
        The paper's equation 4 lacks beta before m, equation 8 lacks the 1/|y| of SimPO's logit, and table 1
        has the reference in the margin; here it is in Z.
    """
    rewards = beta * (policy.mean if reference is None or logit == "simpo" else log_ratio(policy, reference))
    chosen, rejected = pair_of(rewards)
    logits = chosen - rejected
    losses = -logsigmoid(logits - beta * left_margin) - logsigmoid(beta * right_margin - logits)
    return output(set_mean(losses), rewards=rewards)


def _well(z: Tensor, lowest: float) -> Tensor:
    """Compute -z exp(-z), elementwise, continued below `lowest` by its tangent."""
    clamped_z = z.clamp(min=lowest)  # no gradient below, where the tangent takes over
    slope = (lowest - 1.0) * exp(-lowest)  # of f at `lowest`
    # relu, because its gradient at 0 is 0 where clamp has 1: the slope then counts once.
    return -clamped_z * torch.exp(-clamped_z) - slope * torch.relu(lowest - z)
