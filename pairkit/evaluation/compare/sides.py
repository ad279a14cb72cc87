"""One side of a comparison: a metric of a setting, with the influence of each prompt on it.

A weighted mean is computed on the common prompts. Another estimator (a length-controlled win rate) would be
another fit on fewer prompts, so that its value is that of all prompts of the run.

Shapes: n prompts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce
from statistics import fmean
from typing import NamedTuple

import numpy as np

from pairkit.evaluation.measures import Measured, weighted_mean
from pairkit.intervals import Floats


class Side(NamedTuple):
    """A metric of one setting, in units of the scores; arrays are `[n]`.

    Attributes:
        scores: of each prompt, the mean over seeds; empty for another estimator.
        influence: of each prompt on `value`, 0 where it has none.
        sums: numerators and denominators by seed; none for another estimator.
        seeds: the value of each seed.
        own: the prompts that the value is of.
    """

    scores: Floats
    value: float
    influence: Floats
    sums: list[tuple[Floats, Floats]]
    seeds: list[float]
    own: int


def scored(measurement: Measured) -> list[str]:
    """Return the prompts that have a score."""
    return [
        prompt
        for prompt, score in zip(measurement.prompt_ids, measurement.scores, strict=True)
        if not math.isnan(score)
    ]


def common_prompts(measurements: Sequence[Measured]) -> list[str]:
    """Return the prompts that all have a score of, in the order of the first."""
    scored_prompts = [scored(measurement) for measurement in measurements]
    common = reduce(set.intersection, map(set, scored_prompts))
    return [prompt for prompt in scored_prompts[0] if prompt in common]


def all_prompts(measurements: Sequence[Measured]) -> list[str]:
    """Return the prompts that some have a score of, in order of appearance."""
    return list(dict.fromkeys(prompt for measurement in measurements for prompt in scored(measurement)))


def is_estimate(measurements: Sequence[Measured]) -> bool:
    """Whether some are no weighted means."""
    return any(measurement.influence is not None for measurement in measurements)


def mean_side(runs: Sequence[Measured], common: Sequence[str]) -> Side:
    """Return the weighted mean on `common`, averaged over the runs of a setting."""
    columns = [_columns(run, common) for run in runs]
    means = [weighted_mean(scores, weights) for scores, weights in columns]
    return Side(
        np.mean([scores for scores, _ in columns], axis=0),
        fmean(value for value, _ in means),
        # The influence on a mean of values is the mean of the influences.
        np.mean([influence for _, influence in means], axis=0),
        [(scores * weights, weights) for scores, weights in columns],
        [value for value, _ in means],
        len(common),
    )


def estimate_side(runs: Sequence[Measured], prompts: Sequence[str]) -> Side:
    """Return the value of each run's own prompts, averaged; influences are on `prompts`, of all runs."""
    places = {prompt: place for place, prompt in enumerate(prompts)}
    values, influences = [], []
    for run in runs:
        value, of_own, own = _estimate(run)
        # 0 for a prompt that the run has no score of: its value does not depend on it.
        influence = np.zeros(len(prompts))
        influence[[places[prompt] for prompt in own]] = of_own
        values.append(value)
        influences.append(influence)
    count = len(all_prompts(runs))
    return Side(np.empty(0), fmean(values), np.mean(influences, axis=0), [], values, count)


def _estimate(run: Measured) -> tuple[float, Floats, list[str]]:
    own = scored(run)
    if run.value is None or run.influence is None:
        return *weighted_mean(*_columns(run, own)), own
    return run.value, run.influence[~np.isnan(run.scores)], own


def _columns(run: Measured, prompts: Sequence[str]) -> tuple[Floats, Floats]:
    """Return scores and weights of the prompts, `[n]` each."""
    places = {prompt: place for place, prompt in enumerate(run.prompt_ids)}
    indices = np.array([places[prompt] for prompt in prompts])
    return run.scores[indices], np.ones(len(indices)) if run.weights is None else run.weights[indices]
