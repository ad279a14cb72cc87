"""Losses on sets of K completions.

The golden set has log-ratios 2, -1, 0.5, -3 and scores 1, 0.2, 0.6, 0; beta is 0.1.
"""

from __future__ import annotations

from math import exp, log, log1p, nan
from typing import Any

import pytest
import torch
from support.tensors import logps, random_logps, value_and_gradient, with_sum
from torch import Tensor

from pairkit.errors import InputError
from pairkit.losses import Extras, Logps, build

RATIOS = logps([[2.0, -1.0, 0.5, -3.0]], [[10] * 4])
ZERO = logps([[0.0] * 4], [[10] * 4])
SCORES = torch.tensor([[1.0, 0.2, 0.6, 0.0]], dtype=torch.float64)
# Mean log-probs -1, -2, -0.5, -1.5 of 2, 4, 2 and 6 tokens.
LIST = logps([[-2.0, -8.0, -1.0, -9.0]], [[2, 4, 2, 6]])

SCORED = ["infonca", "exo_rw", "lipo"]
NAMES = [*SCORED, "rnce", "nca", "pro", "rrhf"]


def falling_scores(policy: Logps, seed: int = 0) -> Tensor:
    """Scores that fall by column, each between 0 and 1."""
    random = torch.Generator().manual_seed(seed)
    random_scores = torch.rand(policy.sum.shape, generator=random, dtype=torch.float64)
    return random_scores.sort(dim=1, descending=True).values


# --- rrhf


@pytest.mark.parametrize(
    ("scores", "ranks", "hinge"),
    [
        # by column: m_2 is above m_0 by 0.5 and m_1 by 1.5, m_3 above m_1 by 0.5; m_2, m_3 are in order
        (None, None, 2.5),
        # 2 before 0 before 3 before 1 is the order of m
        (None, [[2, 4, 1, 3]], 0.0),
        # 1 first: below m_0, m_2, m_3 by 1, 1.5, 0.5; the rest in order; 0 and 3 are tied
        (None, [[3, 1, 2, 3]], 3.0),
        # scores take precedence over ranks: 3 > 2 > 1 > 0: (3,2) 1, (3,0) 0.5, (1,0) 1
        ([[0.0, 1.0, 2.0, 3.0]], [[2, 4, 1, 3]], 2.5),
        # all equal: no pair
        ([[1.0, 1.0, 1.0, 1.0]], None, 0.0),
        # ranks order a set with a missing score
        ([[0.0, 1.0, nan, 3.0]], [[2, 4, 1, 3]], 0.0),
    ],
)
def test_rrhf_of_four_completions(scores: Any, ranks: Any, hinge: float) -> None:
    given = None if scores is None else torch.tensor(scores, dtype=torch.float64)
    extras = Extras(ranks=None if ranks is None else torch.tensor(ranks))
    loss = build("rrhf", nll_weight=0.5)
    assert loss(LIST, None, given, extras=extras).losses.item() == pytest.approx(hinge + 0.5 * 2.0)


def test_rrhf_orders_by_rank_only_in_sets_with_a_missing_score() -> None:
    two = LIST.rows(torch.tensor([0, 0]))
    scores = torch.tensor([[0.0, 1.0, 2.0, 3.0], [0.0, 1.0, nan, 3.0]], dtype=torch.float64)
    ranks = torch.tensor([[2, 4, 1, 3], [2, 4, 1, 3]])
    losses = build("rrhf", nll_weight=0.0)(two, None, scores, extras=Extras(ranks=ranks)).losses
    assert losses.tolist() == pytest.approx([2.5, 0.0])


def test_rrhf_gradient() -> None:
    """Of the pairs (0,2), (1,2), (1,3): -1 a pair to the better mean, +1 to the worse; means by length."""
    _, gradient = value_and_gradient(build("rrhf", nll_weight=0.5), LIST, None)
    assert gradient[0].tolist() == pytest.approx([-1 / 2 - 0.5, -2 / 4, 2 / 2, 1 / 6])


# --- pro


def pro_by_hand(means: list[float], rewards: list[float], nll: float, weight: float) -> float:
    """The formula, completion by completion; `means` and `rewards` from the best to the worst."""
    n, value = len(means), 0.0
    for k in range(n - 1):
        widest = max(rewards[k] - rewards[i] for i in range(k + 1, n))
        below = sum(exp((rewards[k] - rewards[i]) * means[i]) for i in range(k + 1, n))
        value += log(exp(widest * means[k]) + below) - widest * means[k]
    return value + weight * (n - 1) ** 2 * nll


def test_pro_of_three_completions() -> None:
    """r = 1, 0.5, 0: T_1 = 0.5, 1 (own 1), T_2 = 0.5 (own 0.5)."""
    policy = logps([[-2.0, -8.0, -1.0]], [[2, 4, 2]])
    scores = torch.tensor([[1.0, 0.5, 0.0]])
    first = log(exp(-1.0) + exp(-1.0) + exp(-0.5)) + 1.0
    second = log(exp(-1.0) + exp(-0.25)) + 1.0
    expected = first + second + 0.05 * 4 * 2.0
    assert pro_by_hand([-1.0, -2.0, -0.5], [1.0, 0.5, 0.0], 2.0, 0.05) == pytest.approx(expected)
    assert build("pro")(policy, None, scores.double()).losses.item() == pytest.approx(expected, abs=1e-12)


def test_pro_sorts_by_score() -> None:
    """Best 2 (-0.5), then 0, 3, 1; its likelihood is that of completion 2, whose sum is -1."""
    scores = torch.tensor([[0.7, 0.1, 0.9, 0.4]], dtype=torch.float64)
    expected = pro_by_hand([-0.5, -1.0, -1.5, -2.0], [0.9, 0.7, 0.4, 0.1], 1.0, 0.2)
    assert build("pro", nll_weight=0.2)(LIST, None, scores).losses.item() == pytest.approx(expected)


@pytest.mark.parametrize("scores", [None, [[0.7, nan, 0.9, 0.4]]])
def test_pro_uses_ranks_as_integer_scores(scores: Any) -> None:
    ranks = torch.tensor([[2, 4, 1, 3]])
    given = None if scores is None else torch.tensor(scores, dtype=torch.float64)
    by_rank = build("pro")(LIST, None, given, extras=Extras(ranks=ranks)).losses.item()
    expected = pro_by_hand([-0.5, -1.0, -1.5, -2.0], [3.0, 2.0, 1.0, 0.0], 1.0, 0.05)
    assert by_rank == pytest.approx(expected)


@pytest.mark.parametrize("ranks", [None, [[2, 4, 1, 3]]])
def test_pro_counts_unmasked_completions(ranks: Any) -> None:
    masked = logps([[-2.0, nan, -1.0, -9.0]], [[2, 4, 2, 6]], [[True, False, True, True]])
    scores = torch.tensor([[0.7, nan, 0.9, 0.4]], dtype=torch.float64)
    given = None if ranks is None else torch.tensor(ranks)
    expected = pro_by_hand([-0.5, -1.0, -1.5], [0.9, 0.7, 0.4], 1.0, 0.05)
    value, gradient = value_and_gradient(build("pro"), masked, None, scores, ranks=given)
    assert value.item() == pytest.approx(expected)
    assert gradient[0, 1].item() == 0.0
    assert torch.isfinite(gradient).all()


def test_pro_of_ties_has_no_ranking_gradient() -> None:
    value, gradient = value_and_gradient(
        build("pro", nll_weight=0.0), LIST, None, torch.ones(1, 4, dtype=torch.float64)
    )
    assert value.item() == pytest.approx(log(4) + log(3) + log(2))
    assert gradient.abs().max().item() == 0.0


# --- scored sets


def test_lipo_of_three_completions_by_hand() -> None:
    """s = -0.2, 0.6, 0.1: places 3, 1, 2; scores 1, 0, 1: the pairs (0,1) and (2,1), gains 1."""
    policy, zero = logps([[-2.0, 6.0, 1.0]], [[5] * 3]), logps([[0.0] * 3], [[5] * 3])
    discount = [1 / log(4), 1 / log(2), 1 / log(3)]
    expected = (discount[1] - discount[0]) * log1p(exp(0.8)) + (discount[1] - discount[2]) * log1p(exp(0.5))
    scores = torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    assert build("lipo", beta=0.1)(policy, zero, scores).losses.item() == pytest.approx(expected)


def test_rounding_does_not_decide_places_in_lipo() -> None:
    """Of equal log-ratios 0, 1, 2, 3 are the places of the columns, whatever the last digits say."""
    exact = build("lipo")(ZERO, ZERO, SCORES).losses.item()
    rounded = with_sum(ZERO, torch.tensor([[-3e-5, 1e-4, 3e-5, 6e-5]], dtype=torch.float64))
    assert build("lipo")(rounded, ZERO, SCORES).losses.item() == pytest.approx(exact, rel=1e-4)


def test_lipo_weights_are_powers_of_two() -> None:
    """Of a pair in the right order: |2^r_0 - 2^r_1| (1/log 2 - 1/log 3) softplus(-0.3)."""
    scores = torch.tensor([[1.0, 0.0], [5.0, 3.0]], dtype=torch.float64)
    policy, zero = logps([[3.0, 0.0]] * 2, [[5] * 2] * 2), logps([[0.0] * 2] * 2, [[5] * 2] * 2)
    unit = (1 / log(2) - 1 / log(3)) * log1p(exp(-0.3))
    assert build("lipo", beta=0.1)(policy, zero, scores).losses.tolist() == pytest.approx([unit, 24 * unit])


def test_lipo_refuses_scores_whose_power_is_infinite() -> None:
    with pytest.raises(InputError, match=r"overflows at 2000: rescale scores to \[0, 1\]"):
        build("lipo")(RATIOS, ZERO, 2000 * SCORES)


def test_exo_rw_is_minimal_where_the_softmaxes_are_equal() -> None:
    """beta x log-ratio = score / T + constant: value and gradient are 0."""
    scores = torch.tensor([[0.9, -0.3, 0.4, 0.0]], dtype=torch.float64)
    policy = with_sum(RATIOS, scores / 0.5 / 0.1 + 7.0)
    loss = build("exo_rw", beta=0.1, reward_temperature=0.5)
    value, gradient = value_and_gradient(loss, policy, ZERO, scores)
    assert value.item() == pytest.approx(0.0, abs=1e-12)
    assert gradient.abs().max().item() == pytest.approx(0.0, abs=1e-12)
    assert loss(with_sum(policy, policy.sum + SCORES), ZERO, scores).losses.item() > 1e-4


def test_infonca_of_a_pair_without_temperature_is_dpo() -> None:
    policy, reference = random_logps(6)
    scores = torch.tensor([[0.4, 0.3]], dtype=torch.float64).repeat(6, 1)
    dpo = build("dpo", beta=0.2)(policy, reference).losses
    infonca = build("infonca", beta=0.2, temperature=1e-4)(policy, reference, scores).losses
    assert torch.allclose(infonca, dpo, atol=1e-12, rtol=0)


def test_rnce_of_one_negative_is_dpo() -> None:
    policy, reference = random_logps(6)
    dpo = build("dpo", beta=0.2)(policy, reference).losses
    rnce = build("rnce", beta=0.2)(policy, reference).losses
    assert torch.allclose(rnce, dpo, atol=1e-12, rtol=0)


def test_infonca_with_one_best_score_is_rnce() -> None:
    policy, reference = random_logps(6, 4)
    scores = torch.tensor([[1.0, 0.2, 0.6, 0.0]], dtype=torch.float64).repeat(6, 1)
    rnce = build("rnce", beta=0.2)(policy, reference).losses
    infonca = build("infonca", beta=0.2)(policy, reference, scores).losses
    assert torch.allclose(infonca, rnce, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", ["infonca", "nca", "exo_rw"])
@pytest.mark.parametrize("shift", [-3.0, 1000.0])
def test_a_constant_on_all_scores_of_a_set_changes_nothing(name: str, shift: float) -> None:
    policy, reference = random_logps(5, 4)
    scores, loss = falling_scores(policy), build(name)
    one, other = loss(policy, reference, scores), loss(policy, reference, scores + shift)
    assert torch.allclose(one.losses, other.losses, atol=1e-7, rtol=0)


@pytest.mark.parametrize("scores", [None, [[1.0, nan, 0.6, 0.0]]])
def test_nca_without_all_scores_pulls_up_the_first(scores: Any) -> None:
    s = [0.2, -0.1, 0.05, -0.3]
    expected = log1p(exp(-s[0])) + sum(log1p(exp(x)) for x in s) / 4
    given = None if scores is None else torch.tensor(scores, dtype=torch.float64)
    loss = build("nca", beta=0.1, temperature=1.0)
    value, gradient = value_and_gradient(loss, RATIOS, ZERO, given)
    assert value.item() == pytest.approx(expected, abs=1e-12)
    assert torch.isfinite(gradient).all()


def test_nca_ignores_scores_only_in_sets_with_a_missing_score() -> None:
    two, zero = RATIOS.rows(torch.tensor([0, 0])), ZERO.rows(torch.tensor([0, 0]))
    scores = torch.cat([SCORES, SCORES])
    scores[0, 3] = nan
    loss = build("nca", beta=0.1, temperature=1.0)
    alone = loss(RATIOS, ZERO).losses.item()
    assert loss(two, zero, scores).losses.tolist() == pytest.approx([alone, 1.3602366385560454])


# --- all of them


@pytest.mark.parametrize("name", NAMES)
def test_a_set_of_one_has_nothing_to_compare(name: str) -> None:
    """What is left is the likelihood of the one completion, or nothing."""
    policy, reference = logps([[-6.0, nan]], [[4, 1]], [[True, False]]), logps([[-7.0, 0.0]], [[4, 1]])
    value, gradient = value_and_gradient(build(name), policy, reference, torch.tensor([[0.3, nan]]).double())
    expected = {"nca": log1p(exp(-0.01)) + log1p(exp(0.01)), "rrhf": 6.0}
    assert value.item() == pytest.approx(expected.get(name, 0.0), abs=1e-12)
    assert torch.isfinite(gradient).all()


def test_a_missing_score_is_named() -> None:
    policy, reference = random_logps(3, 4)
    policy.mask[0, 2] = False
    scores = falling_scores(policy)
    for name in [*SCORED, "pro"]:
        for missing in (nan, float("inf")):
            scores[0, 2] = scores[1, 3] = missing
            message = rf"{name} needs a score for every .* scores\[1, 3\] is {missing:g}"
            with pytest.raises(InputError, match=message):
                build(name)(policy, reference, scores)


def test_scores_are_needed() -> None:
    policy, reference = random_logps(3, 4)
    for name in [*SCORED, "pro"]:
        with pytest.raises(InputError, match=f"{name} needs scores"):
            build(name)(policy, reference)
