"""StaPO's statements: where its loss is least, and what one-sided losses do."""

from __future__ import annotations

from math import cosh, exp, log, log1p

import pytest
import torch
from support.tensors import POLICY, REFERENCE, random_logps
from support.theory.pairwise import slope, two_sided, value, without_bracket
from support.theory.space import slopes, sums

from pairkit.losses import build

BETAS = (2.0, 2.5, 10.0)
# Loss and slope by Z at Z = 0, 0.3, 0.6, 0.7, 0.8, 1, 2, 3, of another implementation in numpy.
POINTS = (0.0, 0.3, 0.6, 0.7, 0.8, 1.0, 2.0, 3.0)
LOSSES = {
    2.0: (1.6472, 1.3507, 1.2062, 1.1963, 1.2062, 1.2841, 2.5459, 4.4204),
    2.5: (1.8283, 1.3888, 1.1672, 1.1519, 1.1672, 1.2873, 3.0783, 5.5066),
    10.0: (6.0028, 3.0553, 0.8201, 0.6265, 0.8201, 2.1451, 12.0, 22.0),
}
SLOPES = {
    2.0: (-1.2011, -0.7534, -0.1974, 0.0, 0.1974, 0.5773, 1.7190, 1.9594),
    2.5: (-1.7459, -1.1412, -0.3061, 0.0, 0.3061, 0.8838, 2.3082, 2.4836),
    10.0: (-9.9719, -9.4588, -3.8080, 0.0, 3.8080, 8.6281, 9.9999, 10.0),
}


def sigma(x: float) -> float:
    return 1 / (1 + exp(-x))


@pytest.mark.parametrize("beta", BETAS)
def test_stapo_minimum_is_the_middle_of_the_margins(beta: float) -> None:
    for z, loss, rate in zip(POINTS, LOSSES[beta], SLOPES[beta], strict=True):
        assert two_sided(z, beta) == pytest.approx((loss, rate), abs=6e-5)
    for left, right in ((0.2, 0.4), (0.4, 1.0), (0.6, 0.8), (0.6, 1.2)):
        middle = (left + right) / 2
        assert two_sided(middle, beta, left, right)[1] == pytest.approx(0.0, abs=1e-12)
        for away in (0.01, 0.5, 3.0):
            below, above = (two_sided(middle + sign * away, beta, left, right) for sign in (-1, 1))
            assert below[0] == pytest.approx(above[0], rel=1e-9)
            assert below[1] < 0 < above[1]
    assert two_sided(0.63, 2.5)[1] == pytest.approx(-0.2148, abs=5e-5)  # where the paper sees it converge


@pytest.mark.parametrize("beta", BETAS)
def test_stapo_minimum_of_a_soft_well(beta: float) -> None:
    for z in POINTS:
        well = log(1 + exp(-0.2 * beta) + 2 * exp(-0.1 * beta) * cosh(beta * (z - 0.7)))
        assert two_sided(z, beta)[0] == pytest.approx(well, rel=1e-9)
    rates = [two_sided(z / 10, beta)[1] for z in range(-20, 30)]
    assert rates == sorted(rates)  # convex
    at_the_margin = two_sided(0.8, beta)[1] / beta
    assert at_the_margin == pytest.approx(0.5 - sigma(-0.2 * beta), rel=1e-9)
    assert two_sided(8.0, beta, 0.6, 8.0)[1] / beta == pytest.approx(0.5, abs=1e-6)  # the most


def test_stapo_minimum_with_equal_margins_is_a_label_of_one_half() -> None:
    policy, reference = random_logps(8)
    swap = torch.tensor([[1, 0]]).repeat(8, 1)
    both = [build("dpo", beta=2.0)(*pair).losses for pair in (
        (policy, reference), (policy.columns(swap), reference.columns(swap))
    )]  # fmt: skip
    equal = build("stapo", beta=2.0, left_margin=0.0, right_margin=0.0, logit="dpo")(policy, reference)
    assert torch.allclose(equal.losses, both[0] + both[1], rtol=1e-12, atol=0)


def test_stapo_minimum_without_a_right_margin_is_that_of_simpo() -> None:
    policy, _ = random_logps(8)
    far = build("stapo", beta=2.0, left_margin=0.6, right_margin=1e3)(policy).losses
    assert torch.allclose(
        far, build("simpo", beta=2.0, gamma_beta_ratio=0.6)(policy).losses, rtol=1e-12, atol=0
    )


def test_stapo_equation_8_is_the_gradient_but_for_the_length() -> None:
    policy, reference = random_logps(8)
    for logit in ("simpo", "dpo"):
        of_means = logit == "simpo"
        found = slopes("stapo", policy, reference, beta=2.5, logit=logit)
        scores = policy.sum / policy.length if of_means else policy.sum - reference.sum
        for row, (chosen, rejected) in enumerate(scores.tolist()):
            z = chosen - rejected
            part = sigma(-2.5 * (z - 0.6)) - sigma(2.5 * (z - 0.8))
            assert -1 < part < 1
            long = policy.length[row].tolist() if of_means else [1, 1]
            assert found[row].tolist() == pytest.approx(
                [-2.5 * part / long[0], 2.5 * part / long[1]], rel=1e-9
            )


def test_stapo_equation_4_lacks_a_bracket() -> None:
    """Z is 5 and -10, the reference's difference 2 and -5."""
    printed = without_bracket((POLICY, REFERENCE), 0.1)
    assert printed == pytest.approx([log1p(exp(2 - 0.5)), log1p(exp(-5 + 1))], rel=1e-12)
    own = build("dpo", beta=0.1)(POLICY, REFERENCE).losses.tolist()
    assert own == pytest.approx([log1p(exp(-0.3)), log1p(exp(0.5))], rel=1e-12)


def test_stapo_equation_6_is_dpo_and_simpo() -> None:
    policy, reference = random_logps(8)
    z = policy.sum[:, 0] - policy.sum[:, 1]
    m = reference.sum[:, 0] - reference.sum[:, 1]
    dpo = [log1p(exp(-0.1 * each)) for each in (z - m).tolist()]
    assert build("dpo", beta=0.1)(policy, reference).losses.tolist() == pytest.approx(dpo, rel=1e-9)
    means = [chosen - rejected for chosen, rejected in (policy.sum / policy.length).tolist()]
    simpo = [log1p(exp(-2 * (each - 0.5 / 2))) for each in means]
    assert build("simpo", beta=2.0, gamma=0.5)(policy).losses.tolist() == pytest.approx(simpo, rel=1e-9)


def test_stapo_one_sided_losses_have_no_minimum() -> None:
    for z in (-100.0, 0.0, 1.0, 100.0):
        assert slope("dpo", z, 0.0, beta=0.1)[0] < 0
        assert slopes("simpo", sums([[z, 0.0]])[0], None, beta=2.0)[0, 0] < 0
    assert two_sided(100.0, 2.0)[1] > 0


def test_stapo_one_sided_losses_fall_while_both_fall() -> None:
    start, end = value("dpo", 0.0, 0.0, beta=0.1), value("dpo", -5.0, -25.0, beta=0.1)
    assert start == pytest.approx(log(2), rel=1e-12)
    assert end == pytest.approx(log1p(exp(-2)), rel=1e-12)
    assert end < start
