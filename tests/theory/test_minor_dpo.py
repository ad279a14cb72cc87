"""MinorDPO's statements: where the rejected completion's gradient stops, and what goes on."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from support.theory.pairwise import coefficient, descended, first_move, slope
from support.theory.space import REFERENCE, SIZE

BETA = 0.1


def sigma(x: float) -> float:
    return 1 / (1 + exp(-x))


def test_minor_dpo_stop_is_where_the_policy_is_at_or_below_the_reference() -> None:
    for a in (-5.0, 0.0, 5.0):
        for b in (-20.0, -1.0, 0.0):
            expected = (-BETA * sigma(-BETA * a), 0.0)
            assert slope("minor_dpo", a, b, beta=BETA) == pytest.approx(expected, abs=1e-12)
        for b in (0.01, 1.0, 20.0):
            push = BETA * sigma(-BETA * (a - b))
            assert slope("minor_dpo", a, b, beta=BETA) == pytest.approx((-push, push), rel=1e-9)
            assert slope("dpo", a, b, beta=BETA) == pytest.approx((-push, push), rel=1e-9)
    assert slope("dpo", 0.0, 0.0, beta=BETA) == pytest.approx((-0.05, 0.05), rel=1e-12)


@pytest.mark.parametrize("rounding", [-1e-7, 0.0, 1e-7, 3e-5])
def test_minor_dpo_stop_does_not_depend_on_rounding(rounding: float) -> None:
    """At the start policy and reference are equal but for it; dpop has the same kink on the other side."""
    assert slope("minor_dpo", rounding, rounding, beta=BETA) == pytest.approx((-0.05, 0.0), abs=1e-6)
    assert slope("dpop", rounding, rounding, beta=BETA) == pytest.approx((-0.05, 0.05), abs=1e-6)


def test_minor_dpo_stop_does_not_keep_the_rejected_completion() -> None:
    """Of softmax logits, log pi(l) moves with log pi(w) by -pi(w) - pi(l) + the sum of pi^2."""
    chances = REFERENCE.softmax(0).tolist()
    along = -chances[0] - chances[1] + sum(chance**2 for chance in chances)
    assert first_move("minor_dpo") == pytest.approx(0.05 * along, rel=1e-9)
    assert first_move("dpo") == pytest.approx(0.05 * (-1 - chances[0] + chances[1]), rel=1e-9)
    # The whole descent, each step written out.
    logits = REFERENCE.tolist()
    for _ in range(100):
        total = sum(exp(one) for one in logits)
        policy = [exp(one) / total for one in logits]
        push = BETA * sigma(-BETA * log(policy[0] / chances[0]))  # b is never above 0
        logits = [logits[i] + push * ((i == 0) - policy[i]) for i in range(SIZE)]
    total = sum(exp(one) for one in logits)
    expected = [log(exp(logits[i]) / total / chances[i]) for i in (0, 1)]
    assert descended("minor_dpo", 100) == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx([1.3636, -1.5177], abs=5e-4)
    a, b = descended("dpo", 100)
    assert b < expected[1] < 0 < expected[0] < a


def test_minor_dpo_stop_is_none_for_the_chosen_completion() -> None:
    for a in (0.0, 10.0, 100.0):
        assert slope("minor_dpo", a, -10.0, beta=BETA)[0] == pytest.approx(-BETA * sigma(-BETA * a), rel=1e-9)


def test_minor_dpo_chosen_is_pushed_more_than_by_dpo() -> None:
    for a in (-3.0, 0.0, 3.0):
        for b in (-0.1, -10.0):
            minor, dpo = (-slope(name, a, b, beta=BETA)[0] for name in ("minor_dpo", "dpo"))
            assert minor > dpo
            assert (minor, dpo) == pytest.approx((BETA * sigma(-BETA * a), BETA * sigma(-BETA * (a - b))))


def test_minor_dpo_coefficient_decays_faster_with_a_bigger_beta() -> None:
    margins = torch.linspace(-20, 60, 81).tolist()
    for beta in (0.02, 0.1, 0.2):
        each = [coefficient(beta, margin) for margin in margins]
        assert each == pytest.approx([beta * sigma(-beta * margin) for margin in margins], rel=1e-9)
        assert each == sorted(each, reverse=True)
    small, large = ([coefficient(beta, margin) for margin in (15.5, 15.7)] for beta in (0.02, 0.2))
    assert large[0] > small[0]
    assert large[1] < small[1]
    shares = [coefficient(beta, 20.0) / coefficient(beta, 0.0) for beta in (0.02, 0.1, 0.2)]
    assert shares == sorted(shares, reverse=True)
