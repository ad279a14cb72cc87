"""Metrics from scores: closed forms, intervals, and what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from pairkit.errors import InputError
from pairkit.evaluation.measures import Measured, log_odds_interval, measure, weighted_mean


def measured(scores: list[float], weights: list[float] | None = None, *, share: bool = True) -> Measured:
    ids = [str(place) for place in range(len(scores))]
    return Measured("m", ids, np.array(scores), None if weights is None else np.array(weights), share)


def test_a_mean_has_the_usual_standard_error() -> None:
    """evaluation.md, section 4: 100 wins, 26 ties, 74 losses."""
    metric = measure(measured([1.0] * 100 + [0.5] * 26 + [0.0] * 74))
    assert metric.value == pytest.approx(56.5)
    assert metric.se == pytest.approx(3.274, abs=5e-4)
    scores = np.array([1.0] * 100 + [0.5] * 26 + [0.0] * 74)
    assert metric.se == pytest.approx(100 * scores.std(ddof=1) / np.sqrt(200))
    assert (metric.n, metric.unit) == (200, "%")
    assert metric.low == pytest.approx(50.1, abs=0.4)
    assert metric.high == pytest.approx(62.9, abs=0.4)


def test_a_ratio_of_sums_has_the_error_of_the_ratio() -> None:
    generator = np.random.default_rng(1)
    weights = generator.integers(1, 4, 300).astype(float)
    scores = generator.random(300)
    a, b = scores * weights, weights
    ratio = a.sum() / b.sum()
    expected = np.sqrt(300 / 299 * ((a - ratio * b) ** 2).sum()) / b.sum()
    metric = measure(measured(list(scores), list(weights), share=False))
    assert metric.value == pytest.approx(ratio)
    assert metric.se == pytest.approx(expected)
    assert weighted_mean(scores, weights)[0] == pytest.approx(ratio)
    # The bootstrap of the ratio has about the same width.
    assert metric.high is not None
    assert metric.low is not None
    assert (metric.high - metric.low) / 2 / 1.96 == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(
    ("scores", "low", "high"), [([1.0] * 200, 98.1, 100.0), ([0.5] * 50, 36.6, 63.4), ([0.0] * 200, 0, 1.9)]
)
def test_a_share_without_width_has_wilsons_interval(scores: list[float], low: float, high: float) -> None:
    metric = measure(measured(scores))
    assert (metric.low, metric.high) == (pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05))


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (285, 799, 32.423920, 39.052391),  # evaluation vectors: GSM8K, 175b_finetuning
        (446, 799, 52.356701, 59.227155),
        (1, 4, 4.558726, 69.935816),
    ],
)
def test_a_share_of_right_answers_has_wilsons_interval(right: int, n: int, low: float, high: float) -> None:
    scores = [1.0] * right + [0.0] * (n - right)
    for weights in (None, [2.0] * n):
        metric = measure(measured([*scores], weights))
        assert (metric.low, metric.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
        assert metric.se == pytest.approx(100 * np.std(scores, ddof=1) / np.sqrt(n))
    # Prompts that count differently are no trials of one share.
    assert measure(measured(scores, [3.0, *[1.0] * (n - 1)])).low != pytest.approx(low, abs=1e-3)


@pytest.mark.parametrize("interval", [None, (0.5, 0.5)])
def test_an_estimator_of_scores_that_are_all_the_same_has_wilsons_interval(
    interval: tuple[float, float] | None,
) -> None:
    ids = [str(place) for place in range(50)]
    ties = Measured("m", ids, np.full(50, 0.5), None, True, 0.5, np.zeros(50), interval=interval)
    metric = measure(ties)
    assert (metric.low, metric.high) == (pytest.approx(36.644514), pytest.approx(63.355486))
    wins = Measured("m", ids, 1 - np.linspace(0, 5e-5, 50), None, True, 0.99, np.full(50, 1e-5))
    metric = measure(wins)
    # Of 49.5 wins: (p + z^2 / 2n) / (1 + z^2 / n), less and more the root.
    z, p = 1.959963984540054, 0.99
    center, root = p + z * z / 100, z * np.sqrt(p * (1 - p) / 50 + z * z / 10000)
    assert metric.low == pytest.approx(100 * (center - root) / (1 + z * z / 50))
    assert metric.high == pytest.approx(100 * (center + root) / (1 + z * z / 50))


def test_missing_scores_are_no_zeros() -> None:
    metric = measure(measured([1.0, np.nan, 0.0, np.nan]))
    assert (metric.value, metric.n) == (50.0, 2)
    nothing = measure(measured([np.nan]))
    assert (nothing.value, nothing.low, nothing.se, nothing.n) == (None, None, None, 0)
    assert measure(measured([1.0])).se is None


def test_an_estimator_brings_its_influences() -> None:
    influence = np.array([0.03, -0.04])
    metric = measure(Measured("lc", ["a", "b"], np.array([0.1, 0.2]), None, True, 0.03, influence))
    assert (metric.value, metric.se) == (pytest.approx(3), pytest.approx(5))
    # Symmetric in log-odds, so that it does not reach below 0.
    assert metric.low is not None
    assert 0 < metric.low < 1
    assert log_odds_interval(0.0, 0.1) == (0.0, 0.0)


def test_two_scores_of_a_prompt_are_refused() -> None:
    with pytest.raises(InputError, match="two scores"):
        Measured("m", ["a", "a"], np.array([1.0, 0.0]))
    with pytest.raises(InputError, match="2 scores for 1 prompts"):
        Measured("m", ["a"], np.array([1.0, 0.0]))
