"""Intervals over seeds and, within a seed, problems and pairs; and what they say about a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.intervals import Floats, Interval
from pairkit.replication.measured import Seed

Verdict = Literal["held", "did not hold", "undecided"]
RESAMPLES = 400  # of a seed
DRAWS = 10_000  # of seeds


class Estimate(NamedTuple):
    """A statistic: its mean over seeds with the interval, and the value of each seed."""

    interval: Interval
    seeds: list[float]


def estimate(of: Callable[[Seed], float], seeds: Sequence[Seed], *, level: float = 0.95) -> Estimate:
    """Compute the mean of a statistic over seeds, with its percentile interval of a bootstrap in two stages.

    First seeds are drawn, with replacement, then for each of them a resample of its problems and pairs. Of
    one seed the interval is that of its problems and pairs alone.

    Raises `InputError` for a statistic that is not finite.

    References: Davison and Hinkley, Bootstrap Methods and their Application, section 3.8.
    """
    values = [of(seed) for seed in seeds]
    # A fixed seed: the same runs have the same interval, and so the same verdict.
    random = np.random.default_rng(0)
    within: Floats = np.array(
        [[of(seed.resampled(random)) for _ in range(RESAMPLES)] for seed in seeds], dtype=np.float64
    )  # [seeds, RESAMPLES]
    if not (np.isfinite(values).all() and np.isfinite(within).all()):
        raise InputError(f"a statistic of seeds {[seed.number for seed in seeds]} is not finite: {values}")
    # [DRAWS, seeds]: which seed; then, of its resamples, which one.
    draws = random.integers(0, len(seeds), (DRAWS, len(seeds)))
    means = within[draws, random.integers(0, RESAMPLES, draws.shape)].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(Interval(float(np.mean(values)), float(low), float(high)), values)


def verdict(interval: Interval, least: float) -> Verdict:
    """Decide whether a statistic that a claim puts above 0 is there.

    Args:
        least: the smallest difference worth having.

    >>> verdict(Interval(0.05, 0.01, 0.09), 0.02), verdict(Interval(0.0, -0.01, 0.01), 0.02)
    ('held', 'did not hold')
    >>> verdict(Interval(-0.05, -0.09, -0.01), 0.02), verdict(Interval(0.02, -0.01, 0.05), 0.02)
    ('did not hold', 'undecided')
    """
    if interval.low > 0:
        return "held"
    # An interval within the smallest difference shows that there is none worth having.
    if interval.high < 0 or (-least <= interval.low and interval.high <= least):
        return "did not hold"
    return "undecided"


def joined(verdicts: Iterable[Verdict]) -> Verdict:
    """Join the verdicts of a claim's statistics: it holds where all hold, and fails where one fails."""
    kinds = set(verdicts)
    if "did not hold" in kinds:
        return "did not hold"
    return "undecided" if "undecided" in kinds else "held"
