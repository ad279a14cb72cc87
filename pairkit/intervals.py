"""How sure a mean is: percentile bootstrap intervals, of a mean and of a paired difference.

Problems that are not independent (a sum and its mirror image, the turns of one dialogue) are given the
same group, and whole groups are drawn: otherwise the interval would be too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.errors import InputError

Floats = npt.NDArray[np.float64]
# Numbers drawn at once: bounds memory, changes no result.
_CHUNK = 2**22


class Interval(NamedTuple):
    """A mean and the interval around it, at the level it was asked for."""

    mean: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """Whether a mean of zero is within the interval: then nothing was shown."""
        return self.low <= 0 <= self.high


def bootstrap_mean(
    values: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean of `values` and its percentile bootstrap interval.

    Args:
        values: one finite number a problem, `[N]`.
        groups: the group of each problem, `[N]`; None: each is its own.
        level: the share of the resampled means within the interval.

    Raises `InputError` for no values, values that are not finite, or groups of another length.

    References: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise InputError(f"a bootstrap wants finite numbers in one row, at least one; got {numbers!r}")
    sums, counts = _by_group(numbers, groups)
    random = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(sums))
    means = [
        _resampled_means(sums, counts, random, min(rows, resamples - done))
        for done in range(0, resamples, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(numbers.mean()), float(low), float(high))


def bootstrap_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean of `first - second`, problem by problem, and its interval (see `bootstrap_mean`).

    Both are resampled together, so that what makes a problem hard for both drops out.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise InputError(f"a paired difference wants the same problems on both sides: {a.shape}, {b.shape}")
    return bootstrap_mean(a - b, groups=groups, level=level, resamples=resamples, seed=seed)


def _by_group(values: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and number of the values of each group."""
    if groups is None:
        return values, np.ones_like(values)
    if len(groups) != len(values):
        raise InputError(f"{len(values)} values and {len(groups)} groups: each value wants its group")
    index = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    owner = np.array([index[group] for group in groups])
    sums = np.bincount(owner, weights=values).astype(np.float64)
    return sums, np.bincount(owner).astype(np.float64)


def _resampled_means(sums: Floats, counts: Floats, random: np.random.Generator, resamples: int) -> Floats:
    drawn = random.integers(0, len(sums), size=(resamples, len(sums)))
    means: Floats = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def wilson(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """The share of successes and its score interval.

    >>> wilson(8, 10)
    Interval(mean=0.8, low=0.49016247153664183, high=0.9433178485456247)

    Raises `InputError` for no trials, or successes that are not among them.

    References: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not 0 <= successes <= trials or not trials:
        raise InputError(f"a share wants 0 <= successes <= trials, at least one; got {successes} of {trials}")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == trials else (centre + half) / scale
    return Interval(share, low, high)
