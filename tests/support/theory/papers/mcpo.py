"""MC-PO's section of docs/theory.md."""

from __future__ import annotations

from math import log

from support.theory.mcpo_estimate import (
    best_of,
    bias,
    bias_of_drawn,
    bias_without_replacement,
    exact,
    expected_loss,
    least,
    likelihood,
)
from support.theory.mcpo_kernel import (
    EVERY,
    chosen_drawn,
    divergence_gradient,
    drawn_gradient,
    effective,
    objective_gradient,
    pushes,
    shared_token,
    transition,
)
from support.theory.space import (
    BETA,
    PROPOSAL,
    REFERENCE,
    TARGET,
    THETA,
    losses,
    model,
    slopes,
    sums,
    total_variation,
)
from support.theory.statement import Paper, Statement


def numbers() -> dict[str, float]:
    """Compute the numbers of the section."""
    return _of_the_objective() | _of_the_gradient() | _of_the_kernel() | _of_negatives()


def _of_the_objective() -> dict[str, float]:
    target, rest = TARGET.softmax(0), least().softmax(0)
    found = {f"gap_{m}": float(expected_loss(THETA, m) - log(m + 1) - likelihood(THETA)) for m in (1, 4, 16)}
    found |= {f"start_{m}": float(losses("rnce", REFERENCE, EVERY[:, : m + 1], beta=BETA)) for m in (1, 4)}
    return found | {
        "policy_best": float(rest[0]),
        "target_best": float(target[0]),
        "policy_off": total_variation(rest, target),
    }


def _of_the_gradient() -> dict[str, float]:
    policy, flat = THETA.softmax(0), model(beta=0.01)
    firsts = {"policy": policy, "target": TARGET.softmax(0), "best": best_of(6)}
    found = {f"{name}_{m}": bias(first, m) for name, first in firsts.items() for m in (1, 2, 3)}
    found |= {f"distinct_{m}": bias_without_replacement(m) for m in (2, 3)}
    found |= {f"drawn_{m}": bias_of_drawn(m) for m in (2, 3)}
    return found | {
        "exact": float(exact().norm()),
        "p_policy": total_variation(model(), policy),
        "flat_mu": total_variation(flat, PROPOSAL.softmax(0)),
        "flat_policy": total_variation(flat, policy),
    }


def _of_the_kernel() -> dict[str, float]:
    found = {f"drawn_at_{nats}": chosen_drawn(nats, 0.1) for nats in (0, 10, 50)}
    found |= {f"effective_{nats}": effective(nats, 0.01) for nats in (10, 50)}
    for count in (1, 2, 3):
        found[f"moved_{count}"] = total_variation(model() @ transition(count, include_chosen=False), model())
    full, drawn = objective_gradient(), drawn_gradient(include_chosen=False)
    found["push_all"], found["push_pair"] = pushes(50.0, 0.1)
    return found | {
        "cosine": float(full @ drawn / (full.norm() * drawn.norm())),
        "norm_full": float(full.norm()),
        "norm_drawn": float(drawn.norm()),
        "norm_literal": float(divergence_gradient(include_chosen=False).norm()),
    }


def _of_negatives() -> dict[str, float]:
    coefficients, norms = shared_token()
    found = {
        f"flat_{nats}": -float(slopes("rnce", *sums([[0.0, nats]]), beta=0.01)[0, 0]) / 0.01
        for nats in (10, 50)
    }
    return found | {
        "near": float(coefficients[0]),
        "far": float(coefficients[1]),
        "near_norm": float(norms[0]),
        "far_norm": float(norms[1]),
    }


PAPER = Paper(
    title='MC-PO: "Preference Optimization via Contrastive Divergence: Your Reward Model is Secretly an NLL '
    'Estimator"',
    tests="tests/theory/test_mcpo.py",
    setting=f"""\
A prompt with five completions; policy, reference, mu and pi\\* are softmaxes of fixed logits, beta is
{BETA} unless something else is said, r is the log-ratio log pi / pi_ref, and p is the paper's model,
proportional to mu exp(beta r). Gradients are by the policy's five logits, biases the norm of the
difference from the exact gradient. Every expectation is a sum over all cases.""",
    numbers=numbers,
    statements=(
        Statement(
            "Proposition 2.1 (section 2.3)",
            "With y_0 ~ pi\\* and M noisy samples of mu, RNCE approximates the NLL estimation (equation 7).",
            "holds",
            "the minimum is where the model p is pi\\*, which the policy then is not",
            """\
exp(-loss) of `rnce` is the posterior of A.2, the chance that y_0 is the observation among the M + 1. The
loss less log(M + 1) exceeds the NLL on average by {gap_1:.3f} with M = 1, {gap_4:.3f} with 4,
{gap_16:.3f} with 16. The minimum is p = pi\\* with any M: the mean gradient is 0 there. With M = 1 it is
`dpo`.""",
            """\
What is estimated is p. Where p = pi\\*, the policy is pi_ref (pi\\* / mu)^(1 / beta): here it gives the
best completion {policy_best:.3f} where pi\\* gives it {target_best:.3f}, and is {policy_off:.3f} away in
total variation; at pi = pi\\* the gradient is not 0. The two agree if mu is proportional to pi_ref^beta
pi\\*^(1 - beta), for beta 1 if mu = pi_ref. The factor 1 / (M + 1) cancels in the gradient of the loss,
not "of log L": at the start the loss is log(M + 1), {start_1:.3f} with M = 1 and {start_4:.3f} with 4.""",
            (
                "test_proposition_2_1_rnce_is_the_posterior_of_the_observation",
                "test_proposition_2_1_the_mean_loss_approaches_the_likelihood",
                "test_proposition_2_1_the_model_and_not_the_policy_becomes_the_target",
                "test_proposition_2_1_one_negative_is_dpo",
            ),
        ),
        Statement(
            "Algorithm 1 (section 3.1)",
            "The MC kernel draws y_z by w_0, ..., w_L, the softmax of beta r over y_0 and L samples of mu.",
            "holds",
            "the kernel leaves p as it is, but only with y_0 among the candidates",
            """\
p is the stationary distribution of the kernel with any L: one step from y_0 ~ p is again distributed as
p. That is why proposition 3.3 holds.""",
            """\
Without y_0 ("over all L samples" of the text, and pairkit's default) it is not: one step from p ends
{moved_1:.3f}, {moved_2:.3f}, {moved_3:.3f} away from it with L = 1, 2, 3. With y_0 (`include_chosen`) a
set that draws it has no gradient, and training stops itself: with five equal negatives and beta 0.1 the
chance is {drawn_at_0:.3f} at the start, {drawn_at_10:.3f} with y_0 10 nats ahead, {drawn_at_50:.3f} with
50. At the paper's beta 0.01 the weights hardly differ: of five negatives whose log-ratios are 10 nats
from each other, exp(entropy) is {effective_10:.2f}, and {effective_50:.2f} with 50 nats.""",
            (
                "test_algorithm_1_leaves_the_model_as_it_is",
                "test_algorithm_1_draws_the_chosen_more_often_as_it_rises",
                "test_algorithm_1_is_nearly_uniform_at_the_beta_of_the_paper",
                "test_algorithm_1_is_what_the_sampler_draws_by",
            ),
        ),
        Statement(
            "Lemma 3.1 (section 3.1)",
            "When CD runs the chain for only a single step, it shares the same objective function with RNCE.",
            "holds with a condition",
            "on average over the drawn y', with y_0 among the candidates; MC-PO trains on something else",
            """\
The average of equation 8's gradient, -beta r(y_0) + beta r(y'), over y' of one step of algorithm 1 is the
gradient of `rnce` on the same candidates. The loss `contrastive_divergence` has it.""",
            """\
Without y_0 among the candidates it is that of -beta r(y_0) + log of the sum over the negatives alone,
which has no minimum: its push on y_0 is 1 however far y_0 is ahead, where that of `rnce` is
{push_all:.3f} at 50 nats ahead of five negatives (beta 0.1). And MC-PO as trained, equation 7 on the
drawn y', weighs the negative twice, by the kernel and by the softmax of the pair: its push there is
{push_pair:.3f}. On the five completions the average gradients have norms {norm_full:.3f} (`rnce` on all),
{norm_drawn:.3f} (`mcpo` on a drawn one) and {norm_literal:.3f} (equation 8 without y_0); the cosine of
the first two is {cosine:.3f}.""",
            (
                "test_lemma_3_1_one_step_of_divergence_is_rnce_on_average",
                "test_lemma_3_1_contrastive_divergence_is_that_gradient",
                "test_lemma_3_1_without_the_chosen_the_push_never_ends",
                "test_lemma_3_1_mcpo_weighs_a_drawn_negative_twice",
            ),
        ),
        Statement(
            "Lemma 3.2 (section 3.1)",
            "With M = 1 the gradient is -beta sigma(beta r(y_1) - beta r(y_0)) grad(r(y_0) - r(y_1)).",
            "holds",
            "the formula; that a harder negative has the larger gradient does not follow",
            "The gradients of `rnce`, `mcpo` and `dpo` are this on all 20 pairs.",
            """\
"This results in a larger gradient magnitude" is true of the coefficient alone. Of two tokens, a negative
that shares y_0's first has the larger coefficient, {near:.3f} against {far:.3f}, and the smaller
gradient, {near_norm:.3f} against {far_norm:.3f}, since nothing is learned of what both share. At the
paper's beta 0.01 the coefficient hardly varies: {flat_10:.3f} for a negative 10 nats ahead, {flat_50:.3f}
for 50, 0.5 for none.""",
            (
                "test_lemma_3_2_the_gradient_of_a_pair",
                "test_lemma_3_2_a_harder_negative_may_have_a_smaller_gradient",
            ),
        ),
        Statement(
            "Proposition 3.3 and lemma A.1 (section 3.2)",
            "When y_0 is sampled from p, the mean gradient of log Z-hat is the gradient of log Z.",
            "holds",
            "only for y_0 ~ p and independent noise: the policy, which OnMC-PO samples, is not p",
            "Exact (1e-12) with y_0 ~ p, for M = 1, 2, 3. So is the marginal of lemma A.1.",
            """\
OnMC-PO takes y_0 from the policy, the best of six: p is not the policy, from which it is {p_policy:.3f}
away in total variation; at the paper's beta 0.01 it is {flat_mu:.3f} from mu and {flat_policy:.3f} from
the policy. Bias with M = 1, 2, 3, where the exact gradient has norm {exact:.3f}:

| y_0 sampled from | M = 1 | M = 2 | M = 3 |
|---|--:|--:|--:|
| p | 0 | 0 | 0 |
| the policy | {policy_1:.3f} | {policy_2:.3f} | {policy_3:.3f} |
| the best of six of the policy | {best_1:.3f} | {best_2:.3f} | {best_3:.3f} |
| pi\\* (offline) | {target_1:.3f} | {target_2:.3f} | {target_3:.3f} |
| p, negatives all different | 0 | {distinct_2:.3f} | {distinct_3:.3f} |
| p, one negative drawn by the kernel from M | 0 | {drawn_2:.3f} | {drawn_3:.3f} |

The policy's own samples are unbiased for beta 1 and mu = pi_ref, where p is the policy. The last two rows
are pairkit's defaults for M > 1 and for `mcpo`: the proposition is about `rnce` with independent
negatives.""",
            (
                "test_proposition_3_3_the_gradient_is_unbiased_for_samples_of_the_model",
                "test_proposition_3_3_the_gradient_is_biased_for_other_samples",
                "test_proposition_3_3_at_beta_1_with_the_reference_as_proposal_the_policy_is_the_model",
                "test_lemma_a_1_the_marginal_of_the_samples",
            ),
        ),
    ),
)
