"""DPO with more of a completion than its sum of log-probs: token KL, alignment, the sum over its head.

D = log-ratio(chosen) - log-ratio(rejected); column 0 is the chosen completion, column 1 the rejected one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.errors import InputError
from pairkit.losses.types import Logps, LossOutput, log_ratio, output, pair_of, set_mean


def tdpo1(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Token-level DPO, first form: the pair's difference in sequential KL comes off the margin.

    loss = -log sigmoid(beta (D - (K_rejected - K_chosen))),  K = sum over tokens of KL(reference || policy)

    Gradient flows through both K, over the whole vocabulary at every completion token.

    Args:
        policy: sums over completion tokens, nats, [B, 2], and `token_kl`.
        reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Zeng et al. 2024, arXiv 2404.11999; restated as equations 17 and 18 of alpha-DPO's paper, arXiv
        2410.10148.

    Differs from:
        The official code's switch, `if_tdpo2`, is off in its configuration and on in its function; here the
        two forms are two losses. It takes the logarithm of a softmax, which can be -inf.
    """
    chosen_kl, rejected_kl = _columns("tdpo1", "token_kl", policy.token_kl)
    return _shifted(policy, reference, beta, rejected_kl - chosen_kl)


def tdpo2(policy: Logps, reference: Logps, *, beta: float, alpha: float) -> LossOutput:
    """Token-level DPO, second form: the chosen completion's sequential KL is a fixed point to compare with.

    loss = -log sigmoid(beta (D - A (K_rejected - sg[K_chosen]))),  K as in tdpo1, sg without gradient

    The rejected completion's KL is pushed down, the chosen one's is left as it is.

    Args:
        policy: sums over completion tokens, nats, [B, 2], and `token_kl`.
        reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.
        alpha: A, weight of the difference in sequential KL, >= 0; 0 is DPO.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Zeng et al. 2024, arXiv 2404.11999.

    Differs from:
        The official code; see tdpo1.
    """
    chosen_kl, rejected_kl = _columns("tdpo2", "token_kl", policy.token_kl)
    return _shifted(policy, reference, beta, alpha * (rejected_kl - chosen_kl.detach()))


def wpo(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Weighted preference optimization: DPO with each pair weighted by how likely the policy writes it.

    loss = -sg[min(1, w_chosen w_rejected)] log sigmoid(beta D)
    w = exp(mean over tokens of log p(y_t) - log sum_v p(v)^2)

    w is about 1 for the policy's own samples, so that pairs such as the policy would write count in full. The
    weight carries no gradient (sg), and the mean over pairs divides by their number, not by their weights.

    Args:
        policy: sums over completion tokens, nats, [B, 2], and `alignment`, log w.
        reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Zhou et al. 2024, arXiv 2406.11827.

    Differs from:
        TRL since 0.29 does not hold the weight at 1; its earlier versions and the official code do. The
        wpo_loss of open-instruct has no alignment term and does not detach the weight.
    """
    chosen_alignment, rejected_alignment = _columns("wpo", "alignment", policy.alignment)
    weight = torch.exp((chosen_alignment + rejected_alignment).detach().clamp(max=0.0))
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    return output(
        set_mean(-weight * logsigmoid(chosen - rejected)),
        rewards=rewards,
        metrics={"pair_weight": weight.mean()},
    )


def ld_dpo(policy: Logps, reference: Logps, *, beta: float, alpha: float) -> LossOutput:
    """Length-desensitized DPO: what the longer completion has beyond the shorter one's length counts less.

    loss = -log sigmoid(beta D'),  D' = DPO's D of  log p' = head + A (log p - head)

    head is the log-prob of the first min(|chosen|, |rejected|) tokens, for policy and reference alike.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2], and `head_sum`.
        beta: weight of the KL term, > 0.
        alpha: A, weight of the tokens beyond, in [0, 1]; 1 is DPO.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio, of all tokens in full.

    References:
        Liu et al. 2024, arXiv 2409.06411.

    Differs from:
        TRL up to 0.27 leaves the reference's log-probs as they are in one of its two paths.
    """
    heads = _columns("ld_dpo", "head_sum", policy.head_sum)
    known = _columns("ld_dpo", "head_sum", reference.head_sum)
    ratios = log_ratio(policy, reference)
    chosen, rejected = (
        alpha * ratio + (1.0 - alpha) * (head - base.detach())
        for ratio, head, base in zip(pair_of(ratios), heads, known, strict=True)
    )
    return output(set_mean(-logsigmoid(beta * (chosen - rejected))), rewards=beta * ratios)


def _shifted(policy: Logps, reference: Logps, beta: float, shift: Tensor) -> LossOutput:
    """DPO with `shift` ([B], nats) taken off the margin."""
    ratios = log_ratio(policy, reference)
    chosen, rejected = pair_of(ratios)
    return output(set_mean(-logsigmoid(beta * (chosen - rejected - shift))), rewards=beta * ratios)


def _columns(loss: str, name: str, values: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both columns of a field that only some losses need."""
    if values is None:
        raise InputError(f"{loss} needs Logps.{name}")
    return pair_of(values)
