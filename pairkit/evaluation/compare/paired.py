"""The difference of two settings, prompt by prompt.

Pairing matters: what makes a prompt hard is the same for both and cancels out. Prompts are joined by id.

Shapes: n prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, stdev
from typing import NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.evaluation.compare.settings import Setting
from pairkit.evaluation.compare.sides import (
    Side,
    all_prompts,
    common_prompts,
    estimate_side,
    is_estimate,
    mean_side,
)
from pairkit.evaluation.holm import normal_p
from pairkit.evaluation.measures import standard_error
from pairkit.evaluation.sign import FEW_PROMPTS, is_few, share_interval, sign_test
from pairkit.intervals import Floats, bootstrap_ratio_difference, wilson

_Z = NormalDist().inv_cdf(0.975)


class Difference(NamedTuple):
    """`first` minus `second`, in the unit of the metric; None where there is too little to tell.

    Attributes:
        n: the common prompts.
        first_n: the prompts that `first_value` is of: the common ones; for an estimator that is not a
            weighted mean all that the setting has a score of. So for `second_n`.
        first_value: the metric of `first` on them, the mean over its seeds; so for `second_value`.
        low: of the 95 % interval, which is about prompts; seeds are not in it.
        se: standard error from the paired prompts; `unpaired_se` is what it would be on two sets of prompts.
        higher: prompts on which `first` has the higher score, its mean over seeds; `lower`, `equal` likewise;
            None for an estimator whose scores are no measurements of the prompts.
        p: two-sided, that there is no difference.
        test: where p comes from: "sign", the exact test of few prompts, or "normal"; None without p.
        seed_se: standard error that the spread over seeds gives the difference; None if both have one seed.
    """

    metric: str
    first: str
    second: str
    unit: str
    n: int
    first_n: int
    second_n: int
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
    test: str | None
    seed_se: float | None


def difference(first: Setting, second: Setting, metric: str, *, seed: int = 0) -> Difference:
    """Compare two settings by a metric. Raises `InputError` if they have no scored prompt in common.

    A weighted mean is compared on the common prompts. Of another estimator each value is that of its own
    prompts, and the error is over all of them: a prompt that one side lacks has no influence there.
    """
    sides = [[run.measured[metric] for run in setting.runs] for setting in (first, second)]
    runs = [run for side in sides for run in side]
    common = common_prompts(runs)
    if not common:
        raise InputError(
            f"{first.name} and {second.name} have no common prompt with a score of {metric}: compare "
            "evaluations of the same questions"
        )
    if is_estimate(runs):
        prompts = all_prompts(runs)
        a, b = (estimate_side(side, prompts) for side in sides)
    else:
        a, b = (mean_side(side, common) for side in sides)
    scale, share = runs[0].scale, runs[0].share
    value, error = a.value - b.value, _error(a.influence - b.influence)
    low, high = _interval(a, b, value, error, share, seed)
    higher, lower, equal = _counts(a, b)
    p, test = _p(a, b, value, error, share)
    # Influences are subtracted for the paired error; of two samples their squares would add.
    return Difference(
        metric,
        first.name,
        second.name,
        runs[0].unit,
        len(common),
        a.own,
        b.own,
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
        p,
        test,
        _scaled(scale, _seed_error(a.seeds, b.seeds)),
    )


def _counts(a: Side, b: Side) -> tuple[int | None, int | None, int | None]:
    if not (a.sums and b.sums):
        return None, None, None
    return _directions(a, b)


def _directions(a: Side, b: Side) -> tuple[int, int, int]:
    gaps = a.scores - b.scores
    return int((gaps > 0).sum()), int((gaps < 0).sum()), int((gaps == 0).sum())


def _error(influence: Floats) -> float | None:
    error = standard_error(influence)
    # What is left of rounding where all prompts differ alike is not an error.
    return 0.0 if error is not None and error < 1e-12 else error


def _interval(
    a: Side, b: Side, value: float, error: float | None, share: bool, seed: int
) -> tuple[float | None, float | None]:
    if error is None:
        return None, None
    n = min(a.own, b.own)
    if share and _no_width(a, error, n):
        # As many may differ otherwise as 0 of n allows.
        other = wilson(0, n).high
        bounds = value - other * (1 + value), value + other * (1 - value)
    elif a.sums:
        bounds = bootstrap_ratio_difference(a.sums, b.sums, seed=seed)
    else:
        bounds = value - _Z * error, value + _Z * error
    return _with_exact(a, b, *bounds) if a.sums else bounds


def _with_exact(a: Side, b: Side, low: float, high: float) -> tuple[float, float]:
    """Widen an interval of few prompts by the exact one, which excludes 0 where the sign test does."""
    higher, lower, equal = _directions(a, b)
    differences = higher + lower
    if not differences or not is_few(differences + equal, differences):
        return low, high
    # A share of directions in units of the scores: their mean gap, where all point one way.
    size = float(np.abs(a.scores - b.scores).sum()) / len(a.scores)
    exact = [size * (2 * share - 1) for share in share_interval(higher, differences)]
    return min(low, exact[0]), max(high, exact[1])


def _no_width(side: Side, error: float, n: int) -> bool:
    """Whether all prompts differ alike; an estimate's fit leaves up to a tenth of what one prompt changes."""
    return error == 0 or (not side.sums and error < 0.1 / n)


def _p(a: Side, b: Side, value: float, error: float | None, share: bool) -> tuple[float | None, str | None]:
    if error is None:
        return None, None
    if not a.sums:
        n = min(a.own, b.own)
        # A normal error of few prompts is too small, and scores of an estimate have no signs to count.
        if n < FEW_PROMPTS:
            return None, None
        if error == 0 or (share and _no_width(a, error, n)):
            # As an interval without width is widened: n prompts that differ in one direction.
            return (sign_test(n, 0) if abs(value) > 1 / n else 1.0), "sign"
        return normal_p(value, error), "normal"
    higher, lower, equal = _directions(a, b)
    if error == 0 or is_few(higher + lower + equal, higher + lower):
        # Directions that contradict the value show nothing.
        agree = (higher - lower) * value > 0
        return sign_test(higher, lower) if agree else 1.0, "sign"
    return normal_p(value, error), "normal"


def _seed_error(first: Sequence[float], second: Sequence[float]) -> float | None:
    spread = [stdev(values) ** 2 / len(values) for values in (first, second) if len(values) > 1]
    return math.sqrt(sum(spread)) if spread else None


def _scaled(scale: float, value: float | None) -> float | None:
    return None if value is None else scale * value
