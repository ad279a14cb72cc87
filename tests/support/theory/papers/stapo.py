"""StaPO's section of docs/theory.md."""

from __future__ import annotations

from support.tensors import POLICY, REFERENCE
from support.theory.pairwise import two_sided, value, without_bracket
from support.theory.statement import Paper, Statement

from pairkit.losses import build


def numbers() -> dict[str, float]:
    """Compute the numbers of the section."""
    found: dict[str, float] = {}
    for beta in (2.0, 2.5, 10.0):
        for z in (0.0, 0.6, 0.7, 1.0):
            found[f"part_{beta:g}_{z:g}".replace(".", "")] = abs(two_sided(z, beta)[1]) / beta
    found["at_63"] = two_sided(0.63, 2.5)[1]
    found["part_63"] = -found["at_63"] / 2.5
    printed, own = without_bracket((POLICY, REFERENCE), 0.1), build("dpo", beta=0.1)(POLICY, REFERENCE).losses
    return found | {
        "printed_a": printed[0],
        "printed_b": printed[1],
        "dpo_a": float(own[0]),
        "dpo_b": float(own[1]),
        "small": value("dpo", -5.0, -25.0, beta=0.1),
    }


PAPER = Paper(
    title='StaPO: "Stable Preference Optimization via Two-Sided Contrastive Learning"',
    tests="tests/theory/test_stapo.py",
    setting="Z is the contrastive logit; the margins are the paper's 0.6 and 0.8 unless others are said.",
    numbers=numbers,
    statements=(
        Statement(
            "The minimum of equation 7 (sections 3.2, 4.1)",
            "Z is kept between the margins; the gap converges around 0.63.",
            "holds with a condition",
            "the minimum is the middle, 0.70; a soft well, no band",
            """\
The loss is log(1 + exp(-beta g) + 2 exp(-beta g / 2) cosh(beta (Z - m))), g the gap and m the middle of
the margins: even around m, least there, and convex. With equal margins it is `dpo` on the pair plus `dpo`
on the pair turned around, twice a label of one half; with a right margin far away it is `simpo`.""",
            """\
0.63 is not where it rests: at beta 2.5 the slope there is {at_63:.3f}, {part_63:.1%} of the largest,
toward 0.70. Nor does anything hold Z inside: as a share of the largest, the slope is

| beta | Z = 0 | Z = 0.6, the left margin | Z = 0.7 | Z = 1 |
|--:|--:|--:|--:|--:|
| 2 | {part_2_0:.3f} | {part_2_06:.3f} | {part_2_07:.3f} | {part_2_1:.3f} |
| 2.5 | {part_25_0:.3f} | {part_25_06:.3f} | {part_25_07:.3f} | {part_25_1:.3f} |
| 10 | {part_10_0:.3f} | {part_10_06:.3f} | {part_10_07:.3f} | {part_10_1:.3f} |

At a margin it is 1/2 - sigma(-beta g), never more than half.""",
            (
                "test_stapo_minimum_is_the_middle_of_the_margins",
                "test_stapo_minimum_of_a_soft_well",
                "test_stapo_minimum_with_equal_margins_is_a_label_of_one_half",
                "test_stapo_minimum_without_a_right_margin_is_that_of_simpo",
            ),
        ),
        Statement(
            "Equation 8 (section 3.2)",
            "The gradient has the factor sigma(-beta (Z - m_l)) - sigma(beta (Z - m_r)), within [-1, 1].",
            "holds with a condition",
            "for Z of sums; for means times 1/\\|y\\|",
            "The factor is right, and its ends are approached, not reached.",
            "With SimPO's Z each side has 1/\\|y\\| besides, which equation 8 leaves out.",
            ("test_stapo_equation_8_is_the_gradient_but_for_the_length",),
        ),
        Statement(
            "Equations 4 and 5 (section 3.1)",
            "DPO is -log sigma(beta Z - m), m the reference's difference; SimPO likewise, m = gamma / beta.",
            "does not hold as printed",
            "the bracket is missing: beta (Z - m), as in equation 6",
            "Equation 6, -log sigma(beta (Z - m)), is `dpo` with that m, and `simpo`.",
            """\
As printed, two pairs with log-probs -40, -45 (reference -42, -44) and -50, -40 (-48, -43) have
{printed_a:.4f} and {printed_b:.4f} where DPO has {dpo_a:.4f} and {dpo_b:.4f} (beta 0.1).""",
            ("test_stapo_equation_4_lacks_a_bracket", "test_stapo_equation_6_is_dpo_and_simpo"),
        ),
        Statement(
            "One-sided contrast (section 3.1)",
            "OsC pushes Z to infinity, implying pi(y_w) -> 1 and pi(y_l) -> 0.",
            "does not hold as printed",
            "Z grows without end, but both probabilities may fall",
            "The slope of `dpo` and `simpo` by Z is negative at every Z: they have no finite minimum.",
            """\
Z -> infinity implies pi(y_l) -> 0 alone: with both log-ratios negative, -5 and -25 nats, `dpo` at beta
0.1 is {small:.3f}, below log 2.""",
            (
                "test_stapo_one_sided_losses_have_no_minimum",
                "test_stapo_one_sided_losses_fall_while_both_fall",
            ),
        ),
    ),
)
