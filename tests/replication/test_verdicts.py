"""Intervals over seeds and problems, against computations of their own; verdicts at their borders."""

from __future__ import annotations

import numpy as np
import pytest
from support.replications import measured

from pairkit.errors import InputError
from pairkit.intervals import Interval
from pairkit.replication.measured import START, Measured, Seed
from pairkit.replication.quantities import accuracy, chosen_ratio
from pairkit.replication.verdicts import estimate, joined, verdict


def seed_of(number: int, values: np.ndarray, groups: list[int] | None = None) -> Seed:
    random = np.random.default_rng(number)
    model = measured(random, problems=len(values))
    model = Measured({**model.problems, "right": values}, model.pairs)
    return Seed(number, {START: {0: model}}, {START: "pairs"}, groups or list(range(len(values))))


def right(seed: Seed) -> float:
    return accuracy(seed.at(START))


def test_the_interval_of_one_seed_is_that_of_its_problems() -> None:
    values = np.random.default_rng(1).random(200)
    found = estimate(right, [seed_of(0, values)])
    assert found.interval.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.interval.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert found.interval.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_both_seeds_and_problems_widen_the_interval() -> None:
    """The variance of the mean is that of seeds over their number, plus that of problems over both."""
    random = np.random.default_rng(2)
    means = random.normal(0.0, 1.0, 6)
    seeds = [seed_of(n, mean + random.normal(0.0, 5.0, 50)) for n, mean in enumerate(means)]
    values = np.array([right(seed) for seed in seeds])
    within = np.mean([np.var(seed.at(START).problem("right")) / 50 for seed in seeds])
    expected = np.sqrt(values.var() / 6 + within / 6)
    interval = estimate(right, seeds).interval
    assert (interval.high - interval.low) / (2 * 1.96) == pytest.approx(expected, rel=0.1)


def test_problems_of_a_group_are_drawn_together() -> None:
    values = np.repeat(np.random.default_rng(3).random(20), 10)
    alone = estimate(right, [seed_of(0, values)]).interval
    grouped = estimate(right, [seed_of(0, values, [n // 10 for n in range(200)])]).interval
    assert grouped.high - grouped.low > 2.5 * (alone.high - alone.low)


def test_arms_of_a_seed_are_drawn_alike() -> None:
    """The difference of two models that differ by a constant has no width."""
    random = np.random.default_rng(4)
    first = measured(random)
    second = Measured(
        {**first.problems, "right": first.problems["right"] + 0.25},
        {**first.pairs, "chosen": first.pairs["chosen"] + 2.0},
    )
    arms = {START: {0: first}, "arm": {2: second}}
    seed = Seed(0, arms, {START: "pairs", "arm": "pairs"}, list(range(40)))
    for of, gap in ((accuracy, 0.25), (chosen_ratio, 2.0)):
        interval = estimate(lambda each, of=of: of(each.at("arm")) - of(each.at(START)), [seed]).interval
        assert interval.mean == pytest.approx(gap)
        assert interval.high - interval.low < 1e-9


def test_all_pairs_of_a_set_are_drawn_together() -> None:
    seed = Seed(0, {START: {0: measured(np.random.default_rng(5))}}, {START: "pairs"}, list(range(40)))
    drawn = seed.resampled(np.random.default_rng(0)).at(START)
    numbers, counts = np.unique(drawn.pair("set"), return_counts=True)
    assert len(drawn.pair("set")) == 60
    assert all(count % 3 == 0 for count in counts)
    assert len(numbers) < 20


def test_a_number_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="not finite"):
        estimate(lambda seed: float("nan"), [seed_of(0, np.ones(3))])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.001, 0.5, "held"),
        (-0.5, -0.001, "did not hold"),
        (-0.02, 0.02, "did not hold"),
        (-0.021, 0.02, "undecided"),
        (-0.01, 0.021, "undecided"),
        (0.0, 0.5, "undecided"),
    ],
)
def test_verdicts(low: float, high: float, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high), 0.02) == expected


def test_a_claim_holds_where_all_of_its_statistics_do() -> None:
    assert joined(["held", "held"]) == "held"
    assert joined(["held", "undecided"]) == "undecided"
    assert joined(["undecided", "did not hold", "held"]) == "did not hold"
