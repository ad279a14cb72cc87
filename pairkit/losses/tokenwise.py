"""DPO with more than the log-prob sum of a completion: token KL, alignment, the sum over its first tokens.

D = log-ratio(chosen) - log-ratio(rejected); column 0 is the chosen completion, column 1 the rejected one.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.errors import InputError
from pairkit.losses.types import Logps, LossOutput, log_ratio, output, pair_of, set_mean


def tdpo1(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Token-level DPO, first form: the margin minus the pair's difference in sequential KL.

    loss = -log sigmoid(beta (D - (K_rejected - K_chosen))),  K = sum over tokens of KL(reference || policy)

    Gradient flows through both K, over the whole vocabulary at each completion token.

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
        two forms are separate losses. The official code takes the log of a softmax, which can be -inf.
    """
    chosen_kl, rejected_kl = _columns("tdpo1", "token_kl", policy.token_kl)  # [B] each, nats
    return _shifted(policy, reference, beta, rejected_kl - chosen_kl)


def tdpo2(policy: Logps, reference: Logps, *, beta: float, alpha: float) -> LossOutput:
    """Token-level DPO, second form: the chosen completion's sequential KL is a baseline without gradient.

    loss = -log sigmoid(beta (D - A (K_rejected - sg[K_chosen]))),  K as in tdpo1, sg without gradient

    Gradient pushes the rejected completion's KL down and leaves the chosen one's unchanged.

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
        The official code: see tdpo1.
    """
    chosen_kl, rejected_kl = _columns("tdpo2", "token_kl", policy.token_kl)  # [B] each, nats
    return _shifted(policy, reference, beta, alpha * (rejected_kl - chosen_kl.detach()))


def wpo(policy: Logps, reference: Logps, *, beta: float) -> LossOutput:
    """Weighted preference optimization: DPO with pairs weighted by their likelihood under the policy.

    loss = -sg[min(1, w_chosen w_rejected)] log sigmoid(beta D)
    w = exp(mean over tokens of log p(y_t) - log sum_v p(v)^2)

    w is about 1 for the policy's own samples, so on-policy pairs have full weight. No gradient flows through
    the weight (sg), and the mean over pairs divides by their number, not by the sum of their weights.

    Args:
        policy: sums over completion tokens, nats, [B, 2], and `alignment`, log w.
        reference: sums over completion tokens, nats, [B, 2].
        beta: weight of the KL term, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio.

    References:
        Zhou et al. 2024, arXiv 2406.11827.

    Differs from:
        TRL since 0.29 does not clamp the weight at 1; earlier versions and the official code do. wpo_loss of
        open-instruct has no alignment term and does not detach the weight.
    """
    chosen_alignment, rejected_alignment = _columns("wpo", "alignment", policy.alignment)
    # Clamped before exp, which is the same as min(1, w) and cannot overflow.
    weight = torch.exp((chosen_alignment + rejected_alignment).detach().clamp(max=0.0))
    rewards = beta * log_ratio(policy, reference)
    chosen, rejected = pair_of(rewards)
    return output(
        set_mean(-weight * logsigmoid(chosen - rejected)),
        rewards=rewards,
        metrics={"pair_weight": weight.mean()},
    )


def ld_dpo(policy: Logps, reference: Logps, *, beta: float, alpha: float) -> LossOutput:
    """Length-desensitized DPO: tokens of the longer completion beyond the shorter one's length count less.

    loss = -log sigmoid(beta D'),  D' = DPO's D of  log p' = head + A (log p - head)

    head is the log-prob of the first min(|chosen|, |rejected|) tokens, of policy and reference alike.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2], and `head_sum`.
        beta: weight of the KL term, > 0.
        alpha: A, weight of the tokens beyond that length, in [0, 1]; 1 is DPO.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio, with full weight on all tokens.

    References:
        Liu et al. 2024, arXiv 2409.06411.

    Differs from:
        TRL up to 0.27 leaves the reference's log-probs unchanged in one of its two code paths.
    """
    heads = _columns("ld_dpo", "head_sum", policy.head_sum)  # [B] each, nats
    baselines = _columns("ld_dpo", "head_sum", reference.head_sum)  # [B] each, nats
    ratios = log_ratio(policy, reference)
    chosen, rejected = (
        alpha * ratio + (1.0 - alpha) * (head - base.detach())  # as head + A (all - head), on differences
        for ratio, head, base in zip(pair_of(ratios), heads, baselines, strict=True)
    )
    contrast = chosen - rejected
    return output(set_mean(-logsigmoid(beta * contrast)), rewards=beta * ratios, contrast=contrast)


def _shifted(policy: Logps, reference: Logps, beta: float, shift: Tensor) -> LossOutput:
    """Compute DPO with `shift` ([B], nats) subtracted from the margin."""
    ratios = log_ratio(policy, reference)  # [B, 2], nats
    chosen, rejected = pair_of(ratios)
    contrast = chosen - rejected - shift
    return output(set_mean(-logsigmoid(beta * contrast)), rewards=beta * ratios, contrast=contrast)


def _columns(loss: str, name: str, values: Tensor | None) -> tuple[Tensor, Tensor]:
    """Split a field that only some losses need into chosen and rejected, [B] each."""
    if values is None:
        raise InputError(f"{loss} needs Logps.{name}")
    return pair_of(values)
