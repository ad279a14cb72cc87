"""Losses on a set of K completions and their scores; s = beta x log-ratio throughout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.errors import InputError
from pairkit.losses.listwise import complete, known_scores, ordered_pairs
from pairkit.losses.types import Logps, LossOutput, comparable, log_ratio, output, set_mean


def infonca(
    policy: Logps, reference: Logps, scores: Tensor, *, beta: float, temperature: float
) -> LossOutput:
    """InfoNCA: cross-entropy between the softmax of the scores and that of the policy over the set.

    loss = -sum_i t_i log softmax(s)_i,  t = softmax(r / T),  s = beta x log-ratio

    At the default temperature t is one-hot on the best score, and the loss is DPO with K - 1 rejected
    completions; tied best scores share t. It is also known as DPO-RW.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]; masked columns contribute nothing.
        scores: r, [B, K], higher is better; only differences within a set matter.
        beta: weight of the KL term, > 0.
        temperature: T, in units of the scores, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    Raises:
        InputError: a completion has no score.

    References:
        Chen et al. 2024, arXiv 2402.05369, and the code of thu-ml/Noise-Contrastive-Alignment.

    Differs from:
        The official code adds 0.01 to the first completion's score, to break ties.
    """
    rewards = beta * log_ratio(policy, reference)
    targets = _log_softmax(known_scores("infonca", policy, scores) / temperature, policy.mask).exp()
    values = targets * _log_softmax(rewards, policy.mask)
    return output(set_mean(-values.sum(dim=1)), rewards=rewards)


def nca(
    policy: Logps, reference: Logps, scores: Tensor | None = None, *, beta: float, temperature: float
) -> LossOutput:
    """NCA: pulls completions up in proportion to their scores, and pushes all of them down equally.

    loss = -sum_i t_i log sigmoid(s_i) - 1/K sum_i log sigmoid(-s_i),  t = softmax(r / T)

    s = beta x log-ratio. In a set with a missing score, t is one-hot on column 0: the loss of a pair is then
    -log sigmoid(s_0) - (log sigmoid(-s_0) + log sigmoid(-s_1)) / 2. Unlike DPO it constrains the likelihood
    of each completion, not only their difference.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]; masked columns contribute nothing, and K
            counts unmasked ones.
        scores: r, [B, K], higher is better.
        beta: weight of the KL term, > 0.
        temperature: T, in units of the scores, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Chen et al. 2024, arXiv 2402.05369, and the code of thu-ml/Noise-Contrastive-Alignment.

    Differs from:
        The official code adds 0.01 to the first completion's score, to break ties.
    """
    rewards = beta * log_ratio(policy, reference)
    inner = rewards.masked_fill(~policy.mask, 0.0)
    targets = torch.zeros_like(rewards)  # [B, K]
    targets[:, 0] = 1.0
    if scores is not None:
        soft_targets = _log_softmax(scores.to(rewards.dtype) / temperature, policy.mask).exp()
        # By set: those with a missing score take the one-hot target, the others are not affected.
        targets = torch.where(complete(policy, scores)[:, None], soft_targets, targets)
    push = logsigmoid(-inner) / policy.mask.sum(dim=1, keepdim=True).clamp(min=1)  # [B, K]
    values = (targets * logsigmoid(inner) + push).masked_fill(~policy.mask, 0.0)
    return output(set_mean(-values.sum(dim=1)), rewards=rewards)


def exo_rw(
    policy: Logps, reference: Logps, scores: Tensor, *, beta: float, reward_temperature: float
) -> LossOutput:
    """EXO-rw: reverse KL divergence from the policy's softmax over the set to that of the scores.

    loss = sum_i q_i (log q_i - log t_i),  q = softmax(s),  t = softmax(r / T),  s = beta x log-ratio

    It is zero at q = t, a finite target for every difference of log-ratios: (r_i - r_j) / (beta T).
    Gradient flows through both occurrences of q.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]; masked columns contribute nothing.
        scores: r, [B, K], higher is better; only differences within a set matter.
        beta: weight of the KL term, > 0.
        reward_temperature: T, in units of the scores, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    Raises:
        InputError: a completion has no score.

    References:
        Ji et al. 2024, arXiv 2402.00856.
    """
    rewards = beta * log_ratio(policy, reference)
    log_t = _log_softmax(known_scores("exo_rw", policy, scores) / reward_temperature, policy.mask)  # [B, K]
    log_q = _log_softmax(rewards, policy.mask)  # [B, K]
    return output(set_mean((log_q.exp() * (log_q - log_t)).sum(dim=1)), rewards=rewards)


def lipo(policy: Logps, reference: Logps, scores: Tensor, *, beta: float) -> LossOutput:
    """LiPO-lambda: the logistic loss of every pair, weighted by the effect of swapping the two.

    loss = sum over r_i > r_j of |2^r_i - 2^r_j| |1/log(1+k_i) - 1/log(1+k_j)| softplus(s_j - s_i)

    s = beta x log-ratio, and k is the place of a completion, 1 = first, by the current policy's s, without
    gradient; log-ratios equal to a thousandth of a nat are placed in column order. Weights grow as 2^score:
    the paper's scores are in [0, 1], where no weight exceeds 1.5. With a score of 20 a weight is a million,
    and the best completions of a few sets dominate the loss: rescale scores to [0, 1] first. The paper's beta
    and K are not verified.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]; masked columns contribute nothing.
        scores: r, [B, K], higher is better; ties form no pair.
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets, of sums over pairs; rewards are beta x log-ratio.

    Raises:
        InputError: a completion has no score, or 2^score overflows.

    References:
        Liu et al. 2024, arXiv 2402.01878.

    Differs from:
        Third-party code divides by the number of pairs; the paper's objective is the sum.
    """
    ratios = log_ratio(policy, reference)
    rewards = beta * ratios
    values = known_scores("lipo", policy, scores)
    gain = torch.exp2(values)  # [B, K]
    if not torch.isfinite(gain).all():
        raise InputError(
            f"lipo weights a score r by 2^r, which overflows at {values.max():g}: rescale scores to [0, 1]"
        )
    inner = rewards.masked_fill(~policy.mask, 0.0)
    place = _place(comparable(ratios).masked_fill(~policy.mask, -torch.inf))  # masked ones last
    weight = _gaps(gain) * _gaps(1.0 / torch.log1p(place))  # [B, K, K], no gradient
    losses = -weight * logsigmoid(inner[:, :, None] - inner[:, None, :])
    pairs = ordered_pairs(values, policy.mask)
    return output(set_mean(losses.masked_fill(~pairs, 0.0).sum(dim=(1, 2))), rewards=rewards)


def _log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """Compute log softmax over unmasked columns, [B, K]; masked ones are 0 and get no gradient."""
    present = logits.masked_fill(~mask, -torch.inf)
    # 0 afterwards, because -inf times a target of 0 is NaN.
    return torch.log_softmax(present, dim=1).masked_fill(~mask, 0.0)


def _place(values: Tensor) -> Tensor:
    """Compute places in a row, [B, K]: 1 for the largest value, 2 for the next."""
    # Stable, so that equal values have places in the order of columns on every device.
    order = values.argsort(dim=1, descending=True, stable=True)
    return 1.0 + order.argsort(dim=1).to(values.dtype)


def _gaps(values: Tensor) -> Tensor:
    """Compute |v_i - v_j|, [B, K, K]."""
    return (values[:, :, None] - values[:, None, :]).abs()
