"""Losses on a pair whose margin, beta or selection follows statistics of the global batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pairkit.losses.logistic import LARGEST_EXPONENT
from pairkit.losses.sampling import uniform
from pairkit.losses.spec import Rows, State
from pairkit.losses.statistics import moments, moved, rounding, standardized
from pairkit.losses.types import Logps, LossOutput, Term, log_ratio, output, pair_of, set_mean

LEAST_BETA = 1e-3
# A KL is of second order in the rounding of the log-probs; what is left is that of its own sum, in float32.
KL_ROUNDING = 2.0**-23
KEEP_SALT = -1  # the noise of the negatives' draws has the salts from 0


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
    alpha_scale: str,
    momentum: float,
    stats: str,
) -> LossOutput:
    """alpha-DPO: SimPO with a margin for each pair, by how far policy and reference part on it.

    loss = -log sigmoid(beta (m_chosen - m_rejected - ratio - alpha M*))
    M* = (M - mean(M)) / std(M),  M = (m_chosen - m_rejected) - (m_ref,chosen - m_ref,rejected)

    A pair that the policy already tells apart better than the reference gets a larger margin. The mean and
    standard deviation of M are moving averages over global batches, one update an optimizer step, corrected
    for their start at 0, kept in checkpoints and frozen in evaluation. A batch says nothing, and changes
    nothing, if it is of one pair or M differs between its pairs by no more than bfloat16's rounding, 2^-8 of
    m over the root of the length, as at the first step, where policy and reference are the same; before any
    other M* is 0.
    alpha 0 is SimPO; alpha 1 is not DPO, contrary to what the paper says.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).
        statistics: "steps", "mean", "std" of M.
        beta: scale of the mean log-probs, > 0.
        gamma_beta_ratio: the margin that every pair has, in units of mean log-prob.
        alpha: weight of M*; 0.01 to 0.2 is what was searched.
        implicit_reference: what M compares: "ratio" policy with reference, "policy" the policy's two
            completions alone, "reference" the reference's, "inverse_reference" the negative of that.
        normalize: whether M is standardized; if not, M stands for M*.
        stop_gradient: whether M* is a constant; if not, gradient flows through M, not through its statistics.
        length_normalized: whether m is a mean over tokens; if not, a sum, in M as well.
        margin: "sequence" for the M above; "token_kl" for M = KL_rejected - KL_chosen, the token KLs of TDPO,
            which leaves `implicit_reference` without use.
        alpha_scale: "code" multiplies alpha M* by beta, as above; "paper" does not.
        momentum: weight of the past in the moving averages, in [0, 1).
        stats: "corrected"; or "official", the averages of the paper's code: from 0 without correction,
            updated by every call, in evaluation too.

    Returns:
        One term, a mean over sets; rewards are beta x log-ratio, of sums; the metric `adaptive_margin` is the
        mean of ratio + alpha M*.

    References:
        Wu et al. 2024, arXiv 2410.10148, equations 10 and 12, table 2 and appendix C.4.

    Differs from:
        The paper's equation 12 does not multiply alpha M* by beta, its code does, and the published alphas
        are the code's. The paper leaves open whether M is of means or of sums, its code has means. The paper
        takes mean and deviation over the training set, its code moving averages over gathered micro-batches
        that start at 0, which makes the first M* up to ten times too large; with a deviation of 0 it divides
        by it, where "official" here has M* = 0, and leaves out single pairs. Rounding counts in "official".
    """
    shift = _disagreement(policy, reference, implicit_reference, length_normalized, margin)
    shift = shift.detach() if stop_gradient else shift
    if normalize:
        mean, std = moments(statistics, momentum, corrected=stats == "corrected")
        shift = standardized(shift, mean, std)
    target = gamma_beta_ratio + (alpha if alpha_scale == "code" else alpha / beta) * shift
    chosen, rejected = pair_of(_size(policy, length_normalized))
    return output(
        set_mean(-logsigmoid(beta * (chosen - rejected - target))),
        rewards=beta * log_ratio(policy, reference),
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
    momentum: float,
    stats: str,
) -> tuple[State, Rows]:
    """Moves the averages of M; a row's own M is the function's to compute."""
    shift = _disagreement(policy, reference, implicit_reference, length_normalized, margin)
    noise = rounding(policy, of_means=length_normalized)
    if margin == "token_kl":
        noise = KL_ROUNDING * float(_size(policy, length_normalized).abs().mean())
    return moved(state, shift, momentum, noise=noise if stats == "corrected" else 0.0), {}


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
    """beta-DPO: DPO with a beta for each batch, on the pairs that do not stand out of it.

    loss = -log sigmoid(b D) for the pairs kept,  b = max(0.001, beta (1 + a (mean of D kept - mean(D))))

    D = log-ratio(chosen) - log-ratio(rejected), a constant in b. N (1 - filter_fraction) of the N pairs of a
    global batch are drawn without replacement, with weights exp(-((D - mean(D)) / std(D))^2 / 2); the others
    have no loss in this step. Mean and standard deviation are moving averages, as alpha-DPO's: a batch of one
    pair, or in which D is rounding, as at the first step, changes nothing. In evaluation no pair is filtered,
    and b is the last one of training. Before the first batch that counts b is beta, and pairs are drawn with
    equal weights. `a` multiplies nats of log-ratio, not of reward, which is beta times smaller.

    Args:
        policy, reference: sums over completion tokens, nats, [B, 2].
        statistics: "steps", "mean", "std" of D, the last b as "beta"; of each row, 1 as "keep" if it is kept.
        beta: weight of the KL term before it is adapted, > 0.
        a: how far beta follows the batch, per nat, >= 0.
        filter_fraction: share of the pairs that is left out, in [0, 1).
        momentum: weight of the past in the moving averages, in [0, 1).

    Returns:
        One term, a mean over the pairs kept; rewards are beta x log-ratio, of the beta given; the metric
        `beta` is b.

    References:
        Wu et al. 2024, arXiv 2407.08639, and the code of junkangwu/beta-DPO.

    Differs from:
        The code's averages start at 0 without correction and move in evaluation too. Each of its processes
        draws for itself and divides by its own number of pairs kept. In the paper D includes beta, in its
        code it does not.
    """
    chosen, rejected = pair_of(log_ratio(policy, reference))
    adapted = float(statistics["beta"]) or beta  # 0 before the first batch
    values = -logsigmoid(adapted * (chosen - rejected))
    keep = statistics.get("keep", torch.ones_like(values))
    return output(
        Term(values * keep, keep),
        rewards=beta * log_ratio(policy, reference),
        metrics={"beta": torch.as_tensor(adapted)},
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
    """Moves the averages of D, draws the pairs that are kept, and sets beta by these."""
    chosen, rejected = pair_of(log_ratio(policy, reference))
    gaps = chosen - rejected
    state = moved(state, gaps, momentum, noise=rounding(policy, of_means=False))
    mean, std = moments(state, momentum)
    keep = _draw(standardized(gaps, mean, std), seeds.to(gaps.device), filter_fraction)
    if float(state["steps"]) and keep.any():
        adapted = beta * (1.0 + a * (float(gaps[keep].mean()) - mean))
        state["beta"] = torch.tensor(max(adapted, LEAST_BETA), dtype=torch.float64)
    return state, {"keep": keep.to(gaps.dtype)}


def amapo(policy: Logps, statistics: dict[str, Tensor], *, beta: float) -> LossOutput:
    """AMaPO: SimPO with a margin for the pairs whose own difference is below the batch's mean.

    loss = -log sigmoid(beta (g - margin)),  g = m_chosen - m_rejected
    margin = exp((mean(g) - g) / std(g) x mean(g)) where g < mean(g), else 0

    The margin is a constant to the gradient. Mean and standard deviation are of the global batch alone,
    without memory, in evaluation too; the exponent is held at 80. In a batch of one pair, or of pairs that
    differ by rounding alone, as alpha-DPO has it, there is no margin.

    Args:
        policy: sums over completion tokens, nats, [B, 2]; divided by `length` here (m).
        statistics: of each row its "margin".
        beta: scale of the mean log-probs, > 0.

    Returns:
        One term, a mean over sets; rewards are beta x mean log-prob; the metric `adaptive_margin` is the mean
        margin.

    References:
        arXiv 2511.09385 (2025), and the code of Shiroha-Offical/AMaPO.
    """
    rewards = beta * policy.mean
    chosen, rejected = pair_of(rewards)
    margin = statistics["margin"]
    return output(
        set_mean(-logsigmoid(chosen - rejected - beta * margin)),
        rewards=rewards,
        metrics={"adaptive_margin": margin.mean()},
    )


def observe_amapo(state: State, policy: Logps, reference: Logps | None) -> tuple[State, Rows]:
    """The margin of each row."""
    chosen, rejected = pair_of(policy.mean)
    gaps = chosen - rejected
    spread = gaps.std() if len(gaps) > 1 else gaps.new_zeros(())
    if not spread > rounding(policy, of_means=True):
        return state, {"margin": torch.zeros_like(gaps)}
    mean = gaps.mean()
    margin = torch.exp(((mean - gaps) / spread * mean).clamp(max=LARGEST_EXPONENT))
    return state, {"margin": torch.where(gaps < mean, margin, 0.0)}


def _disagreement(
    policy: Logps, reference: Logps, implicit_reference: str, length_normalized: bool, margin: str
) -> Tensor:
    """M of each row, [B]; gradient flows to the policy alone."""
    if margin == "token_kl":
        assert policy.token_kl is not None, "the table's row needs it"
        divergence = policy.token_kl
        if length_normalized:
            divergence = divergence / policy.length.clamp(min=1)
        chosen, rejected = pair_of(divergence)
        return rejected - chosen
    own, other = (pair_of(_size(logps, length_normalized)) for logps in (policy, reference.detach()))
    of_policy, of_reference = own[0] - own[1], other[0] - other[1]
    return {
        "ratio": of_policy - of_reference,
        "policy": of_policy,
        "reference": of_reference,
        "inverse_reference": -of_reference,
    }[implicit_reference]


def _size(logps: Logps, length_normalized: bool) -> Tensor:
    return logps.mean if length_normalized else logps.sum


def _draw(standard: Tensor, seeds: Tensor, fraction: float) -> Tensor:
    """bool [N]: N (1 - fraction) rows, rounded down, at least one, without replacement.

    A row weighs exp(-z^2 / 2); taking the largest of log-weight + Gumbel noise draws by these weights.
    """
    noise = -torch.log(-torch.log(uniform(seeds, 1, KEEP_SALT)[:, 0]))
    count = max(1, int(len(standard) * (1.0 - fraction) + 1e-9))  # 20 x (1 - 0.9) is 1.99... in floats
    kept = (noise - 0.5 * standard.double() ** 2).topk(min(count, len(standard))).indices
    return torch.zeros_like(standard, dtype=torch.bool).scatter(0, kept, True)
