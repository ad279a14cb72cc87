"""alpha-DPO's section of docs/theory.md."""

from __future__ import annotations

from math import exp

import torch
from support.theory.alpha_bound import SCALE, adapted, corrected, epsilon, in_space, largest, online, spread
from support.theory.alpha_reference import (
    deviation,
    factor,
    margin,
    margins,
    sequences,
    uniform,
    whole_reference,
)
from support.theory.statement import Paper, Statement

LLAMA_3 = 128_256  # tokens of its vocabulary


def numbers() -> dict[str, float]:
    """Compute the numbers of the section."""
    return _of_the_reference() | _of_the_bound() | _of_the_margin()


def _of_the_reference() -> dict[str, float]:
    lengths = torch.tensor([[220, 200]])
    through, _ = whole_reference(stop_gradient=False)
    return {
        "gamma": float(margin(uniform(lengths, (LLAMA_3, LLAMA_3)), 2.5)),
        "ratio": exp(0.55),
        "at_1": through,
        "at_1_slope": whole_reference(stop_gradient=True)[1],
        "deviation": deviation(),
        "small": factor(0.05),
        "large": factor(0.2),
    }


def _of_the_bound() -> dict[str, float]:
    pairs = in_space()
    found = {f"sums_{-a}": largest(spread(a, 16.0)) for a in (0, -2, -4)}
    for alpha, name in ((0.01, "01"), (0.1, "10")):
        found[f"off_{name}"] = abs(corrected(pairs, alpha) - adapted(pairs, alpha))
        found[f"bound_{name}"] = epsilon(pairs, alpha)
    found["scaled"] = abs(corrected(pairs, 0.01) - adapted(pairs, 0.01 * SCALE))
    found["online"], _, found["corrected"] = online(0.1)
    return found | {"adapted": adapted(pairs, 0.1), "means": largest(spread(0, 0.16))}


def _of_the_margin() -> dict[str, float]:
    ratios, divergences, chances = sequences()
    delta, m = margins()
    clear = delta.abs() > 1e-12
    return {
        "divergence": float(chances @ divergences),
        "ratio_mean": float(chances @ -ratios),
        "least": float((-ratios).min()),
        "most": float((-ratios).max()),
        "least_kl": float(divergences.min()),
        "most_kl": float(divergences.max()),
        "clear": int(clear.sum()),
        "opposite": int((delta * m < 0)[clear].sum()),
        "apart": float((delta - m).abs().max()),
    }


PAPER = Paper(
    title='alpha-DPO: "alpha-DPO: Adaptive Reward Margin is What Direct Preference Optimization Needs"',
    tests="tests/theory/test_alpha_dpo.py",
    setting="""\
A is beta (m_w - m_l) - gamma with means over tokens, B the difference of the two summed log-ratios, as in
the lemma. "The five completions" are those of MC-PO's section, with lengths of 3 to 7 tokens, beta 2 and
gamma 0.5.""",
    numbers=numbers,
    statements=(
        Statement(
            "Theorem 3.1 (section 3.1)",
            "With a uniform distribution over the vocabulary for pi_ref, DPO is SimPO; gamma is a constant.",
            "does not hold as printed",
            "gamma depends on the lengths; for means it is 0, or a ratio of two vocabularies",
            """\
`dpo` with U(y) = \\|V\\|^-\\|y\\| is `simpo` of sums with gamma = beta log\\|V\\| (\\|y_l\\| -
\\|y_w\\|). `dpo_norm` with it is `simpo` with gamma 0. If chosen texts are uniform over V_w and rejected
ones over V_l, as the proof's "distinct subsets of the vocabulary" may be read, `dpo_norm` is `simpo` with
the constant gamma = beta log(\\|V_l\\| / \\|V_w\\|).""",
            """\
Of sums, gamma is no constant, with distinct subsets neither: with Llama 3's vocabulary and beta 2.5, a
chosen text of 220 and a rejected one of 200 tokens it is {gamma:.0f}. Of means, it takes a reference that
knows which text is the chosen one: gamma / beta 0.55 means that rejected texts are written with
{ratio:.2f} times as many tokens. And no reference gives three ranked completions one gamma but 0, because
those of (1, 2) and (2, 3) add up to that of (1, 3).""",
            (
                "test_theorem_3_1_a_uniform_reference_gives_a_margin_of_lengths",
                "test_theorem_3_1_of_means_it_gives_no_margin",
                "test_theorem_3_1_distinct_subsets_give_a_constant_for_means_only",
                "test_theorem_3_1_margins_of_ranked_completions_add_up",
            ),
        ),
        Statement(
            "Equation 8, alpha = 1 (section 3.2)",
            "When alpha = 1, pi-hat_ref incorporates the ratio between policy and reference as in DPO.",
            "does not hold as printed",
            "at alpha 1 the policy cancels; DPO is the reference pi_ref^1 of table 2",
            """\
alpha 0 is `simpo`. With `implicit_reference=reference`, alpha 1, gamma 0 and sums, `alpha_dpo` is `dpo`.""",
            """\
With the ratio, alpha 1 and no z-score, the loss is -log sigma(beta (log ref_w - log ref_l) - gamma),
whatever the policy: {at_1:.3f} on a pair with reference log-probs -42 and -44, beta 0.1, gamma 0. Without
stop-gradient its gradient is 0; with it, the slope by the chosen log-prob is {at_1_slope:.3f} for ever.""",
            (
                "test_equation_8_at_alpha_0_is_simpo",
                "test_equation_8_at_alpha_1_loses_the_policy",
                "test_equation_8_with_the_reference_alone_is_dpo_at_alpha_1",
            ),
        ),
        Statement(
            "Equations 9, 10 and 12 (section 3.2)",
            "The logit is beta log(pi_w / pi_l) - [gamma + alpha M], then u - sg[gamma + alpha M\\*].",
            "holds",
            "as definitions; `alpha_scale` matters with the z-score only, rewards are u",
            """\
`alpha_dpo` with `normalize=false` is equation 9 with 10 in both values of `alpha_scale`, since the beta
of M stays; with the z-score "paper" is equation 12, and "code" multiplies alpha by beta as the paper's
code does. Its rewards are u, beta times means.""",
            "Equation 10's M is of sums, equation 12's u of means: `margin_reduction=sum` is that reading.",
            (
                "test_equation_9_has_the_same_scale_in_paper_and_code",
                "test_equation_12_is_the_scale_of_the_paper",
                "test_equation_12_rewards_are_u",
            ),
        ),
        Statement(
            "The stop-gradient (section 3.2, table 2)",
            "A stop-gradient on pi-hat_ref is applied, so that it stays a fixed reference.",
            "holds",
            "without it every gradient is multiplied by 1 - alpha / std(M)",
            """\
Without stop-gradient the gradient of `alpha_dpo` is that with it times 1 - alpha / std(M) (code scale).
With std(M) {deviation:.4f} nats per token that is {small:+.2f} at alpha 0.05 and {large:+.2f} at 0.2.""",
            """\
Nothing is said of std(M). Where it is below alpha, as at the start of every run, the loss pulls pairs
apart the wrong way: that is what table 2's collapse at alpha 0.2 can come from.""",
            ("test_stop_gradient_the_factor_without_it",),
        ),
        Statement(
            "Lemma 4.2 (section 4.1)",
            "For any policy there is a small alpha > 0 with \\|L_online - L\\| <= epsilon(alpha).",
            "does not hold as printed",
            "fails for every alpha where the policy separates all pairs better than the reference",
            """\
log sigma(A) + 1 - sigma(A) <= 0 for every A, so that L1 - L2 starts with the slope of alpha times the
mean of B |log sigma(A) + 1 - sigma(A)|. If B has both signs, its size is less than the bound's, and the
bound holds up to some alpha. With A = 0, -2, -4 and B of a standard deviation of 16 nats (sums) that is
{sums_0:.3f}, {sums_2:.3f}, {sums_4:.3f}; with B of means over 100 tokens (0.16 nats) it is {means:.1f} at
A = 0. C is the same for all completions if pi_old is normalized, so that C(y_w) / C(y_l) = 1 exactly.""",
            """\
If no B is below 0, which is what training aims at, and not all are 0, the slope is the bound's own and
the curvature is positive: L1 - L2 > epsilon for every alpha > 0. On the five completions \\|L1 - L2\\| is
{off_01:.5f} against a bound of {bound_01:.5f} at alpha 0.01, {off_10:.4f} against {bound_10:.4f} at 0.1.
The tuned alpha 0.2 is beyond the limits above. Nor is L1 the online loss: equation 16 inverts the
rejected completion's, and with alpha 0.1 the online loss (equation 13, and 14 with 15) is {online:.4f},
14 with 16 {corrected:.4f}, alpha-DPO {adapted:.4f}. And the lemma's loss lacks equation 9's beta:
with it the difference at alpha 0.01 is {scaled:.5f}.""",
            (
                "test_lemma_4_2_holds_up_to_some_alpha_where_b_has_both_signs",
                "test_lemma_4_2_fails_for_every_alpha_where_all_pairs_are_separated",
                "test_lemma_4_2_scales_with_the_unit_of_b",
                "test_lemma_4_2_is_not_about_the_online_loss",
                "test_lemma_4_2_lacks_the_beta_of_equation_9",
            ),
        ),
        Statement(
            "Lemma 4.3 (section 4.2)",
            "delta, the difference of sequential KL, is approximately M, the difference of log-ratios.",
            "does not hold as printed",
            "equal on average over samples of the reference, of no common sign on pairs",
            """\
The mean of the sequential KL over sequences of the reference is the mean of log(pi_ref / pi),
{divergence:.4f} and {ratio_mean:.4f} nats, two tokens out of three.""",
            """\
For one sequence it is not: sequential KLs lie in {least_kl:.2f} to {most_kl:.2f}, log(pi_ref / pi) in
{least:.2f} to {most:.2f} nats. Of the {clear} ordered pairs with delta other than 0, {opposite} have
delta and M of opposite signs; they are up to {apart:.2f} apart (beta 1). A.3 has a line with the wrong
sign, which the next one turns around without a reason.""",
            (
                "test_lemma_4_3_holds_on_average_over_the_reference",
                "test_lemma_4_3_fails_on_pairs",
                "test_lemma_4_3_delta_is_the_margin_of_tdpo",
            ),
        ),
    ),
)
