"""SPO's statements: its optimum, the shape of its f, and what its baselines are."""

from __future__ import annotations

from math import e, exp, log

import pytest
import torch
from support.theory.pairwise import (
    aligned,
    bent,
    bradley_terry_gradient,
    slope,
    smoothed_optimum,
    value,
    well,
)
from support.theory.space import REFERENCE, SIZE, TARGET, gradient, log_ratios, losses, reals

SETTINGS = [(0.1, 0.1), (0.1, 0.2), (0.2, 0.5), (1.0, 2.0)]  # beta and alpha


def f(z: float) -> float:
    return -z * exp(-z)


@pytest.mark.parametrize(("beta", "alpha"), SETTINGS)
def test_spo_optimum_has_no_gradient_and_minus_2_over_e(beta: float, alpha: float) -> None:
    keywords = {"beta": beta, "alpha": alpha}
    a, b = 1 / beta - 1 / alpha, -1 / alpha
    assert slope("spo", a, b, **keywords) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert value("spo", a, b, **keywords) == pytest.approx(-2 / e, rel=1e-12)
    for more, less in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5), (0.5, 0.5), (-0.5, -0.5)):
        assert value("spo", a + more, b + less, **keywords) > -2 / e
    assert value("spo", 1.5, -0.7, **keywords) == pytest.approx(f(beta * 2.2) + f(alpha * 0.7), rel=1e-12)


@pytest.mark.parametrize(("beta", "alpha"), SETTINGS)
def test_spo_optimum_is_not_the_printed_one(beta: float, alpha: float) -> None:
    """b = +1 / alpha makes the second f e; beta D is 1 - 2 beta / alpha with the printed a."""
    keywords = {"beta": beta, "alpha": alpha}
    printed = value("spo", 1 / beta - 1 / alpha, 1 / alpha, **keywords)
    assert printed == pytest.approx(f(1 - 2 * beta / alpha) + e, rel=1e-9)
    assert value("spo", 1 / beta + 1 / alpha, 1 / alpha, **keywords) == pytest.approx(e - 1 / e, rel=1e-9)
    assert min(slope("spo", 1 / beta - 1 / alpha, 1 / alpha, **keywords)[1], printed) > 0


def test_spo_optimum_is_one_of_a_policy() -> None:
    """Of the five completions, beta 1 and alpha 2: the first is to gain 0.5 nats, the second to lose 0.5."""
    pair, keywords = torch.tensor([[0, 1]]), {"beta": 1.0, "alpha": 2.0}
    chances = REFERENCE.softmax(0)
    wanted = chances[:2] * reals(0.5, -0.5).exp()
    rest = chances[2:] * (1 - wanted.sum()) / chances[2:].sum()
    theta = torch.cat([wanted, rest]).log()
    assert log_ratios(theta)[:2].tolist() == pytest.approx([0.5, -0.5], rel=1e-12)
    assert gradient(lambda logits: losses("spo", logits, pair, **keywords).sum(), theta).norm() < 1e-12
    assert losses("spo", theta, pair, **keywords).item() == pytest.approx(-2 / e, rel=1e-12)


def test_spo_shape_one_minimum_and_no_maximum() -> None:
    assert well(1.0) == pytest.approx(0.0, abs=1e-15)
    for z in (-5.0, -1.0, 0.0, 0.5, 0.99, 1.01, 2.0, 5.0, 30.0):
        assert well(z) == pytest.approx((z - 1) * exp(-z), rel=1e-12)
        assert (well(z) > 0) == (z > 1)
        assert value("spo", z, 0.0, beta=1.0, alpha=0.0) > -1 / e
    assert value("spo", 30.0, 0.0, beta=1.0, alpha=0.0) < 0  # it rises to 0 from below


def test_spo_shape_is_not_convex_beyond_2() -> None:
    for z in (-1.0, 0.0, 1.0, 1.9, 2.1, 3.0, 10.0):
        assert bent(z) == pytest.approx((2 - z) * exp(-z), rel=1e-5)
        assert (bent(z) > 0) == (z < 2)
    left, middle, right = (value("spo", z, 0.0, beta=1.0, alpha=0.0) for z in (3.0, 5.0, 7.0))
    assert middle > (left + right) / 2  # above its chord


def test_spo_gradient_explodes_where_dpo_is_bounded() -> None:
    of_spo, of_dpo, of_ipo = (
        -slope(name, -50.0, 0.0, **keywords)[0]
        for name, keywords in (
            ("spo", {"beta": 0.1, "alpha": 0.0}),
            ("dpo", {"beta": 0.1}),
            ("ipo", {"beta": 0.05, "reduction": "sum"}),
        )
    )
    assert of_spo == pytest.approx(0.1 * 6 * exp(5), rel=1e-9)
    assert of_dpo == pytest.approx(0.1 / (1 + exp(-5)), rel=1e-9)
    assert of_ipo == pytest.approx(2 * (50 + 10), rel=1e-9)
    assert all(-slope("dpo", d, 0.0, beta=0.1)[0] <= 0.1 for d in (-1e4, -100.0, 0.0, 100.0))
    clipped = -slope("spo", -50.0, 0.0, beta=0.1, alpha=0.0, z_clip=-1.0)[0]
    assert clipped == pytest.approx(0.1 * 2 * e, rel=1e-9)


def test_spo_optimal_solution_is_that_of_dpo_with_bradley_terry_labels() -> None:
    """beta D of that policy is the difference of rewards: DPO's labels are then right on average."""
    policy = REFERENCE.softmax(0) * (TARGET / 0.5).exp()
    assert aligned(0.5).softmax(0).tolist() == pytest.approx((policy / policy.sum()).tolist(), rel=1e-12)
    assert bradley_terry_gradient("dpo", aligned(0.5), beta=0.5).norm() < 1e-12
    # SPO, written out: a factor of beta f' on D, and of -alpha f' on b.
    theta = aligned(0.5).requires_grad_()
    ratios = theta.log_softmax(0) - REFERENCE.log_softmax(0)
    total = torch.zeros((), dtype=torch.float64)
    for w in range(SIZE):
        for v in range(SIZE):
            if w != v:
                chance = 1 / (1 + exp(TARGET[v].item() - TARGET[w].item())) / 10
                z, y = 0.5 * (ratios[w] - ratios[v]), -0.5 * ratios[v]
                total = total - chance * (z * (-z).exp() + y * (-y).exp())
    total.backward()
    found = bradley_terry_gradient("spo", aligned(0.5), beta=0.5, alpha=0.5)
    assert torch.allclose(found, theta.grad, rtol=0, atol=1e-12)
    of_ipo = bradley_terry_gradient("ipo", aligned(0.5), beta=0.25, reduction="sum")
    # Of another implementation, a loop in numpy.
    assert [found.norm().item(), of_ipo.norm().item()] == pytest.approx([0.57188, 1.85142], abs=1e-5)


def test_spo_optimal_solution_dpo_has_none_with_one_label_per_pair() -> None:
    slopes = [slope("dpo", d, 0.0, beta=0.1)[0] for d in (-300.0, -10.0, 0.0, 10.0, 300.0)]
    assert max(slopes) < 0
    assert slope("spo", 10.0, 0.0, beta=0.1, alpha=0.0)[0] == pytest.approx(0.0, abs=1e-15)


def test_spo_baselines_ipo_has_the_same_optimum() -> None:
    keywords = {"beta": 0.05, "reduction": "sum"}
    for b in (-8.0, 0.0, 8.0):  # any b
        assert slope("ipo", 10.0 + b, b, **keywords) == pytest.approx((0.0, 0.0), abs=1e-12)
    assert value("ipo", 50.0, 0.0, **keywords) == pytest.approx(1600.0)
    assert value("ipo", -50.0, 0.0, **keywords) == pytest.approx(3600.0)
    assert value("ipo", 10 + 7.0, 0.0, **keywords) == pytest.approx(value("ipo", 10 - 7.0, 0.0, **keywords))


def test_spo_baselines_smoothed_dpo_is_bounded() -> None:
    optimum = smoothed_optimum(0.1)
    assert optimum == pytest.approx(log(9), rel=1e-12)
    for margin, sign in ((optimum - 0.1, -1), (optimum + 0.1, 1)):
        assert slope("dpo", margin / 0.1, 0.0, beta=0.1, label_smoothing=0.1)[0] * sign > 0
    assert slope("dpo", optimum / 0.1, 0.0, beta=0.1, label_smoothing=0.1)[0] == pytest.approx(0, abs=1e-12)
