"""A metric is a mean of scores, one score per prompt: its value, standard error and interval.

A score is a right or wrong, a win rate's points, a rating. Several games, turns or instructions of one prompt
are one score whose weight is their number, so that the metric is a ratio of sums and its error is by prompt.
Other estimators (a length-controlled win rate) bring their value and each prompt's influence on it.

Shapes: n prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.intervals import Floats, bootstrap_ratio, wilson_share

_LEVEL = 0.95
# Of a share: a hundredth of a point, since what differs by less is shown as one number.
_NO_WIDTH = 1e-4
_Z = NormalDist().inv_cdf((1 + _LEVEL) / 2)


class Metric(NamedTuple):
    """A metric in its unit; None where it has no value (no prompt has a score) or no error (one has)."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    se: float | None
    n: int  # prompts with a score
    unit: str = ""  # "%", or "" for points


@dataclass(frozen=True)
class Measured:
    """The scores of one metric.

    Attributes:
        prompt_ids: of the n prompts, each once.
        scores: `[n]`, NaN where the prompt has none; between 0 and 1 if `share`.
        weights: `[n]`, what each score counts in the mean; None: 1 each.
        share: whether the metric is a share, shown in percent.
        value: the metric in units of the scores, for an estimator that is not their weighted mean.
        influence: `[n]`, the influence of each prompt on `value`, whose squares sum to its variance.
        interval: the 95 % interval of `value`, where the estimator was resampled; None: from the influence.
        categories: `[n]`, the category of each prompt, or None.
    """

    name: str
    prompt_ids: Sequence[str]
    scores: Floats
    weights: Floats | None = None
    share: bool = False
    value: float | None = None
    influence: Floats | None = None
    categories: Sequence[str | None] | None = None
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if len(self.prompt_ids) != len(self.scores):
            raise InputError(f"{self.name}: {len(self.scores)} scores for {len(self.prompt_ids)} prompts")
        if len(set(self.prompt_ids)) != len(self.prompt_ids):
            raise InputError(f"{self.name}: a prompt has two scores: join its games or turns first")

    @property
    def unit(self) -> str:
        """The unit in which the metric is shown."""
        return "%" if self.share else ""

    @property
    def scale(self) -> float:
        """The factor from scores to the unit."""
        return 100.0 if self.share else 1.0

    def rows(self, selection: Sequence[bool] | np.ndarray) -> Measured:
        """Return the measured prompts that are chosen; only for a weighted mean."""
        keep = np.asarray(selection, dtype=bool)
        return Measured(
            self.name,
            [prompt for prompt, is_chosen in zip(self.prompt_ids, keep, strict=True) if is_chosen],
            self.scores[keep],
            None if self.weights is None else self.weights[keep],
            self.share,
        )


def measure(measurement: Measured, *, seed: int = 0) -> Metric:
    """Compute a metric with its standard error and 95 % interval; whole prompts are resampled.

    The interval of a share of prompts that are right or wrong, each counting the same, is Wilson's; so is
    that of any share of scores that are all the same (all wins, all ties), whose bootstrap has no width. The
    interval of an estimator with influences is else its own, or symmetric in log-odds for a share, or in the
    value.
    """
    mask = ~np.isnan(measurement.scores)
    count = int(mask.sum())
    if not count:
        return Metric(measurement.name, None, None, None, None, 0, measurement.unit)
    if measurement.influence is not None:
        return _by_influence(measurement, count)
    scores, weights = measurement.scores[mask], _weights(measurement)[mask]
    value, influence = weighted_mean(scores, weights)
    if measurement.share and (_right_or_wrong(scores, weights) or alike(scores)):
        _, low, high = wilson_share(value, count)
    else:
        low, high = bootstrap_ratio(scores * weights, weights, seed=seed)
    return _metric(measurement, value, low, high, standard_error(influence), count)


def weighted_mean(scores: Floats, weights: Floats) -> tuple[float, Floats]:
    """Return the mean of scores `[n]` and the influence of each prompt on it, `[n]`.

    With a = score * weight and r = sum a / sum weight, the influence is
    sqrt(n / (n - 1)) (a_i - r weight_i) / sum weight, so that the root of the sum of squares is the standard
    error of a ratio; with equal weights, of a mean. NaN for one prompt.
    """
    n, total = len(scores), weights.sum()
    value = float((scores * weights).sum() / total)
    factor = math.sqrt(n / (n - 1)) if n > 1 else math.nan
    return value, factor * (scores - value) * weights / total


def standard_error(influence: Floats) -> float | None:
    """Return the root of the sum of squares of influences; None for those of one prompt."""
    error = float(np.sqrt((influence**2).sum()))
    return None if math.isnan(error) else error


def normal_interval(value: float, error: float | None) -> tuple[float, float]:
    """Return the 95 % interval that is symmetric around the value; of no width without an error.

    >>> normal_interval(0.5, 0.1)
    (0.304003601545..., 0.695996398454...)
    """
    low, high = (value + sign * _Z * (error or 0.0) for sign in (-1, 1))
    return low, high


def log_odds_interval(value: float, error: float | None) -> tuple[float, float]:
    """Return the 95 % interval of a share that is symmetric in log-odds, so that it stays within 0 and 1.

    >>> log_odds_interval(0.03, 0.02)
    (0.00797724465..., 0.10630574367...)
    """
    if error is None or not 0 < value < 1:
        return value, value
    # The delta method: the derivative of log-odds is 1 / (value (1 - value)).
    center, half = math.log(value / (1 - value)), _Z * error / (value * (1 - value))
    low, high = (1 / (1 + math.exp(-(center + sign * half))) for sign in (-1, 1))
    return low, high


def alike(scores: Floats) -> bool:
    """Return whether all scores `[n]` are the same, to a hundredth of a point: a resample then shows nothing.

    >>> alike(np.array([1.0, 0.99999])), alike(np.array([1.0, 0.5]))
    (True, False)
    """
    return float(np.ptp(scores)) < _NO_WIDTH


def _right_or_wrong(scores: Floats, weights: Floats) -> bool:
    return bool(np.isin(scores, (0, 1)).all() and (weights == weights[0]).all())


def _by_influence(measurement: Measured, count: int) -> Metric:
    assert measurement.value is not None
    assert measurement.influence is not None
    error = standard_error(measurement.influence)
    # As in `measure`: an estimate of scores that are all the same has no spread either.
    if measurement.share and alike(measurement.scores[~np.isnan(measurement.scores)]):
        _, low, high = wilson_share(measurement.value, count)
    elif measurement.interval is not None:
        low, high = measurement.interval
    elif measurement.share:
        low, high = log_odds_interval(measurement.value, error)
    else:
        low, high = normal_interval(measurement.value, error)
    return _metric(measurement, measurement.value, low, high, error, count)


def _metric(
    measurement: Measured, value: float, low: float, high: float, error: float | None, count: int
) -> Metric:
    scale = measurement.scale
    se = None if error is None else scale * error
    return Metric(measurement.name, scale * value, scale * low, scale * high, se, count, measurement.unit)


def _weights(measurement: Measured) -> Floats:
    return np.ones(len(measurement.scores)) if measurement.weights is None else measurement.weights
