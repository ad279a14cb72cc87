"""The judge's statistics: Bradley-Terry against a slow reference, and rates from counts."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pairkit.intervals import Floats, wilson
from pairkit.rankers.judge.bradley_terry import strengths
from pairkit.rankers.judge.statistics import COUNTS, judge_rates


def climbed(won: Floats) -> list[float]:
    """Fit Bradley-Terry with the prior to one set, by plain gradient ascent, pair by pair."""
    count = len(won)
    fitted = [0.0] * count

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    rate = 1 / (won.sum() / 2 + 1)
    for _ in range(200_000):
        slope = [0.5 - sigmoid(s) for s in fitted]
        for i in range(count):
            for j in range(count):
                slope[i] += won[i][j] * (1 - sigmoid(fitted[i] - fitted[j]))
                slope[i] -= won[j][i] * sigmoid(fitted[i] - fitted[j])
        fitted = [s + rate * g for s, g in zip(fitted, slope, strict=True)]
        if max(map(abs, slope)) < 1e-11:
            return fitted
    raise AssertionError("did not converge")


def test_strengths_match_plain_gradient_ascent() -> None:
    random = np.random.default_rng(0)
    sets = []
    for size in (2, 3, 4, 4):
        won = np.zeros((4, 4))
        for i in range(size):
            for j in range(i):
                won[i, j] = random.integers(0, 5) / 2
                won[j, i] = 2 - won[i, j]
        sets.append(won)
    together = strengths(np.array(sets))
    for won, found in zip(sets, together, strict=True):
        np.testing.assert_allclose(found, climbed(won), atol=1e-8)


def test_an_undefeated_completion_has_finite_strength() -> None:
    """Each completion beat all below it, in a hundred games each."""
    won = np.triu(np.full((6, 6), 100.0), 1)[None]
    (found,) = strengths(won)
    assert np.isfinite(found).all()
    assert (np.diff(found) < -1).all()
    np.testing.assert_allclose(found, -found[::-1], atol=1e-9)


def test_completions_without_games_have_strength_zero() -> None:
    won = np.zeros((2, 3, 3))
    won[0, 0, 1] = 2
    found = strengths(won)
    assert found[0, 2] == 0
    assert (found[1] == 0).all()
    assert strengths(np.zeros((0, 0, 0))).shape == (0, 0)
    assert strengths(np.zeros((0, 3, 3))).shape == (0, 3)


@given(st.integers(2, 6), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_with_equal_game_counts_points_decide_the_order(size: int, random: object) -> None:
    """Strengths have the order of points, and ties where points tie."""
    won = np.zeros((1, size, size))
    for i in range(size):
        for j in range(i):
            won[0, i, j] = random.choice([0, 0.5, 1, 1.5, 2])  # type: ignore[attr-defined]
            won[0, j, i] = 2 - won[0, i, j]
    points, found = won[0].sum(axis=1), strengths(won)[0]
    for i in range(size):
        for j in range(size):
            assert np.sign(found[i] - found[j]) == np.sign(points[i] - points[j])


def test_rates_follow_from_counts() -> None:
    counts = {
        "sets": 50, "questions": 100, "unanswered": 2, "answers": 120,
        "unparsable": 22, "first_wins": 60, "second_wins": 20, "ties": 18,
        "swapped": 49, "same": 30, "flips": 10,
    }  # fmt: skip
    assert counts.keys() == COUNTS.keys()
    rates = {rate.name: (rate.number, rate.of) for rate in judge_rates(counts)}
    assert rates == {
        "parse_failure_rate": (22, 120),
        "unanswered_rate": (2, 100),
        "order_bias": (60, 80),
        "tie_rate": (18, 98),
        "consistency": (30, 49),
        "flip_rate": (10, 49),
    }
    named = {f"judge_{name}": number for name, number in counts.items()}
    assert judge_rates(named, prefix="judge_") == judge_rates(counts)
    assert judge_rates({}) == []
    assert all(rate.share == wilson(rate.number, rate.of) for rate in judge_rates(counts))
