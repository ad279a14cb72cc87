"""Losses on a set of K completions: column 0 is the preferred one, the others rank below it."""

from __future__ import annotations

import torch
from torch import Tensor

from pairkit.errors import InputError
from pairkit.losses.types import Logps, LossOutput, log_ratio, output, set_mean


def rnce(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Ranking noise-contrastive estimation (RNCE): the preferred completion against its negatives.

    loss = -s_0 + logsumexp(s_0, ..., s_M),  s = beta x log-ratio

    MC-PO has the same objective; `sample_negatives` samples its negatives in proportion to exp(s).
    With one negative it is DPO. The mean of its gradient over the samples is that of the likelihood only if
    y_0 is a sample of the model p, proportional to (proposal) exp(s) (proposition 3.3): neither the policy,
    which online training samples, nor the best of several samples is p.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 1 + M]; masked columns contribute nothing.
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Chen et al. 2025, arXiv 2502.04567, equation 7 and proposition 2.1; sampling is algorithm 1.

    Differs from:
        Contrastive divergence as in equation 8, the loss `contrastive_divergence`, has no softmax weight on a
        negative that was sampled by exp(s): this objective weighs it once more, as the paper's algorithm and
        table 5 do.
    """
    rewards = beta * log_ratio(policy, reference)
    logits = rewards.masked_fill(~policy.mask, -torch.inf)  # exp of it adds 0 to the sum
    return output(set_mean(torch.logsumexp(logits, dim=1) - rewards[:, 0]), rewards=rewards)


def contrastive_divergence(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Contrastive divergence (CD): the preferred completion against what the policy's own kernel draws.

    loss = -s_0 + mean of s_1, ..., s_M over the negatives,  s = beta x log-ratio

    For negatives sampled in proportion to exp(s) among all completions, the preferred one included, the mean
    of its gradient over the samples is the gradient of `rnce` on the whole set (lemma 3.1). So
    `include_chosen` is on, and a set whose sample is the preferred completion has no gradient. Without it
    the loss has no lower bound, and training does not stop by itself.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 1 + M]; masked columns contribute nothing.
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Chen et al. 2025, arXiv 2502.04567, equation 8 and lemma 3.1; Hinton 2002, Training products of
        experts by minimizing contrastive divergence.

    Differs from:
        `mcpo`, which is what the paper's algorithm and table 5 have: it weights a sampled negative once more,
        by its softmax against the preferred completion.
    """
    rewards = beta * log_ratio(policy, reference)
    negatives = policy.mask[:, 1:]
    total = rewards[:, 1:].masked_fill(~negatives, 0).sum(dim=1)
    # A set without negatives has nothing to be compared with, and no gradient.
    count = negatives.sum(dim=1)
    values = total / count.clamp(min=1) - rewards[:, 0] * (count > 0)
    return output(set_mean(values), rewards=rewards)


def rrhf(
    policy: Logps, scores: Tensor | None = None, ranks: Tensor | None = None, *, nll_weight: float
) -> LossOutput:
    """Rank responses to align: a hinge on every pair in the wrong order, plus the NLL of the preferred one.

    loss = sum over r_i > r_j of max(0, m_j - m_i)  -  w log p(y_0)

    m is a completion's mean log-prob. The order r is by score; by rank in a set with a missing score, and by
    column without ranks. Ties form no pair. There is no margin: with all pairs in the right order, only the
    likelihood of column 0 has a gradient.

    Args:
        policy: sums over completion tokens, nats, [B, K]; masked columns contribute nothing.
        scores: [B, K], higher is better.
        ranks: int [B, K], 1 = best.
        nll_weight: w, weight of column 0's summed negative log-likelihood, >= 0.

    Returns:
        One term, a mean over sets; rewards are mean log-probs.

    References:
        Yuan et al. 2023, arXiv 2304.05302.

    Differs from:
        The official code weights the hinge instead (100; 1 in its script), and divides by the padded length
        of a row instead of the completion's length. The ranges that SimPO searched are not verified.
    """
    mean = policy.mean.masked_fill(~policy.mask, 0.0)  # [B, K]
    wrong = torch.relu(mean[:, None, :] - mean[:, :, None])  # [B, K, K], nats per token: j above i
    pairs = ordered_pairs(_order(policy, scores, ranks), policy.mask)
    hinge = wrong.masked_fill(~pairs, 0.0).sum(dim=(1, 2))
    return output(set_mean(hinge - nll_weight * policy.sum[:, 0]), rewards=policy.mean)


def pro(
    policy: Logps, scores: Tensor | None = None, ranks: Tensor | None = None, *, nll_weight: float
) -> LossOutput:
    """Preference ranking optimization: each completion against all below it, plus the NLL of the best.

    loss = sum_{k<n} [log(exp(T_kk m_k) + sum_{i>k} exp(T_ki m_i)) - T_kk m_k] - w (n-1)^2 log p(y_1)
    T_ki = r_k - r_i,  T_kk = max_{i>k} T_ki

    m is a completion's mean log-prob, and 1, ..., n are the completions from best to worst. Score
    differences act as temperatures, so the scale of the scores matters; ties do not push each other.

    Args:
        policy: sums over completion tokens, nats, [B, K]; masked columns contribute nothing.
        scores: r, [B, K], higher is better.
        ranks: int [B, K], 1 = best; r = K - rank in a set with a missing score.
        nll_weight: w, weight of the best completion's summed negative log-likelihood, >= 0.

    Returns:
        One term, a mean over sets; rewards are mean log-probs.

    Raises:
        InputError: a set has a missing score, and no ranks are given.

    References:
        Song et al. 2023, arXiv 2306.17492, and its code, which uses w = 0.05.

    Differs from:
        The official code also scores and counts one padding token after a shorter completion.
    """
    values = known_scores("pro", policy, scores) if ranks is None else _order(policy, scores, ranks)
    # Stable, so that ties keep the order of the set.
    order = values.masked_fill(~policy.mask, -torch.inf).argsort(dim=1, descending=True, stable=True)
    sorted_logps = policy.columns(order)  # best first, masked ones last
    mean, values = sorted_logps.mean.masked_fill(~sorted_logps.mask, 0.0), values.gather(1, order)
    count = sorted_logps.mask.sum(dim=1)  # [B], n
    temperature = values[:, :, None] - values[:, None, :]  # [B, K, K]
    widest = values - values.gather(1, (count - 1).clamp(min=0)[:, None])
    temperature = torch.where(_eye(mean), widest[:, :, None], temperature)
    logits = temperature * mean[:, None, :]  # [B, K, K]
    own = logits.diagonal(dim1=1, dim2=2)
    contest = torch.arange(mean.shape[1], device=mean.device) < (count - 1)[:, None]
    others = logits.masked_fill(~(sorted_logps.mask[:, None, :] & _upper(mean)), -torch.inf)
    ranking = (torch.logsumexp(others, dim=2) - own).masked_fill(~contest, 0.0).sum(dim=1)
    likelihood = nll_weight * ((count - 1) ** 2 * sorted_logps.sum[:, 0])
    return output(set_mean(ranking - likelihood), rewards=policy.mean)


def ordered_pairs(values: Tensor, mask: Tensor) -> Tensor:
    """Compute whether completion i ranks above completion j and both are present, bool [B, K, K]."""
    return (values[:, :, None] > values[:, None, :]) & mask[:, :, None] & mask[:, None, :]


def complete(policy: Logps, scores: Tensor) -> Tensor:
    """Compute whether every unmasked completion has a finite score, bool [B]."""
    return (torch.isfinite(scores) | ~policy.mask).all(dim=1)


def known_scores(loss: str, policy: Logps, scores: Tensor | None) -> Tensor:
    """Return the scores in the log-probs' dtype with 0 in masked columns, [B, K].

    Raises:
        InputError: an unmasked completion has no finite score; the error names the first one.
    """
    if scores is None:
        raise InputError(f"{loss} needs scores: pass a float tensor [sets, completions] as third argument")
    missing = (~torch.isfinite(scores) & policy.mask).nonzero()
    if len(missing):
        row, column = missing[0].tolist()
        raise InputError(
            f"{loss} needs a score for every completion, but scores[{row}, {column}] is "
            f"{scores[row, column]:g}"
        )
    return scores.to(policy.sum.dtype).masked_fill(~policy.mask, 0.0)


def _order(policy: Logps, scores: Tensor | None, ranks: Tensor | None) -> Tensor:
    """Compute what a set is ordered by, [B, K], higher is better, 0 in masked columns.

    Scores; K - rank in a set with a missing score, and K - 1 - column without ranks.
    """
    columns = torch.arange(policy.sum.shape[1], device=policy.sum.device)
    below = (1 + columns).expand(policy.sum.shape) if ranks is None else ranks
    order = (policy.sum.shape[1] - below).to(policy.sum.dtype)
    if scores is not None:
        order = torch.where(complete(policy, scores)[:, None], scores.to(order.dtype), order)
    return order.masked_fill(~policy.mask, 0.0)


def _eye(like: Tensor) -> Tensor:  # [K, K] bool, for [B, K]
    return torch.eye(like.shape[1], dtype=torch.bool, device=like.device)


def _upper(like: Tensor) -> Tensor:
    """Build the mask of columns i >= k, bool [K, K]."""
    return torch.ones(like.shape[1], like.shape[1], dtype=torch.bool, device=like.device).triu()
