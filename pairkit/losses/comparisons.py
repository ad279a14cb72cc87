"""The loss of models that compare two completions: `policy.sum` has the logits of both orders of a pair."""

from __future__ import annotations

from torch.nn.functional import logsigmoid

from pairkit.losses.types import Logps, LossOutput, output, pair_of, set_mean


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
