"""The difference of two settings on the prompts that both have scores of.

Pairing matters: what makes a prompt hard is the same for both and cancels out. Prompts are joined by id.

Shapes: n common prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.holm import normal_p
from pairkit.evaluation.measures import Measured, Metric, measure, standard_error, weighted_mean
from pairkit.intervals import Floats, bootstrap_ratio_difference, wilson

_Z = NormalDist().inv_cdf(0.975)


class Difference(NamedTuple):
    """`first` minus `second`, in the unit of the metric; None where there is too little to tell.

    Attributes:
        n: the common prompts.
        first_value: the metric of `first` on them, the mean over its seeds; so for `second_value`.
        low: of the 95 % interval, which is about prompts; seeds are not in it.
        se: standard error from the paired prompts; `unpaired_se` is what it would be on two sets of prompts.
        higher: prompts on which `first` has the higher score, its mean over seeds; `lower`, `equal` likewise;
            None for an estimator whose scores are no measurements of the prompts.
        p: two-sided, that there is no difference.
        seed_se: standard error that the spread over seeds gives the difference; None if both have one seed.
    """

    metric: str
    first: str
    second: str
    unit: str
    n: int
    first_value: float
    second_value: float
    value: float
    low: float | None
    high: float | None
    se: float | None
    unpaired_se: float | None
    higher: int | None
    lower: int | None
    equal: int | None
    p: float | None
    seed_se: float | None


class _Side(NamedTuple):
    """One setting on the common prompts, in units of the scores; each `[n]`."""

    scores: Floats  # mean over seeds
    value: float
    influence: Floats
    sums: list[tuple[Floats, Floats]]  # by seed, numerators and denominators; none for other estimators
    seeds: list[float]


def difference(first: Setting, second: Setting, metric: str, *, seed: int = 0) -> Difference:
    """Compare two settings by a metric. Raises `InputError` if they have no scored prompt in common."""
    sides = [[run.measured[metric] for run in setting.runs] for setting in (first, second)]
    common = common_prompts([measured for side in sides for measured in side])
    if not common:
        raise InputError(
            f"{first.name} and {second.name} have no common prompt with a score of {metric}: compare "
            "evaluations of the same questions"
        )
    a, b = (_side(side, common) for side in sides)
    scale, share = sides[0][0].scale, sides[0][0].share
    value, error = a.value - b.value, _error(a.influence - b.influence)
    low, high = _interval(a, b, value, error, share, seed)
    higher, lower, equal = _counts(a, b)
    return Difference(
        metric,
        first.name,
        second.name,
        sides[0][0].unit,
        len(common),
        scale * a.value,
        scale * b.value,
        scale * value,
        _scaled(scale, low),
        _scaled(scale, high),
        _scaled(scale, error),
        _scaled(scale, standard_error(np.hypot(a.influence, b.influence))),
        higher,
        lower,
        equal,
        _p(value, error, len(common)),
        _scaled(scale, _seed_error(a.seeds, b.seeds)),
    )


def mean_over_seeds(setting: Setting, metric: str) -> Metric:
    """Return the mean of a metric over the runs of a setting, with its error and interval by prompts.

    They are of the prompts that all runs have a score of; the spread over seeds is not in them.
    """
    runs = [run.measured[metric] for run in setting.runs]
    common = common_prompts(runs)
    if not common:
        raise InputError(f"the runs of {setting.name} have no common prompt with a score of {metric}")
    side = _side(runs, common)
    return measure(Measured(metric, common, side.scores, None, runs[0].share, side.value, side.influence))


def common_prompts(measured: Sequence[Measured]) -> list[str]:
    """Return the prompts that all have a score of, in the order of the first."""
    known = [
        {prompt for prompt, score in zip(one.prompt_ids, one.scores, strict=True) if not math.isnan(score)}
        for one in measured
    ]
    shared = reduce(set.intersection, known)
    return [prompt for prompt in measured[0].prompt_ids if prompt in shared]


def _side(runs: Sequence[Measured], common: Sequence[str]) -> _Side:
    columns = [_columns(run, common) for run in runs]
    estimates = [
        # The value of another estimator is that of all its prompts: on fewer it would be another fit.
        (run.value, influence) if run.value is not None and influence is not None else weighted_mean(s, w)
        for run, (s, w, influence) in zip(runs, columns, strict=True)
    ]
    values = [value for value, _ in estimates]
    other = any(run.value is not None for run in runs)
    return _Side(
        np.mean([scores for scores, _, _ in columns], axis=0),
        fmean(values),
        np.mean([influence for _, influence in estimates], axis=0),
        [] if other else [(scores * weights, weights) for scores, weights, _ in columns],
        values,
    )


def _columns(run: Measured, common: Sequence[str]) -> tuple[Floats, Floats, Floats | None]:
    """Return scores, weights and influences of the common prompts, `[n]` each."""
    places = {prompt: place for place, prompt in enumerate(run.prompt_ids)}
    chosen = np.array([places[prompt] for prompt in common])
    weights = np.ones(len(common)) if run.weights is None else run.weights[chosen]
    return run.scores[chosen], weights, None if run.influence is None else run.influence[chosen]


def _counts(a: _Side, b: _Side) -> tuple[int | None, int | None, int | None]:
    if not (a.sums and b.sums):
        return None, None, None
    gaps = a.scores - b.scores
    return int((gaps > 0).sum()), int((gaps < 0).sum()), int((gaps == 0).sum())


def _error(influence: Floats) -> float | None:
    error = standard_error(influence)
    # What is left of rounding where all prompts differ alike is no error.
    return 0.0 if error is not None and error < 1e-12 else error


def _interval(
    a: _Side, b: _Side, value: float, error: float | None, share: bool, seed: int
) -> tuple[float | None, float | None]:
    if error is None:
        return None, None
    if not (a.sums and b.sums):
        return value - _Z * error, value + _Z * error
    low, high = bootstrap_ratio_difference(a.sums, b.sums, seed=seed)
    if share and error == 0:
        # No width, because all prompts differ alike; as many may differ otherwise as 0 of n allows.
        other = wilson(0, len(a.scores)).high
        return value - other * (1 + value), value + other * (1 - value)
    return low, high


def _p(value: float, error: float | None, n: int) -> float | None:
    if error is None:
        return None
    if error > 0:
        return normal_p(value, error)
    # All prompts differ alike: the sign test.
    return 1.0 if value == 0 else 2.0 ** (1 - n)


def _seed_error(first: Sequence[float], second: Sequence[float]) -> float | None:
    spread = [stdev(values) ** 2 / len(values) for values in (first, second) if len(values) > 1]
    return math.sqrt(sum(spread)) if spread else None


def _scaled(scale: float, value: float | None) -> float | None:
    return None if value is None else scale * value
