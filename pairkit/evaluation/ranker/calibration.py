"""Calibration: how often a ranker is right where it gives a probability of being right.

    P(i is better than j) = sigmoid(factor * (score_i - score_j))

Of each pair, the probability is that of the completion with the higher score, between 1/2 and 1; its
frequency is how often the data ranks that one higher. A pair of equal scores has 1/2 and counts 1/2.

    ECE = sum over bins of |sum over pairs of (probability - right)| / pairs       (Naeini et al. 2015)

Shapes: n prompts, P pairs, B bins.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pairkit.evaluation.measures import Measured, alike, normal_interval, standard_error, weighted_mean
from pairkit.evaluation.ranker.reference import Ints, Pairs, Reference
from pairkit.evaluation.ranker.scores import points_of
from pairkit.intervals import Floats, bootstrap_ratio, wilson_share

ECE = "ece"
_EDGES = np.linspace(0.5, 1, 11)
_NONE = "none: its scores are not log-odds"


class Bin(NamedTuple):
    """Pairs whose probabilities are between `low` and `high`, all as shares; the interval is by prompt."""

    low: float
    high: float
    predicted: float
    right: float
    right_low: float
    right_high: float
    pairs: int
    prompts: int


class Calibration(NamedTuple):
    """The bins that have pairs, and the expected calibration error with its influences."""

    bins: list[Bin]
    ece: Measured


def factor_of(block: Any) -> float | None:
    """Return what makes a difference of a ranker's scores a log-odds, or None where nothing does.

    A reward model is trained on sigmoid(score_i - score_j). PairRM's logit of a pair is the mean of both
    orders, (L[i, j] - L[j, i]) / 2. Its score with `pairs: all` is the mean of L[i, j] - L[j, i] over all j,
    i included, so that half of the difference is the logit of a pair: exactly so in sets of two.
    """
    if block.ranker == "reward_model":
        return 1.0
    if block.ranker == "pairrm" and block.pairs == "all":
        return 0.5
    return None


def described(calibration: Calibration | None) -> dict[str, Any] | str:
    """Return the bins for results.json, or why there are none."""
    return _NONE if calibration is None else {"bins": [each._asdict() for each in calibration.bins]}


def calibration_of(
    reference: Reference, pairs: Pairs, values: Floats, factor: float, *, seed: int = 0
) -> Calibration | None:
    """Compute the calibration of scores `[C]`; None if no pair has two scores."""
    ordered_pairs = pairs.ordered()
    points = points_of(ordered_pairs, values)
    rows = np.flatnonzero(~np.isnan(points))
    if not len(rows):
        return None
    gaps = (values[ordered_pairs.better] - values[ordered_pairs.worse])[rows]
    probability = 1 / (1 + np.exp(-factor * np.abs(gaps)))  # [pairs with two scores]
    points, prompts = points[rows], reference.prompt[ordered_pairs.owner[rows]]
    # The last bin has its upper end too.
    places = np.minimum(np.digitize(probability, _EDGES) - 1, len(_EDGES) - 2)
    bins, signs = [], np.zeros(len(_EDGES) - 1)
    for place in np.unique(places):
        inside = places == place
        signs[place] = np.sign((probability[inside] - points[inside]).sum())
        bins.append(_bin(int(place), probability[inside], points[inside], prompts[inside], seed))
    # With the sign of its bin an error adds to the absolute value, so that ECE is a mean over pairs.
    return Calibration(bins, _ece(reference, signs[places] * (probability - points), prompts))


def _bin(place: int, probability: Floats, points: Floats, prompts: Ints, seed: int) -> Bin:
    _, owners = np.unique(prompts, return_inverse=True)
    number = np.bincount(owners).astype(np.float64)
    right = float(points.mean())
    if alike(points):
        # Of prompts, since the pairs of one are not independent.
        _, low, high = wilson_share(right, len(number))
    else:
        low, high = bootstrap_ratio(np.bincount(owners, weights=points).astype(np.float64), number, seed=seed)
    edges = float(_EDGES[place]), float(_EDGES[place + 1])
    return Bin(*edges, float(probability.mean()), right, low, high, len(points), len(number))


def _ece(reference: Reference, errors: Floats, prompts: Ints) -> Measured:
    """Return ECE, which is the mean of the errors of pairs with the sign of their bin, as an estimate."""
    n = len(reference.prompt_ids)
    number = np.bincount(prompts, minlength=n).astype(np.float64)
    total = np.bincount(prompts, weights=errors, minlength=n)
    mask = number > 0
    scores = np.divide(total, number, out=np.full(n, np.nan), where=mask)
    value, of_prompts = weighted_mean(scores[mask], number[mask])
    influence = np.zeros(n)
    # NaN for a single prompt, which tells no error.
    influence[mask] = of_prompts
    # Cut where an ECE ends: of few pairs the interval around a small one would begin below 0.
    low, high = np.clip(normal_interval(value, standard_error(of_prompts)), 0, 1).tolist()
    return Measured(
        ECE,
        reference.prompt_ids,
        scores,
        np.maximum(number, 1.0),
        value=value,
        influence=influence,
        interval=(low, high),
    )
