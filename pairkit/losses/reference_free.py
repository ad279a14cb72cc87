"""Losses on a pair without a reference model: column 0 is the chosen completion, column 1 the rejected one.

m is a completion's mean log-prob, `Logps.mean`.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses.likelihood import chosen_nll
from pairkit.losses.logistic import LARGEST_EXPONENT, smoothed_logistic
from pairkit.losses.types import Logps, LossOutput, output, pair_of, set_mean


def simpo(
    policy: Logps,
    *,
    beta: float,
    gamma_beta_ratio: float,
    gamma: float | None,
    label_smoothing: float,
    length_normalized: bool,
) -> LossOutput:
    """Simple preference optimization: mean log-probs with a target margin, without a reference.

    loss = -(1 - e) log sigmoid(z) - e log sigmoid(-z),  z = beta (m_chosen - m_rejected) - gamma

    Args:
        policy: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).
        beta: scale of the mean log-probs, > 0.
        gamma_beta_ratio: gamma / beta, the margin in nats per token, or per completion with sums.
        gamma: the margin itself, in place of the ratio.
        label_smoothing: e, the assumed share of wrongly labeled pairs, in [0, 0.5).
        length_normalized: whether m is a mean over tokens; otherwise a sum, as in table 5 of alpha-DPO's
            paper, which needs another beta and gamma.

    Returns:
        One term, a mean over sets; rewards are beta x m.

    References:
        Meng, Xia and Chen 2024, arXiv 2405.14734, equation 6.

    Differs from:
        TRL's CPOTrainer(loss_type="simpo") adds `cpo_alpha` x NLL unless `cpo_alpha` is 0. In equation 5 of
        StaPO's paper beta does not multiply the margin; in its equation 6 it does.
    """
    rewards = beta * (policy.mean if length_normalized else policy.sum)
    chosen, rejected = pair_of(rewards)
    margin = beta * gamma_beta_ratio if gamma is None else gamma  # in units of the rewards
    return output(set_mean(smoothed_logistic(chosen - rejected - margin, label_smoothing)), rewards=rewards)


def cpo(policy: Logps, *, beta: float, nll_weight: float, nll_reduction: str) -> LossOutput:
    """Contrastive preference optimization: DPO with a uniform reference, and the chosen completion's NLL.

    loss = -log sigmoid(beta (log p(chosen) - log p(rejected))) + w NLL(chosen)

    The first term compares sums, so it favors the shorter completion if both are equally likely per token.

    Args:
        policy: sums over completion tokens, nats, [B, 2].
        beta: scale of the log-probs, > 0.
        nll_weight: w, weight of the chosen completion's negative log-likelihood, >= 0.
        nll_reduction: "token_mean" divides the NLL by the tokens of all chosen completions of the batch,
            "sum" keeps it in nats per completion.

    Returns:
        Two terms, the first a mean over sets, the second over tokens or sets; rewards are beta x mean
        log-prob.

    References:
        Xu et al. 2024, arXiv 2401.08417; its first term is restated as equation 6 and table 1 of StaPO's
        paper ("Stable Preference Optimization via Two-Sided Contrastive Learning").

    Differs from:
        The paper's NLL is that of the whole completion ("sum"); its code, and TRL, take the token mean.
    """
    chosen, rejected = pair_of(policy.sum)
    return output(
        set_mean(-logsigmoid(beta * (chosen - rejected))),
        chosen_nll(policy, nll_weight, nll_reduction),
        rewards=beta * policy.mean,
        contrast=chosen - rejected,
    )


def cpo_simpo(policy: Logps, *, beta: float, gamma: float, nll_weight: float) -> LossOutput:
    """CPO-SimPO: SimPO plus the token-mean NLL of the chosen completion.

    loss = -log sigmoid(beta (m_chosen - m_rejected) - gamma) + w NLL(chosen)

    Args:
        policy: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).
        beta: scale of the mean log-probs, > 0.
        gamma: the margin, in units of beta x mean log-prob.
        nll_weight: w, weight of the chosen completion's token-mean negative log-likelihood, >= 0.

    Returns:
        Two terms, the first a mean over sets, the second over tokens; rewards are beta x mean log-prob.

    References:
        The code of fe1ixxu/CPO_SIMPO, which defines the formula; its terms are those of Xu et al. 2024, arXiv
        2401.08417, and of Meng et al. 2024, arXiv 2405.14734, equation 6.

    Differs from:
        MC-PO's table 5 calls a loss of this kind CPO; there beta also multiplies the NLL.
    """
    rewards = beta * policy.mean
    chosen, rejected = pair_of(rewards)
    return output(
        set_mean(-logsigmoid(chosen - rejected - gamma)),
        chosen_nll(policy, nll_weight),
        rewards=rewards,
    )


def slic_hf(policy: Logps, *, delta: float, nll_weight: float) -> LossOutput:
    """SLiC-HF: a hinge on the difference of log-probs, plus the NLL of the chosen completion.

    loss = max(0, delta - log p(chosen) + log p(rejected)) - w log p(chosen)

    Args:
        policy: sums over completion tokens, nats, [B, 2].
        delta: the margin, nats per completion, >= 0.
        nll_weight: w, weight of the summed negative log-likelihood, >= 0.

    Returns:
        One term, a mean over sets; rewards are mean log-probs.

    References:
        Zhao et al. 2023, arXiv 2305.10425, in the form used in SimPO's comparison.

    Differs from:
        HALOs adds the unsummed log-probs of the tokens to the hinge, which broadcasts wrongly.
        The search ranges that SimPO gives for delta and w are not verified.
    """
    chosen, rejected = pair_of(policy.sum)
    hinge = torch.relu(delta - chosen + rejected)  # [B], nats
    return output(set_mean(hinge - nll_weight * chosen), rewards=policy.mean, contrast=chosen - rejected)


def orpo(policy: Logps, *, odds_weight: float) -> LossOutput:
    """Odds-ratio preference optimization: the NLL of the chosen completion plus the log odds ratio.

    loss = -m_chosen - w log sigmoid(log odds(chosen) - log odds(rejected)),  log odds = m - log(1 - exp m)

    Args:
        policy: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).
        odds_weight: w, weight of the log odds ratio, >= 0 (lambda in the paper).

    Returns:
        One term, a mean over sets; rewards are mean log-probs.

    References:
        Hong, Lee and Thorne 2024, arXiv 2403.07691, equations 4 to 7.

    Differs from:
        The official code and TRL count the prompt's tokens in the NLL by default; here only the
        completion's tokens count, as in SimPO's comparison.
    """
    mean = policy.mean
    chosen, rejected = pair_of(mean - _log1mexp(mean))  # [B] each, log odds
    contrast = chosen - rejected  # the log odds ratio
    losses = -mean[:, 0] - odds_weight * logsigmoid(contrast)
    return output(set_mean(losses), rewards=mean, contrast=contrast)


def simper(policy: Logps) -> LossOutput:
    """SimPER: raises the inverse perplexity of the chosen completion, lowers that of the rejected one.

    loss = -exp(m_chosen) + exp(m_rejected)

    It has no hyper-parameters and lies in (-1, 1). The gradient of a pair vanishes if both completions are
    unlikely.

    Args:
        policy: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).

    Returns:
        One term, a mean over sets; rewards are mean log-probs.

    References:
        Xiao et al. 2025, arXiv 2502.00883, and the code of tengxiao1/SimPER.
    """
    chosen, rejected = pair_of(torch.exp(policy.mean))  # [B] each, inverse perplexities
    return output(set_mean(rejected - chosen), rewards=policy.mean, contrast=chosen - rejected)


def alphapo(policy: Logps, *, alpha: float, beta: float, gamma: float) -> LossOutput:
    """AlphaPO: SimPO with a power function in place of the logarithm in the reward.

    loss = -log sigmoid(beta (r_chosen - r_rejected) - gamma),  r = (1 - exp(-alpha m)) / alpha

    alpha 0 is SimPO. With alpha > 0 unlikely completions have more weight, with alpha < 0 likely ones. The
    exponent is clamped at 80, beyond which a completion has no gradient. It is unrelated to alpha-DPO.

    Args:
        policy: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).
        alpha: shape of the reward.
        beta: scale of the reward, > 0.
        gamma: the margin, in units of beta x reward.

    Returns:
        One term, a mean over sets; rewards are beta x mean log-prob.

    References:
        Gupta et al. 2025, arXiv 2501.03884; TRL's CPOTrainer(loss_type="alphapo").
    """
    chosen, rejected = pair_of(_power(policy.mean, alpha))  # [B] each
    contrast = chosen - rejected
    losses = -logsigmoid(beta * contrast - gamma)
    return output(set_mean(losses), rewards=beta * policy.mean, contrast=contrast)


def _power(mean: Tensor, alpha: float) -> Tensor:
    """Compute (1 - p^-alpha) / alpha of p = exp(mean), elementwise, and its limit `mean` at alpha 0."""
    if alpha == 0.0:
        return mean
    # expm1 and not exp - 1, which loses all digits where alpha is near 0.
    return -torch.expm1((-alpha * mean).clamp(max=LARGEST_EXPONENT)) / alpha


def _log1mexp(values: Tensor) -> Tensor:
    """Compute log(1 - exp(x)), x <= -1e-6 (clamped), accurate in float32 at both ends (Maechler 2012)."""
    values = values.clamp(max=-1e-6)  # a completion of probability 1 would have infinite odds
    near = values > -log(2.0)  # where 1 - exp(x) would cancel
    # Each branch gets only its own arguments, because a NaN gradient of the other would spread through where.
    small = torch.log(-torch.expm1(torch.where(near, values, -1.0)))
    large = torch.log1p(-torch.exp(torch.where(near, -1.0, values)))
    return torch.where(near, small, large)
