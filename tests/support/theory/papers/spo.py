"""SPO's section of docs/theory.md."""

from __future__ import annotations

from math import exp

from support.theory.pairwise import (
    aligned,
    bent,
    bradley_terry_gradient,
    slope,
    smoothed_optimum,
    value,
    well,
)
from support.theory.statement import Paper, Statement


def numbers() -> dict[str, float]:
    """Compute the numbers of the section."""
    found = {f"well_{z}": well(z) for z in (2, 3, 5, 10)}
    common = {"beta": 0.1, "alpha": 0.2}
    for name, keywords in {"spo": {"alpha": 0.0}, "dpo": {}}.items():
        found[f"{name}_wrong"] = -slope(name, -50.0, 0.0, beta=0.1, **keywords)[0]
    return found | {
        "optimum": value("spo", 5.0, -5.0, **common),
        "printed": value("spo", 5.0, 5.0, **common),
        "other_sign": value("spo", 15.0, 5.0, **common),
        "defaults": value("spo", 0.0, 10.0, beta=0.1, alpha=0.1),
        "bent_1": bent(1.0),
        "bent_3": bent(3.0),
        "least": -exp(-1),
        "ipo_wrong": -slope("ipo", -50.0, 0.0, beta=0.05, reduction="sum")[0],
        "ipo_above": value("ipo", 50.0, 0.0, beta=0.05, reduction="sum"),
        "ipo_below": value("ipo", -50.0, 0.0, beta=0.05, reduction="sum"),
        "smoothed": smoothed_optimum(0.1),
        "rlhf_spo": float(bradley_terry_gradient("spo", aligned(0.5), beta=0.5, alpha=0.5).norm()),
        "rlhf_ipo": float(bradley_terry_gradient("ipo", aligned(0.5), beta=0.25, reduction="sum").norm()),
    }


PAPER = Paper(
    title='SPO: "Stable Preference Optimization: Learning Preference Is More Important than Imitation"',
    tests="tests/theory/test_spo.py",
    setting="""\
a and b are the log-ratios of the chosen and the rejected completion, D = a - b, all in nats; f(z) = -z
exp(-z), and the loss is f(beta D) + f(-alpha b). beta is 0.1 unless something else is said.""",
    numbers=numbers,
    statements=(
        Statement(
            "The optimum (section 3.2)",
            "The loss is least where a = 1/beta - 1/alpha and b = 1/alpha.",
            "does not hold as printed",
            "b = -1/alpha; a and the loss -2/e are right",
            """\
a = 1/beta - 1/alpha, with b = -1/alpha: the gradient is 0 there, and the loss -2/e. With alpha 0.2 it is
a = 5, b = -5 and {optimum:.3f}. A policy with these log-ratios is a minimum of the average over its pair
too, if the probabilities it asks for fit into 1.""",
            """\
The printed b has the wrong sign, as has "alpha log(pi_l / ref_l) = 1" above it. With the printed a and b
the loss is {printed:+.3f}, with the printed b and beta D = 1 {other_sign:+.3f}; with pairkit's defaults,
alpha = beta, the printed point has {defaults:+.3f} = 2e.""",
            (
                "test_spo_optimum_has_no_gradient_and_minus_2_over_e",
                "test_spo_optimum_is_not_the_printed_one",
                "test_spo_optimum_is_one_of_a_policy",
            ),
        ),
        Statement(
            "The shape of f (abstract, section 3.2)",
            "f has a unique global maximum at z = 1, and is convex with a unique minimum.",
            "does not hold as printed",
            "z = 1 is the only minimum; f is not convex beyond z = 2",
            "f'(z) = (z - 1) exp(-z) has one zero, z = 1, and f(1) = -1/e = {least:.3f} is the least value.",
            """\
It is a minimum: f''(1) = {bent_1:.3f}. f is not convex: f''(3) = {bent_3:.3f}, negative for every z > 2.
Beyond the target it pulls back with f' = {well_2:.3f}, {well_3:.3f}, {well_5:.3f}, {well_10:.4f} at z =
2, 3, 5, 10: the loss does not "decay to zero", it rises to 0 from -1/e.""",
            ("test_spo_shape_one_minimum_and_no_maximum", "test_spo_shape_is_not_convex_beyond_2"),
        ),
        Statement(
            "Gradient explosion (section 4.1)",
            "SPO solves gradient explosion; DPO has pathologically large gradients.",
            "does not hold as printed",
            "DPO's slope is at most beta; SPO's grows exponentially on pairs in the wrong order",
            "Beyond the target SPO's gradient decays, as DPO's does.",
            """\
At beta D = -5 the slope by a is {spo_wrong:.1f} for SPO, {dpo_wrong:.3f} for DPO, {ipo_wrong:.0f} for IPO
with the same target (tau = beta / 2, `reduction=sum`). DPO's never exceeds beta. `z_clip` bounds SPO's.""",
            ("test_spo_gradient_explodes_where_dpo_is_bounded",),
        ),
        Statement(
            "The optimal solution (section 4.1)",
            "SPO satisfies the optimal solution of reward - beta KL, whereas DPO contradicts it.",
            "does not hold as printed",
            "with Bradley-Terry labels it is DPO that has that solution",
            """\
With one label per pair DPO has no finite minimum: its slope by a is negative at every D. SPO's target is
finite.""",
            """\
The policy that maximizes reward - beta KL is pi_ref exp(reward / beta) / Z. Averaged over all pairs of
five completions with Bradley-Terry labels of that reward (beta 0.5), the gradient there is 0 for `dpo`;
its norm is {rlhf_spo:.2f} for `spo` and {rlhf_ipo:.2f} for `ipo` with the same target, which ask one D of
every pair, whatever its reward. Equation 10 assumes that.""",
            (
                "test_spo_optimal_solution_is_that_of_dpo_with_bradley_terry_labels",
                "test_spo_optimal_solution_dpo_has_none_with_one_label_per_pair",
            ),
        ),
        Statement(
            "The baselines (sections 2.2, 4.2, 5.1)",
            "IPO's and SPO's optima coincide; IPO penalizes D of either sign equally; DPO is unbounded.",
            "holds with a condition",
            "IPO of sums at tau = beta / 2; symmetric around its target; the DPO that was run is bounded",
            """\
`ipo` with tau = beta / 2 and `reduction=sum` is least at D = 1/beta, SPO's. It asks nothing of b.""",
            """\
With `reduction=mean`, pairkit's default, it is 1/beta nats *per token*. IPO is symmetric around its
target, not around 0: {ipo_above:.0f} at D = 50, {ipo_below:.0f} at D = -50. The DPO baseline has label
smoothing 0.1, and so a finite optimum, beta D = log 9 = {smoothed:.3f}: it is not the unbounded DPO of
section 4.1.""",
            ("test_spo_baselines_ipo_has_the_same_optimum", "test_spo_baselines_smoothed_dpo_is_bounded"),
        ),
    ),
)
