"""Confidence intervals: bootstrap of a mean or a paired difference, and Wilson's of a share.

Problems that are not independent (a sum and its mirror image, the turns of one dialogue) share a group, and
whole groups are resampled, because otherwise the interval would be too narrow.
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
# Numbers sampled at once: limits memory and changes no result.
_CHUNK = 2**22


class Interval(NamedTuple):
    """A mean and the interval around it, at the requested level."""

    mean: float
    low: float
    high: float

    @property
    def includes_zero(self) -> bool:
        """Whether the interval includes zero: then no difference was shown."""
        return self.low <= 0 <= self.high


def bootstrap_mean(
    values: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Compute the mean of `values` and its percentile bootstrap interval.

    Args:
        values: one finite number per problem, `[N]`.
        groups: the group of each problem, `[N]`; None: each problem is a group.
        level: the share of the resampled means within the interval.

    Raises `InputError` for no values, values that are not finite, or groups of another length.

    References: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """
    numbers = np.asarray(values, dtype=np.float64)
    # Refused, because a NaN would make every resampled mean NaN.
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise InputError(f"a bootstrap needs a non-empty 1-D array of finite numbers, got {numbers!r}")
    sums, counts = _by_group(numbers, groups)
    return Interval(float(numbers.mean()), *bootstrap_ratio(sums, counts, level, resamples, seed))


def bootstrap_ratio(
    numerators: Floats, denominators: Floats, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Compute the percentile bootstrap interval of a ratio of sums over groups, `[groups]` each.

    >>> bootstrap_ratio(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    (0.5, 0.5)
    """
    random = np.random.default_rng(seed)
    # In parts, because all resamples of a large evaluation would not fit into memory.
    rows = max(1, _CHUNK // len(numerators))
    ratios = [
        _resampled_ratios(numerators, denominators, random, min(rows, resamples - start))
        for start in range(0, resamples, rows)
    ]
    low, high = np.quantile(np.concatenate(ratios), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Compute the mean of `first - second`, problem by problem, and its interval (see `bootstrap_mean`).

    Both are resampled together, so that the difficulty of a problem, which affects both, cancels out.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    # Numpy would broadcast other shapes, and the result would look right.
    if a.shape != b.shape:
        raise InputError(
            f"a paired difference needs the same problems on both sides, got {a.shape} and {b.shape}"
        )
    return bootstrap_mean(a - b, groups=groups, level=level, resamples=resamples, seed=seed)


def bootstrap_ratio_difference(
    first: Sequence[tuple[Floats, Floats]],
    second: Sequence[tuple[Floats, Floats]],
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Compute the percentile bootstrap interval of a difference of mean ratios of sums over groups.

    A side is the numerators and denominators, `[groups]` each, of one run or of several, whose ratios are
    averaged. All are resampled together. Of equal denominators it is the interval of `bootstrap_difference`.

    >>> run = (np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    >>> bootstrap_ratio_difference([run], [run])
    (0.0, 0.0)
    """
    random = np.random.default_rng(seed)
    groups = len(first[0][0])
    rows = max(1, _CHUNK // groups)
    gaps = []
    for start in range(0, resamples, rows):
        indices = random.integers(0, groups, size=(min(rows, resamples - start), groups))
        gaps.append(_mean_ratio(first, indices) - _mean_ratio(second, indices))
    low, high = np.quantile(np.concatenate(gaps), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mean_ratio(runs: Sequence[tuple[Floats, Floats]], indices: npt.NDArray[np.int64]) -> Floats:
    ratios = [above[indices].sum(axis=1) / below[indices].sum(axis=1) for above, below in runs]
    mean: Floats = np.mean(ratios, axis=0)
    return mean


def _by_group(values: Floats, groups: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Return the sum and the number of the values of each group, `[groups]` each."""
    if groups is None:
        return values, np.ones_like(values)
    if len(groups) != len(values):
        raise InputError(f"{len(values)} values but {len(groups)} groups: give one group per value")
    # In order of appearance, because the seed samples group numbers.
    index = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    owner = np.array([index[group] for group in groups])
    sums = np.bincount(owner, weights=values).astype(np.float64)
    return sums, np.bincount(owner).astype(np.float64)


def _resampled_ratios(
    numerators: Floats, denominators: Floats, random: np.random.Generator, resamples: int
) -> Floats:
    # `[resamples, groups]`: the denominator is resampled too, because groups differ in it.
    indices = random.integers(0, len(numerators), size=(resamples, len(numerators)))
    ratios: Floats = numerators[indices].sum(axis=1) / denominators[indices].sum(axis=1)
    return ratios


def wilson(successes: int, trials: int, *, level: float = 0.95) -> Interval:
    """Compute the share of successes and its score interval.

    >>> wilson(8, 10)
    Interval(mean=0.8, low=0.4901624715..., high=0.9433178485...)

    Raises `InputError` for zero trials, or for successes outside 0 to `trials`.

    References: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not 0 <= successes <= trials or not trials:
        raise InputError(
            f"a share needs 0 <= successes <= trials and trials > 0, got {successes} of {trials}"
        )
    return wilson_share(successes / trials, trials, level=level)


def wilson_share(share: float, trials: int, *, level: float = 0.95) -> Interval:
    """Compute the score interval of a share in which a tie may count 1/2.

    >>> wilson_share(0.5, 50)
    Interval(mean=0.5, low=0.3664451431..., high=0.6335548568...)
    """
    # The score interval, because the usual one is empty where all or none succeed.
    z = NormalDist().inv_cdf((1 + level) / 2)
    center = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    # Exactly 0 and 1 at the ends, where the formula leaves rounding errors.
    low = 0.0 if share == 0 else (center - half) / scale
    high = 1.0 if share == 1 else (center + half) / scale
    return Interval(share, low, high)
