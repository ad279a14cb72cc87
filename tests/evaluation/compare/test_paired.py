"""Paired differences against computations of their own."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from support.evaluations import measured

from pairkit.errors import InputError
from pairkit.evaluation.compare.own import mean_over_seeds
from pairkit.evaluation.compare.paired import Difference, difference
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.measures import Measured
from pairkit.evaluation.results import Run
from pairkit.evaluation.sign import share_interval
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
    of_mean, values = mean_over_seeds(first, "m")
    assert values == pytest.approx(means)
    assert of_mean.value == pytest.approx(np.mean(means))
    assert of_mean.se == pytest.approx(100 * mean.std(ddof=1) / math.sqrt(40))
    assert compared(measured("m", list(one)), measured("m", list(one))).seed_se is None


def test_prompts_that_all_differ_alike_leave_room_for_others() -> None:
    same = compared(measured("m", [1.0, 0.0] * 50), measured("m", [1.0, 0.0] * 50))
    # Up to 3.7 % of other prompts are compatible with 0 of 100 (Wilson).
    assert (same.value, same.se, same.p) == (0, 0, 1)
    assert (same.low, same.high) == (pytest.approx(-3.7, abs=0.01), pytest.approx(3.7, abs=0.01))
    all_won = compared(measured("m", [1.0] * 20), measured("m", [0.0] * 20))
    assert (all_won.value, all_won.high) == (100, 100)
    assert all_won.low == pytest.approx(100 - 2 * 16.11, abs=0.01)
    assert all_won.p == pytest.approx(2 / 2**20)


def test_one_prompt_has_no_error_and_none_is_refused() -> None:
    one = compared(measured("m", [1.0]), measured("m", [0.0]))
    assert (one.value, one.low, one.se, one.p) == (100, None, None, None)
    with pytest.raises(InputError, match="a and b have no common prompt with a score of m"):
        compared(measured("m", [1.0, None]), measured("m", [None, 1.0]))


def estimate(scores: list[float | None], value: float, influence: np.ndarray) -> Measured:
    return measured("lc", scores, value=value, influence=influence)


def test_an_estimate_has_the_error_of_all_prompts_of_either_run() -> None:
    u, v = RANDOM.normal(0, 0.01, 60), RANDOM.normal(0, 0.01, 60)
    a: list[float | None] = [0.5] * 40 + [None] * 20
    b: list[float | None] = [None] * 38 + [0.5] * 22
    u[40:], v[:38] = 0, 0
    found = compared(estimate(a, 0.6, u), estimate(b, 0.5, v))
    # Each side is independent but for the two common prompts.
    expected = math.sqrt((u**2).sum() + (v**2).sum() - 2 * (u * v)[38:40].sum())
    assert found.se == pytest.approx(100 * expected)
    assert found.value == pytest.approx(10)
    assert (found.n, found.first_n, found.second_n) == (2, 40, 22)


def test_estimates_without_width_have_the_interval_of_wilson() -> None:
    same = compared(estimate([0.5] * 100, 0.5, np.zeros(100)), estimate([0.5] * 100, 0.5, np.zeros(100)))
    assert (same.low, same.high, same.p) == (pytest.approx(-3.7, abs=0.01), pytest.approx(3.7, abs=0.01), 1)
    won = compared(estimate([1.0] * 40, 0.9999, np.full(40, 1e-6)), estimate([0.5] * 40, 0.5, np.zeros(40)))
    assert won.low is not None
    assert won.low == pytest.approx(49.99 - 8.76 * 1.4999, abs=0.01)
    assert won.p == pytest.approx(2 / 2**40)


def test_an_estimate_in_points_without_width_has_a_p() -> None:
    a, b = (measured("elo", [0.5] * 40, value=value, influence=np.zeros(40), share=False) for value in (9, 1))
    assert compared(a, b).p == pytest.approx(2 / 2**40)
    assert compared(a, a).p == 1


def test_few_prompts_of_an_estimate_have_no_p() -> None:
    found = compared(estimate([0.5] * 10, 0.9, np.full(10, 0.01)), estimate([0.5] * 10, 0.1, np.zeros(10)))
    assert (found.p, found.test) == (None, None)


@pytest.mark.parametrize(
    ("first", "p"),
    # 2 (1/2)^5, 2 (1/2)^4, 2 (1 + 8) (1/2)^8.
    [([1.0] * 5, 0.0625), ([1.0] * 4 + [0.0], 0.125), ([1.0] * 7 + [0.0] * 50 + [-1.0], 18 / 256)],
)
def test_few_prompts_have_the_sign_test_and_an_interval_that_agrees(first: list[float], p: float) -> None:
    a = [max(gap, 0.0) for gap in first]
    b = [max(-gap, 0.0) for gap in first]
    found = compared(measured("m", a), measured("m", b))
    assert (found.p, found.test) == (pytest.approx(p), "sign")
    assert found.low is not None
    assert found.low < 0 < found.value


def test_six_of_six_prompts_show_a_difference_and_so_does_the_interval() -> None:
    found = compared(measured("m", [1.0] * 6), measured("m", [0.0] * 6))
    assert found.p == pytest.approx(1 / 32)
    # Clopper and Pearson: 0.025^(1/6) of the prompts that differ.
    assert found.low == pytest.approx(100 * (2 * 0.025 ** (1 / 6) - 1))


def test_exact_interval_of_a_share() -> None:
    # Table of Clopper and Pearson for 8 of 10.
    assert share_interval(8, 10) == pytest.approx((0.4439, 0.9748), abs=1e-4)
    assert share_interval(2, 10) == pytest.approx((1 - 0.9748, 1 - 0.4439), abs=1e-4)
    assert share_interval(0, 10) == pytest.approx((0, 1 - 0.025**0.1))


def test_value_interval_and_error_of_seeds_are_of_the_same_prompts() -> None:
    seeds = measured("m", [1, 0, 1, 0] * 10), measured("m", [1, 0, 0, 1] * 5 + [None] * 20)
    metric, values = mean_over_seeds(setting("a", *seeds), "m")
    assert (metric.n, metric.value) == (20, pytest.approx(50))
    assert values == pytest.approx([50, 50])
    assert metric.low is not None
    assert metric.high is not None
    drawn = np.random.default_rng(5).integers(0, 20, (4000, 20))
    means = np.array([1, 0, 0.5, 0.5] * 5)[drawn].mean(axis=1) * 100
    assert (metric.low, metric.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=2.6)


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_seeds_that_are_all_right_or_wrong_have_the_interval_of_wilson(score: float) -> None:
    metric, _ = mean_over_seeds(setting("a", *[measured("m", [score] * 40) for _ in range(2)]), "m")
    # z^2 / (n + z^2)
    assert metric.low is not None
    assert metric.high is not None
    assert metric.high - metric.low == pytest.approx(100 * 3.8415 / 43.8415, abs=1e-3)
