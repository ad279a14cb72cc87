"""Losses on a pair whose margin, beta or selection depends on statistics of the global batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses.logistic import LARGEST_EXPONENT
from pairkit.losses.sampling import uniform
from pairkit.losses.spec import Rows, State
from pairkit.losses.statistics import moments, moved, rounding, standardized
from pairkit.losses.types import Logps, LossOutput, Term, log_ratio, output, pair_of, set_mean

LEAST_BETA = 1e-3  # as in the official code; an adapted beta below 0 would turn preferences around
# The rounding of a KL is that of its float32 sum, because the rounding of log-probs enters it squared.
KL_ROUNDING = 2.0**-23
KEEP_SALT = -1  # because the sampling of negatives uses the salts from 0


def alpha_dpo(
    policy: Logps,
    reference: Logps,
    statistics: dict[str, Tensor],
    *,
    beta: float,
    gamma_beta_ratio: float,
    alpha: float,
    implicit_reference: str,
    normalize: bool,
    stop_gradient: bool,
    length_normalized: bool,
    margin: str,
    margin_reduction: str,
    alpha_scale: str,
    momentum: float,
    stats: str,
    stats_every: int | None,
) -> LossOutput:
    """alpha-DPO: SimPO with a margin per pair that depends on how far policy and reference differ on it.

    loss = -log sigmoid(beta (m_chosen - m_rejected - ratio - alpha M*))
    M* = (M - mean(M)) / std(M),  M = (m_chosen - m_rejected) - (m_ref,chosen - m_ref,rejected)

    A pair that the policy already separates better than the reference gets a larger margin. The mean and
    standard deviation of M are moving averages over global batches, updated once per optimizer step,
    corrected for their start at 0, stored in checkpoints and frozen in evaluation. A batch is skipped if it
    has one pair, or if M varies between its pairs by no more than bfloat16 rounding (2^-8 of m over the root
    of the length), as in the first step, where policy and reference are equal. Until the first batch that
    counts, M* is 0.
    alpha 0 is SimPO; alpha 1 is not DPO, contrary to the paper. Without stop-gradient the gradient of a pair
    is multiplied by 1 - alpha / std(M): where std(M) is below alpha, it pulls the pair the wrong way.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).
        statistics: "steps", "mean", "std" of M.
        beta: scale of the mean log-probs, > 0.
        gamma_beta_ratio: the margin common to all pairs, in units of mean log-prob.
        alpha: weight of M*; the paper searches 0.01 to 0.2.
        implicit_reference: definition of M: "ratio" as above, "policy" the policy's difference alone,
            "reference" the reference's, "inverse_reference" its negative.
        normalize: whether M is standardized; otherwise M* = M, which is equation 9 with equation 10.
        stop_gradient: whether M* is a constant; otherwise gradient flows through M but not its statistics.
        length_normalized: whether m is a mean over tokens; otherwise a sum.
        margin: "sequence" for the M above; "token_kl" for M = KL_rejected - KL_chosen, the token KLs of TDPO,
            which ignores `implicit_reference`.
        margin_reduction: whether M is of means over tokens or of sums: "same" as m, "mean" or "sum";
            equation 10 as printed, next to equation 12, is "sum" with `length_normalized`.
        alpha_scale: "code" multiplies alpha M* by beta, as above; "paper" does not. Without `normalize` both
            are one, because the M of equation 10 has a beta of its own.
        momentum: weight of the past in the moving averages, in [0, 1).
        stats: "corrected" as above; "official" as in the paper's code: averages start at 0 without
            correction and are updated by every call, also in evaluation; "dataset" as in equation 11, of
            every pair of the training set, which the loop scores in passes of their own.
        stats_every: steps from one such pass to the next; by default one at the start of each epoch.

    Returns:
        One term, a mean over sets; rewards are beta x mean log-prob, the u of equation 12 and the unit of
        SimPO's; the metric `adaptive_margin` is the mean of ratio + alpha M*, the figure `std_M` is std(M).

    References:
        Wu et al. 2024, arXiv 2410.10148, equations 9 to 12, table 2 and appendix C.4.

    Differs from:
        The paper's equation 12 does not multiply alpha M* by beta; its code does, and the published alphas
        are those of the code. The paper's M (equation 10) is of sums and its u (equation 12) of means; its
        code uses means in both. The paper standardizes over the training set; its code uses moving averages
        over gathered micro-batches that start at 0, which makes the first M* up to ten times too large, and
        divides by a deviation of 0, where "official" here sets M* = 0 and skips single pairs. "official" does
        not skip rounding. SimPO is not DPO with a uniform reference, as theorem 3.1 has it: that reference
        gives a margin of beta log|V| (|rejected| - |chosen|), and 0 for means over tokens.
    """
    shift = disagreement(
        policy,
        reference,
        implicit_reference=implicit_reference,
        length_normalized=length_normalized,
        margin=margin,
        margin_reduction=margin_reduction,
    )
    shift = shift.detach() if stop_gradient else shift
    scale = alpha
    if normalize:
        mean, std = moments(statistics, momentum, corrected=stats == "corrected")
        shift = standardized(shift, mean, std)
        scale = alpha if alpha_scale == "code" else alpha / beta
    target = gamma_beta_ratio + scale * shift
    rewards = beta * _size(policy, length_normalized)  # [B, 2]
    chosen, rejected = pair_of(rewards)
    return output(
        set_mean(-logsigmoid(chosen - rejected - beta * target)),
        rewards=rewards,
        metrics={"adaptive_margin": target.detach().mean()},
    )


def observe_alpha_dpo(
    state: State,
    policy: Logps,
    reference: Logps,
    *,
    implicit_reference: str,
    length_normalized: bool,
    margin: str,
    margin_reduction: str,
    momentum: float,
    stats: str,
) -> tuple[State, Rows]:
    """Update the averages of M; `alpha_dpo` computes the M of each row itself."""
    of_means = _of_means(length_normalized, margin_reduction)
    shift = disagreement(
        policy,
        reference,
        implicit_reference=implicit_reference,
        length_normalized=length_normalized,
        margin=margin,
        margin_reduction=margin_reduction,
    )
    noise = rounding(policy, of_means=of_means)  # nats
    if margin == "token_kl":
        noise = KL_ROUNDING * float(_size(policy, of_means).abs().mean())
    # The whole training set replaces what was before.
    weight_of_past = 0.0 if stats == "dataset" else momentum
    return moved(state, shift, weight_of_past, noise=0.0 if stats == "official" else noise), {}


def figures_alpha_dpo(state: State, *, momentum: float, stats: str) -> dict[str, float]:
    """Return `std_M`, the deviation of M that pairs are standardized by; 0 before the first batch."""
    return {"std_M": moments(state, momentum, corrected=stats == "corrected")[1]}


def beta_dpo(
    policy: Logps,
    reference: Logps,
    statistics: dict[str, Tensor],
    *,
    beta: float,
    a: float,
    filter_fraction: float,
    momentum: float,
) -> LossOutput:
    """beta-DPO: DPO with a beta per batch, after outlier pairs of the batch are filtered out.

    loss = -log sigmoid(b D) for the pairs kept,  b = max(0.001, beta (1 + a (mean of D kept - mean(D))))

    D = log-ratio(chosen) - log-ratio(rejected), a constant in b. N (1 - filter_fraction) of the N pairs of a
    global batch are sampled without replacement, with weights exp(-((D - mean(D)) / std(D))^2 / 2); the
    others have no loss in this step. Mean and standard deviation are moving averages, as in alpha-DPO: a
    batch of one pair, or in which D is only rounding, as in the first step, is skipped. In evaluation no pair
    is filtered, and b is the last one of training. Until the first batch that counts, b is beta and pairs are
    sampled with equal weights. `a` multiplies nats of log-ratio, not of reward, which is beta times smaller.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        statistics: "steps", "mean", "std" of D, the last b as "beta"; per row "keep", 1 for a kept pair.
        beta: weight of the KL term before adaptation, > 0.
        a: sensitivity of beta to the batch, per nat, >= 0.
        filter_fraction: share of the pairs that is filtered out, in [0, 1).
        momentum: weight of the past in the moving averages, in [0, 1).

    Returns:
        One term, a mean over the pairs kept; rewards are beta x log-ratio, with the unadapted beta; the
        metric `beta` is b.

    References:
        Wu et al. 2024, arXiv 2407.08639, and the code of junkangwu/beta-DPO.

    Differs from:
        In the code, averages start at 0 without correction and are also updated in evaluation, and each
        process samples separately and divides by its own number of kept pairs. In the paper D includes beta,
        in its code it does not.
    """
    chosen, rejected = pair_of(log_ratio(policy, reference))
    adapted_beta = float(statistics["beta"]) or beta  # the state is 0 before the first batch
    values = -logsigmoid(adapted_beta * (chosen - rejected))
    keep = statistics.get("keep", torch.ones_like(values))  # [B]; all in evaluation, where nothing is sampled
    return output(
        Term(values * keep, keep),  # over the pairs kept, not over all
        rewards=beta * log_ratio(policy, reference),
        metrics={"beta": torch.as_tensor(adapted_beta)},
    )


def observe_beta_dpo(
    state: State,
    policy: Logps,
    reference: Logps,
    seeds: Tensor,
    *,
    beta: float,
    a: float,
    filter_fraction: float,
    momentum: float,
) -> tuple[State, Rows]:
    """Update the moving averages of D, sample the pairs to keep, and adapt beta to them."""
    chosen, rejected = pair_of(log_ratio(policy, reference))
    gaps = chosen - rejected
    state = moved(state, gaps, momentum, noise=rounding(policy, of_means=False))
    mean, std = moments(state, momentum)
    keep = _sample(standardized(gaps, mean, std), seeds.to(gaps.device), filter_fraction)  # bool [N]
    if float(state["steps"]) and keep.any():
        adapted_beta = beta * (1.0 + a * (float(gaps[keep].mean()) - mean))
        state["beta"] = torch.tensor(max(adapted_beta, LEAST_BETA), dtype=torch.float64)
    return state, {"keep": keep.to(gaps.dtype)}


def amapo(policy: Logps, statistics: dict[str, Tensor], *, beta: float) -> LossOutput:
    """AMaPO: SimPO with a margin for the pairs whose difference is below the mean of the batch.

    loss = -log sigmoid(beta (g - margin)),  g = m_chosen - m_rejected
    margin = exp((mean(g) - g) / std(g) x mean(g)) where g < mean(g), else 0

    No gradient flows through the margin. Mean and standard deviation are those of the current global batch,
    also in evaluation; the exponent is clamped at 80. A batch of one pair, or of pairs that differ only by
    rounding as defined for alpha-DPO, has no margin.

    Args:
        policy: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).
        statistics: per row its "margin".
        beta: scale of the mean log-probs, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x mean log-prob; the metric `adaptive_margin` is the mean
        margin.

    References:
        arXiv 2511.09385 (2025), and the code of Shiroha-Offical/AMaPO.
    """
    rewards = beta * policy.mean  # [B, 2]
    chosen, rejected = pair_of(rewards)
    margin = statistics["margin"]
    return output(
        set_mean(-logsigmoid(chosen - rejected - beta * margin)),
        rewards=rewards,
        metrics={"adaptive_margin": margin.mean()},
    )


def observe_amapo(state: State, policy: Logps, reference: Logps | None) -> tuple[State, Rows]:
    """Compute the margin of each row."""
    chosen, rejected = pair_of(policy.mean)
    gaps = chosen - rejected
    spread = gaps.std() if len(gaps) > 1 else gaps.new_zeros(())
    if not spread > rounding(policy, of_means=True):  # NaN too has no margin
        return state, {"margin": torch.zeros_like(gaps)}
    mean = gaps.mean()
    # Clamped before exp, because one pair far below the mean would make the whole loss infinite.
    margin = torch.exp(((mean - gaps) / spread * mean).clamp(max=LARGEST_EXPONENT))
    return state, {"margin": torch.where(gaps < mean, margin, 0.0)}


def _of_means(length_normalized: bool, margin_reduction: str) -> bool:
    return length_normalized if margin_reduction == "same" else margin_reduction == "mean"


def disagreement(
    policy: Logps,
    reference: Logps,
    *,
    implicit_reference: str,
    length_normalized: bool,
    margin: str,
    margin_reduction: str,
) -> Tensor:
    """Compute M of `alpha_dpo` for each row, [B], by its keywords; gradient flows to the policy only."""
    of_means = _of_means(length_normalized, margin_reduction)
    if margin == "token_kl":
        assert policy.token_kl is not None, "checked, because the table's row needs it"
        divergence = policy.token_kl
        if of_means:
            divergence = divergence / policy.length.clamp(min=1)
        chosen, rejected = pair_of(divergence)
        return rejected - chosen
    # Detached, because no gradient flows into the reference.
    own, other = (pair_of(_size(logps, of_means)) for logps in (policy, reference.detach()))
    of_policy, of_reference = own[0] - own[1], other[0] - other[1]
    return {
        "ratio": of_policy - of_reference,
        "policy": of_policy,
        "reference": of_reference,
        "inverse_reference": -of_reference,
    }[implicit_reference]


def _size(logps: Logps, of_means: bool) -> Tensor:
    """Return log-probs per token or per completion, nats, `[B, K]`."""
    return logps.mean if of_means else logps.sum


def _sample(standard: Tensor, seeds: Tensor, fraction: float) -> Tensor:
    """Sample N (1 - fraction) rows, rounded down, at least one, without replacement; bool [N].

    The weight of a row is exp(-z^2 / 2); the largest log-weights plus Gumbel noise are a sample by them.
    """
    noise = -torch.log(-torch.log(uniform(seeds, 1, KEEP_SALT)[:, 0]))  # [N], Gumbel
    count = max(1, int(len(standard) * (1.0 - fraction) + 1e-9))  # 20 x (1 - 0.9) is 1.99... in floats
    indices = (noise - 0.5 * standard.double() ** 2).topk(min(count, len(standard))).indices
    return torch.zeros_like(standard, dtype=torch.bool).scatter(0, indices, True)
