"""Losses of reward models and of PairRM, which have no reference.

Of a reward model `policy.sum` is the reward of each completion. Pairs and places are those of ranks; ties
form no pair and share a place. Of a PairRM `policy.sum` has the logits of both orders of a pair.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses.listwise import complete, known_scores, ordered_pairs
from pairkit.losses.logistic import smoothed_logistic
from pairkit.losses.types import Logps, LossOutput, Term, output, pair_of, set_mean


def reward_bt(
    policy: Logps,
    scores: Tensor | None = None,
    ranks: Tensor | None = None,
    *,
    margin: float,
    label_smoothing: float,
    centering: float,
) -> LossOutput:
    """Bradley-Terry reward model: the better completion of every pair of a set has the higher reward.

    loss = mean over pairs i above j of [-log sigmoid(r_i - r_j - m (s_i - s_j)) + c (r_i + r_j)^2]

    With label smoothing e it is -(1 - e) log sigmoid(x) - e log sigmoid(-x). A set counts once, whatever its
    number of pairs, as in InstructGPT; one whose completions all tie has no pair and does not count. Rewards
    are determined up to a constant per prompt, which c pulls toward a mean of 0.

    Args:
        policy: rewards r in `sum`, [B, K]; masked columns contribute nothing.
        scores: s, [B, K], higher is better; read if `margin` is above 0.
        ranks: int [B, K], 1 = best.
        margin: m, weight of the difference of scores, by which rewards have to differ, >= 0; a difference
            that contradicts the ranks is 0, as are all in a set with a missing score.
        label_smoothing: e, the probability that a pair is swapped, in [0, 0.5).
        centering: c, weight of the squared sum of two rewards, >= 0; the paper's is 0.01.

    Returns:
        One term, a mean over sets with a pair; rewards are r.

    References:
        Ouyang et al. 2022, arXiv 2203.02155, equation 1; the margin is that of Touvron et al. 2023, arXiv
        2307.09288, equation 2; the centering that of Eisenstein et al. 2023, arXiv 2312.09244.

    Differs from:
        Llama 2's margin is a step function of four ratings; here it is proportional to the scores.
    """
    assert ranks is not None, "its row states that it needs ranks"
    rewards = policy.sum.masked_fill(~policy.mask, 0.0)  # [B, K]
    pairs = ordered_pairs(-ranks, policy.mask)  # [B, K, K]
    logits = rewards[:, :, None] - rewards[:, None, :]
    if margin > 0.0:
        logits = logits - margin * _score_gaps(policy, scores)
    losses = smoothed_logistic(logits, label_smoothing)
    if centering > 0.0:
        losses = losses + centering * (rewards[:, :, None] + rewards[:, None, :]) ** 2
    count = pairs.sum(dim=(1, 2))  # [B]
    means = losses.masked_fill(~pairs, 0.0).sum(dim=(1, 2)) / count.clamp(min=1)
    return output(Term(means, (count > 0).to(means.dtype)), rewards=policy.sum)


def reward_pl(policy: Logps, ranks: Tensor | None = None) -> LossOutput:
    """Plackett-Luce reward model: the likelihood of the ranking of the whole set.

    loss = sum_i [log sum_{j at the place of i or below} exp(r_j) - r_i],  i above the last place

    Each completion is chosen from those that remain. Tied ones share their place: each is chosen with the
    others still there, so that the loss does not depend on how ties are listed. Of two completions it is the
    Bradley-Terry loss.

    Args:
        policy: rewards r in `sum`, [B, K]; masked columns contribute nothing.
        ranks: int [B, K], 1 = best.

    Returns:
        One term, a mean over sets in which one completion ranks above another; rewards are r.

    References:
        Plackett 1975; Luce 1959; as a model of rewards Rafailov et al. 2023, arXiv 2305.18290, equation 18;
        as a loss of rankings Xia et al. 2008 (ListMLE); ties as in Breslow 1974.
    """
    assert ranks is not None, "its row states that it needs ranks"
    rewards = policy.sum.masked_fill(~policy.mask, 0.0)  # [B, K]
    remaining = policy.mask[:, None, :] & (ranks[:, None, :] >= ranks[:, :, None])  # [B, K, K]
    # Itself too where masked, because the gradient of a sum of nothing is NaN.
    remaining = remaining | torch.eye(ranks.shape[1], dtype=torch.bool, device=ranks.device)
    total = rewards[:, None, :].masked_fill(~remaining, -torch.inf).logsumexp(dim=2)
    last = ranks.masked_fill(~policy.mask, 0).amax(dim=1, keepdim=True)
    contest = policy.mask & (ranks < last)
    values = (total - rewards).masked_fill(~contest, 0.0).sum(dim=1)
    return output(Term(values, contest.any(dim=1).to(values.dtype)), rewards=policy.sum)


def reward_mse(policy: Logps, scores: Tensor) -> LossOutput:
    """Regression reward model: the reward of a completion is its score.

    loss = (r - s)^2

    Every completion counts alike, ranked or not. Scores of any scale can be learned, but the rate of learning
    depends on it: scores of a few units in size around 0 suit the default learning rates.

    Args:
        policy: rewards r in `sum`, [B, K]; masked columns contribute nothing.
        scores: s, [B, K].

    Returns:
        One term, a mean over completions; rewards are r.

    Raises:
        InputError: a completion has no score.

    References:
        Wang et al. 2024 (HelpSteer2), arXiv 2406.08673, which trains on ratings by squared errors.
    """
    values = known_scores("reward_mse", policy, scores)
    errors = (policy.sum.masked_fill(~policy.mask, 0.0) - values) ** 2  # [B, K]; 0 where masked
    count = policy.mask.sum(dim=1)
    return output(Term(errors.sum(dim=1), count.to(errors.dtype)), rewards=policy.sum)


def pairrm(policy: Logps) -> LossOutput:
    """PairRM: of two completions shown together, in both orders, the better one is preferred.

    loss = -[log sigmoid(L_cr) + log sigmoid(-L_rc)] / 2

    L_cr is the logit of the pair with the chosen completion shown first, L_rc that with the rejected one
    first; above 0, the model prefers the first. Of a set every pair of different ranks is an example, noise
    below all. The margin L_cr - L_rc that is reported is the one that the ranker `pairrm` takes means of;
    `contradictions` is the share of pairs of which the two orders prefer different completions.

    Args:
        policy: L_cr and L_rc in `sum`, [B, 2].

    Returns:
        One term, a mean over pairs; rewards are L_cr and L_rc, so that their difference is the margin.

    References:
        Jiang et al. 2023, arXiv 2306.02561; the code of llm-blender, `CrossCompareReranker.compute_loss` with
        loss_type="instructgpt", which is the one in the configuration of the published PairRM.

    Differs from:
        llm-blender, which shows each pair that it samples in one order, chosen at random, and trains with
        dropout, which is off in pairkit.
    """
    forth, back = pair_of(policy.sum)
    contradictions = ((forth > 0) == (back > 0)).to(forth.dtype)
    return output(
        set_mean(-(logsigmoid(forth) + logsigmoid(-back)) / 2),
        rewards=policy.sum,
        metrics={"contradictions": contradictions.mean()},
    )


def _score_gaps(policy: Logps, scores: Tensor | None) -> Tensor:
    """Compute max(0, s_i - s_j), [B, K, K]; 0 in a set with a missing score."""
    if scores is None:
        return torch.zeros_like(policy.sum)[:, :, None]
    present = policy.mask & complete(policy, scores)[:, None]
    values = scores.to(policy.sum.dtype).masked_fill(~present, 0.0)
    return (values[:, :, None] - values[:, None, :]).clamp(min=0.0)
