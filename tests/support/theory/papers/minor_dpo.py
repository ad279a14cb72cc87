"""MinorDPO's section of docs/theory.md."""

from __future__ import annotations

from support.theory.alpha_bound import crossing
from support.theory.pairwise import coefficient, descended, first_move, slope
from support.theory.statement import Paper, Statement


def numbers() -> dict[str, float]:
    """Compute the numbers of the section."""
    found = {f"f_{beta:g}".replace(".", ""): coefficient(beta, 20.0) for beta in (0.02, 0.1, 0.2)}
    found["crossing"] = crossing(
        lambda margin: coefficient(0.02, margin) - coefficient(0.2, margin), 0.0, 100.0
    )
    for name in ("minor_dpo", "dpo"):
        found[f"{name}_a"], found[f"{name}_b"] = descended(name, 100)
        found[f"{name}_move"] = first_move(name)
        found[f"{name}_behind"] = -slope(name, 0.0, -10.0, beta=0.1)[0]
    return found | {
        "start": slope("dpo", 0.0, 0.0, beta=0.1)[1],
        "above": slope("minor_dpo", 0.0, 1.0, beta=0.1)[1],
        "far": -slope("minor_dpo", 10.0, -10.0, beta=0.1)[0],
        "pop": slope("dpop", 0.0, 0.0, beta=0.1)[0],
    }


PAPER = Paper(
    title='MinorDPO: "Minor DPO reject penalty to increase training robustness"',
    tests="tests/theory/test_minor_dpo.py",
    setting="""\
a and b are the log-ratios of the chosen and the rejected completion, nats; beta is 0.1. Descents are by
plain gradient steps of rate 1 on the logits of five completions, from the reference.""",
    numbers=numbers,
    statements=(
        Statement(
            "The stop (section 3.4)",
            "We stop the gradient descent on rejected samples with pi(y_l) <= pi_ref(y_l).",
            "holds",
            "for the loss's own gradient, b = 0 included; the rejected completion still falls",
            """\
The slope by b is 0 wherever b <= 0, at b = 0 too, where every run starts; DPO has {start:.3f} there. At b
= 1 it is {above:.4f}, DPO's. Log-ratios up to 0.0005 nats count as 0, in `dpop` as well, so that the sign
of a rounding error decides nothing: `dpop`'s first slope by a is DPO's, {pop:.3f}.""",
            """\
y_l is not kept at the reference: here what raises y_w lowers it too. At the start b moves by
{minor_dpo_move:.4f} nats per unit of rate, with DPO by {dpo_move:.4f}; after 100 steps b is
{minor_dpo_b:.2f} and a {minor_dpo_a:.2f} (DPO {dpo_b:.2f} and {dpo_a:.2f}). And a has no stop: at a = 10
its slope is still -{far:.4f}.""",
            (
                "test_minor_dpo_stop_is_where_the_policy_is_at_or_below_the_reference",
                "test_minor_dpo_stop_does_not_depend_on_rounding",
                "test_minor_dpo_stop_does_not_keep_the_rejected_completion",
                "test_minor_dpo_stop_is_none_for_the_chosen_completion",
            ),
        ),
        Statement(
            "The chosen completion (section 3.4)",
            "MinorDPO slightly increases the chosen reward for samples with pi(y_l) <= pi_ref(y_l).",
            "holds",
            "its push on y_w is DPO's without the help of b",
            """\
With b < 0 the push on y_w is beta sigma(-beta a), above DPO's beta sigma(-beta (a - b)):
{minor_dpo_behind:.4f} against {dpo_behind:.4f} at a = 0, b = -10.""",
            "",
            ("test_minor_dpo_chosen_is_pushed_more_than_by_dpo",),
        ),
        Statement(
            "The coefficient of DPO (section 3.2, figure 1)",
            "f(beta, margin) = beta sigma(-beta margin); a bigger beta decays faster.",
            "holds",
            "with the crossing that the figure shows",
            """\
f is minus the slope of `dpo` by a. At a margin of 20 it is {f_002:.4f}, {f_01:.4f}, {f_02:.4f} for beta
0.02, 0.1, 0.2; beta 0.2 has the larger coefficient of 0.2 and 0.02 up to a margin of {crossing:.2f} nats,
the smaller one beyond.""",
            "The footnote's rewards/reject, log pi(y_w) / ref(y_l), is a typing error: y_l is meant.",
            ("test_minor_dpo_coefficient_decays_faster_with_a_bigger_beta",),
        ),
    ),
)
