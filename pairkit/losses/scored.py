"""Losses on a set of K completions and their scores. s = beta x log-ratio throughout."""

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
    """InfoNCA: the cross-entropy of the policy's softmax over the set against that of the scores.

    loss = -sum_i t_i log softmax(s)_i,  t = softmax(r / T),  s = beta x log-ratio

    The default temperature makes t one-hot on the best score, and the loss DPO with K - 1 rejected
    completions; equal best scores share t. It is also known as DPO-RW.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]; masked columns contribute nothing.
        scores: r, [B, K], higher is better; only differences within a set matter.
        beta: weight of the KL term, > 0.
        temperature: T, in units of the scores, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    Raises:
        InputError: a completion without a score.

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
    """NCA: pulls up the completions by the weight of their scores, and pushes all of them down alike.

    loss = -sum_i t_i log sigmoid(s_i) - 1/K sum_i log sigmoid(-s_i),  t = softmax(r / T)

    s = beta x log-ratio. In a set that lacks a score, t is one-hot on column 0: of a pair the loss is then
    -log sigmoid(s_0) - (log sigmoid(-s_0) + log sigmoid(-s_1)) / 2. Unlike DPO it holds the likelihood of
    each completion in place, not their difference alone.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]; masked columns contribute nothing, and K
            counts the others.
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
    targets = torch.zeros_like(rewards)
    targets[:, 0] = 1.0
    if scores is not None:
        scored = _log_softmax(scores.to(rewards.dtype) / temperature, policy.mask).exp()
        targets = torch.where(complete(policy, scores)[:, None], scored, targets)
    push = logsigmoid(-inner) / policy.mask.sum(dim=1, keepdim=True).clamp(min=1)
    values = (targets * logsigmoid(inner) + push).masked_fill(~policy.mask, 0.0)
    return output(set_mean(-values.sum(dim=1)), rewards=rewards)


def exo_rw(
    policy: Logps, reference: Logps, scores: Tensor, *, beta: float, reward_temperature: float
) -> LossOutput:
    """EXO-rw: the reverse KL divergence of the policy's softmax over the set from that of the scores.

    loss = sum_i q_i (log q_i - log t_i),  q = softmax(s),  t = softmax(r / T),  s = beta x log-ratio

    It is zero where q = t, a finite target for every difference of log-ratios: (r_i - r_j) / (beta T).
    Gradient flows through q on both sides.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]; masked columns contribute nothing.
        scores: r, [B, K], higher is better; only differences within a set matter.
        beta: weight of the KL term, > 0.
        reward_temperature: T, in units of the scores, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    Raises:
        InputError: a completion without a score.

    References:
        Ji et al. 2024, arXiv 2402.00856.
    """
    rewards = beta * log_ratio(policy, reference)
    log_t = _log_softmax(known_scores("exo_rw", policy, scores) / reward_temperature, policy.mask)
    log_q = _log_softmax(rewards, policy.mask)
    return output(set_mean((log_q.exp() * (log_q - log_t)).sum(dim=1)), rewards=rewards)


def lipo(policy: Logps, reference: Logps, scores: Tensor, *, beta: float) -> LossOutput:
    """LiPO-lambda: the logistic loss of every pair, weighed by what swapping the two would change.

    loss = sum over r_i > r_j of |2^r_i - 2^r_j| |1/log(1+k_i) - 1/log(1+k_j)| softplus(s_j - s_i)

    s = beta x log-ratio, and k is a completion's place, 1 = first, by the current policy's own s: a constant;
    log-ratios that are equal to a thousandth of a nat stand in the order of their columns. Weights grow as
    2^score: the paper's scores lie in [0, 1], where no weight is above 1.5. A score of 20 makes it a million,
    so that the best completions of a few sets are the whole loss: bring scores to [0, 1] first. The paper's
    beta and K are not verified.

    Args:
        policy, reference: sums over completion tokens, nats, [B, K]; masked columns contribute nothing.
        scores: r, [B, K], higher is better; equals are no pair.
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets, of sums over pairs; rewards are beta x log-ratio.

    Raises:
        InputError: a completion without a score, or a score whose power of two is infinite.

    References:
        Liu et al. 2024, arXiv 2402.01878.

    Differs from:
        Third-party code divides by the number of pairs, where the paper's objective is the sum.
    """
    ratios = log_ratio(policy, reference)
    rewards = beta * ratios
    known = known_scores("lipo", policy, scores)
    gain = torch.exp2(known)
    if not torch.isfinite(gain).all():
        raise InputError(
            f"lipo weighs a score r by 2^r: {known.max():g} is too large, bring scores to [0, 1]"
        )
    inner = rewards.masked_fill(~policy.mask, 0.0)
    place = _place(comparable(ratios).masked_fill(~policy.mask, -torch.inf))
    weight = _gaps(gain) * _gaps(1.0 / torch.log1p(place))
    values = -weight * logsigmoid(inner[:, :, None] - inner[:, None, :])
    pairs = ordered_pairs(known, policy.mask)
    return output(set_mean(values.masked_fill(~pairs, 0.0).sum(dim=(1, 2))), rewards=rewards)


def _log_softmax(logits: Tensor, mask: Tensor) -> Tensor:
    """[B, K]: log softmax over the unmasked columns; 0 in the others, without gradient."""
    present = logits.masked_fill(~mask, -torch.inf)
    return torch.log_softmax(present, dim=1).masked_fill(~mask, 0.0)


def _place(values: Tensor) -> Tensor:
    """[B, K]: 1 for the largest value of a row, 2 for the next."""
    order = values.argsort(dim=1, descending=True, stable=True)
    return 1.0 + order.argsort(dim=1).to(values.dtype)


def _gaps(values: Tensor) -> Tensor:
    """[B, K, K]: |v_i - v_j|."""
    return (values[:, :, None] - values[:, None, :]).abs()
