"""Paired differences against computations of their own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.evaluations import measured

from pairkit.errors import InputError
from pairkit.evaluation.compare.paired import Difference, difference, mean_over_seeds
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.measures import Measured
from pairkit.evaluation.results import Run
from pairkit.intervals import bootstrap_difference

RANDOM = np.random.default_rng(0)


def setting(name: str, *runs: Measured) -> Setting:
    return Setting(name, tuple(Run(Path(name), {}, {one.name: one}) for one in runs))


def compared(first: Measured, second: Measured) -> Difference:
    return difference(setting("a", first), setting("b", second), first.name)


def test_a_mean_is_the_mean_of_differences_prompt_by_prompt() -> None:
    a = RANDOM.random(50)
    b = np.clip(a + RANDOM.normal(0, 0.1, 50), 0, 1)
    found = compared(measured("m", list(a)), measured("m", list(b)))
    d = 100 * (a - b)
    assert found.value == pytest.approx(d.mean())
    assert found.se == pytest.approx(d.std(ddof=1) / math.sqrt(50))
    assert found.unpaired_se == pytest.approx(100 * math.sqrt(a.var(ddof=1) / 50 + b.var(ddof=1) / 50))
    # The bootstrap that exists, with the same random numbers.
    assert (found.low, found.high) == pytest.approx([100 * bound for bound in bootstrap_difference(a, b)[1:]])
    assert (found.higher, found.lower, found.equal) == ((d > 0).sum(), (d < 0).sum(), 0)


def test_only_common_prompts_count_and_they_are_joined_by_id() -> None:
    a = Measured("m", ["x", "y", "z", "w"], np.array([1.0, 0.0, np.nan, 1.0]), share=True)
    b = Measured("m", ["w", "z", "y", "v"], np.array([0.0, 1.0, 0.0, 1.0]), share=True)
    found = compared(a, b)
    assert found.n == 2  # y and w
    assert (found.first_value, found.second_value, found.value) == (50, 0, 50)
    assert (found.higher, found.equal) == (1, 1)


def test_a_ratio_has_the_error_of_a_resampled_ratio() -> None:
    weights = RANDOM.integers(1, 4, 60).astype(float)
    other = RANDOM.integers(1, 4, 60).astype(float)
    a, b = RANDOM.random(60), RANDOM.random(60)
    ids = [f"p{n}" for n in range(60)]
    found = compared(Measured("m", ids, a, weights), Measured("m", ids, b, other))
    assert found.value == pytest.approx((a * weights).sum() / weights.sum() - (b * other).sum() / other.sum())
    drawn = np.random.default_rng(5).integers(0, 60, (4000, 60))
    resampled = [np.average(a[d], weights=weights[d]) - np.average(b[d], weights=other[d]) for d in drawn]
    assert found.se == pytest.approx(np.std(resampled), rel=0.05)
    assert (found.low, found.high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.01)


def test_another_estimator_brings_its_influences() -> None:
    u, v = RANDOM.normal(0, 0.01, 30), RANDOM.normal(0, 0.01, 30)
    a = measured("lc", [0.5] * 30, value=0.4, influence=u)
    b = measured("lc", [0.5] * 30, value=0.3, influence=v)
    found = compared(a, b)
    expected = 100 * math.sqrt(((u - v) ** 2).sum())
    assert (found.higher, found.lower, found.equal) == (None, None, None)
    assert (found.value, found.se) == (pytest.approx(10), pytest.approx(expected))
    assert (found.low, found.high) == pytest.approx((10 - 1.959964 * expected, 10 + 1.959964 * expected))


def test_seeds_are_averaged_prompt_by_prompt_and_their_spread_stays_apart() -> None:
    seeds = [RANDOM.integers(0, 2, 40).astype(float) for _ in range(3)]
    one = RANDOM.integers(0, 2, 40).astype(float)
    first = setting("a", *[measured("m", list(scores)) for scores in seeds])
    found = difference(first, setting("b", measured("m", list(one))), "m")
    mean = np.mean(seeds, axis=0)
    assert found.value == pytest.approx(100 * (mean - one).mean())
    assert found.se == pytest.approx(100 * (mean - one).std(ddof=1) / math.sqrt(40))
    means = [100 * scores.mean() for scores in seeds]
    assert found.seed_se == pytest.approx(np.std(means, ddof=1) / math.sqrt(3))
    of_mean = mean_over_seeds(first, "m")
    assert of_mean.value == pytest.approx(np.mean(means))
    assert of_mean.se == pytest.approx(100 * mean.std(ddof=1) / math.sqrt(40))
    assert compared(measured("m", list(one)), measured("m", list(one))).seed_se is None


def test_prompts_that_all_differ_alike_leave_room_for_others() -> None:
    same = compared(measured("m", [1.0, 0.0] * 50), measured("m", [1.0, 0.0] * 50))
    # Up to 3.7 % of other prompts are compatible with 0 of 100 (Wilson).
    assert (same.value, same.se, same.p) == (0, 0, 1)
    assert (same.low, same.high) == (pytest.approx(-3.7, abs=0.01), pytest.approx(3.7, abs=0.01))
    all_won = compared(measured("m", [1.0] * 10), measured("m", [0.0] * 10))
    assert (all_won.value, all_won.high) == (100, 100)
    assert all_won.low == pytest.approx(100 - 2 * 27.75, abs=0.01)
    assert all_won.p == pytest.approx(2 / 2**10)


def test_one_prompt_has_no_error_and_none_is_refused() -> None:
    one = compared(measured("m", [1.0]), measured("m", [0.0]))
    assert (one.value, one.low, one.se, one.p) == (100, None, None, None)
    with pytest.raises(InputError, match="a and b have no common prompt with a score of m"):
        compared(measured("m", [1.0, None]), measured("m", [None, 1.0]))
