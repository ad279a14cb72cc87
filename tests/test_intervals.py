"""Intervals against theory and against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pairkit.errors import InputError
from pairkit.intervals import Interval, bootstrap_difference, bootstrap_mean, wilson


def test_mean_interval_matches_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    found = bootstrap_mean(values, resamples=4000)
    error = values.std() / np.sqrt(len(values))
    assert found.mean == values.mean()
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.1 * error)
    narrow = bootstrap_mean(values, level=0.5, resamples=4000)
    assert narrow.high - narrow.low == pytest.approx(2 * 0.674 * error, rel=0.05)


def test_small_cases_match_hand_computation() -> None:
    # Of two values both resamples are equally likely to be (0,0), (0,1), (1,0), (1,1).
    assert bootstrap_mean([0, 1], level=0.4) == Interval(0.5, 0.5, 0.5)
    assert bootstrap_mean([0, 1], level=0.6) == Interval(0.5, 0.0, 1.0)
    assert bootstrap_mean([0.25] * 7) == Interval(0.25, 0.25, 0.25)


@pytest.mark.full
def test_intervals_cover_the_true_mean() -> None:
    random = np.random.default_rng(1)
    hits = [
        found.low <= 0.3 <= found.high
        for found in (bootstrap_mean(random.random(200) < 0.3, resamples=500, seed=i) for i in range(400))
    ]
    assert 0.91 < np.mean(hits) < 0.98


def test_groups_widen_the_interval() -> None:
    values = np.random.default_rng(2).random(300)
    twice = np.repeat(values, 2)
    names = [f"g{i // 2}" for i in range(600)]
    alone, grouped, ignored = (
        bootstrap_mean(values),
        bootstrap_mean(twice, groups=names),
        bootstrap_mean(twice),
    )
    assert grouped == pytest.approx(alone)
    width = grouped.high - grouped.low
    assert ignored.high - ignored.low == pytest.approx(width / np.sqrt(2), rel=0.05)


def test_groups_count_by_their_size() -> None:
    found = bootstrap_mean([1, 1, 1, 0], groups=["a", "a", "a", "b"], level=0.4)
    assert found == Interval(0.75, 0.75, 0.75)  # half of all resamples hold each group once


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    random = np.random.default_rng(3)
    hard = random.random(400)
    first, second = (hard < 0.6).astype(float), (hard < 0.52).astype(float)
    paired = bootstrap_difference(first, second)
    assert paired.mean == pytest.approx(first.mean() - second.mean())
    assert not paired.includes_zero
    shuffled = bootstrap_difference(first, random.permutation(second))
    assert paired.high - paired.low < 0.6 * (shuffled.high - shuffled.low)
    assert bootstrap_difference(first, first) == Interval(0, 0, 0)
    assert bootstrap_difference(first, first).includes_zero


@given(arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e3, 1e3)), st.integers(0, 5))
def test_an_interval_stays_within_the_values(values: np.ndarray, seed: int) -> None:
    found = bootstrap_mean(values, resamples=50, seed=seed)
    assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9
    assert found == bootstrap_mean(values, resamples=50, seed=seed)


def test_chunking_does_not_change_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(4).random(50)
    whole = bootstrap_mean(values, resamples=999)
    monkeypatch.setattr("pairkit.intervals._CHUNK", 500)
    assert bootstrap_mean(values, resamples=999) == whole


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [[1.0], [2.0]]])
def test_values_without_a_mean_are_refused(values: object) -> None:
    with pytest.raises(InputError, match="finite numbers"):
        bootstrap_mean(values)


def test_mismatched_lengths_are_refused() -> None:
    with pytest.raises(InputError, match="same problems"):
        bootstrap_difference([1.0], [1.0, 2.0])
    with pytest.raises(InputError, match="2 values but 1 groups"):
        bootstrap_mean([1.0, 2.0], groups=["a"])


def test_wilson_bounds_are_z_standard_errors_away() -> None:
    """Each bound is z of its own standard errors away from the share."""
    z = 1.959963984540054
    for successes, trials in ((1, 10), (8, 10), (50, 100), (3, 1000)):
        interval = wilson(successes, trials)
        assert interval.mean == successes / trials
        for end in (interval.low, interval.high):
            error = math.sqrt(end * (1 - end) / trials)
            assert abs(interval.mean - end) == pytest.approx(z * error)
        assert interval.low < interval.mean < interval.high
    assert wilson(0, 7).low == 0
    assert wilson(7, 7).high == 1
    assert wilson(0, 7).high > 0.3
    for successes, trials in ((0, 0), (3, 2), (-1, 2)):
        with pytest.raises(InputError, match="a share needs"):
            wilson(successes, trials)
