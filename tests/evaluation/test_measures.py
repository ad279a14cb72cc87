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
