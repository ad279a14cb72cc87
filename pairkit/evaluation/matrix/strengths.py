"""Bradley-Terry strengths of the models of a matrix, with a bootstrap that resamples all cells together.

Shapes: K models, P pairs, n prompts, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairkit.intervals import Floats
from pairkit.rankers.judge.bradley_terry import strengths

RESAMPLES = 2000
# Numbers sampled at once: limits memory and changes no result.
_CHUNK = 2**22


class Strength(NamedTuple):
    """A strength in log-odds, the prior included, with its interval and standard error."""

    value: float
    low: float
    high: float
    se: float


class Strengths(NamedTuple):
    """Bradley-Terry's account of a matrix.

    Attributes:
        strengths: one per model.
        largest_gap: between a win rate and the one that strengths predict, in points; it shows how far the
            models are from one order. None without any cell.
        widest: the row and the column of that gap.
    """

    strengths: list[Strength]
    largest_gap: float | None
    widest: tuple[int, int] | None


def strengths_of(scores: Floats, models: int, seed: int, resamples: int = RESAMPLES) -> Strengths:
    """Compute strengths from scores `[P, n]` of each pair's first model, NaN for none.

    A prompt counts as two games. Intervals are percentiles over resamples of whole prompts, the same for all
    pairs, because a prompt's cells are not independent.
    """
    won, games = _games(scores, np.ones((1, scores.shape[1])), models)
    log_odds = strengths(won)[0]
    rates = 100 * np.divide(won[0], games[0], out=np.full(won[0].shape, np.nan), where=games[0] > 0)
    samples = np.concatenate(
        [
            strengths(_games(scores, weights, models)[0])
            for weights in _weights(scores.shape[1], resamples, seed)
        ]
    )
    low, high = np.quantile(samples, [0.025, 0.975], axis=0)
    rows = zip(log_odds, low, high, samples.std(axis=0, ddof=1), strict=True)
    return Strengths([Strength(*map(float, row)) for row in rows], *largest_gap(rates, log_odds))


def largest_gap(matrix: Floats, log_odds: Floats) -> tuple[float | None, tuple[int, int] | None]:
    """Return the largest distance of win rates `[K, K]` in percent from those that strengths `[K]` predict.

    Also its row and column, of the model above its prediction first.
    """
    gaps = matrix - 100 / (1 + np.exp(log_odds[None, :] - log_odds[:, None]))
    if np.isnan(gaps).all():
        return None, None
    row, column = np.unravel_index(np.nanargmax(gaps), gaps.shape)
    return float(gaps[row, column]), (int(row), int(column))


def _weights(n: int, resamples: int, seed: int) -> list[Floats]:
    """Return how often each prompt is in each resample, `[R, n]`, in chunks."""
    random = np.random.default_rng(seed)
    size = max(1, _CHUNK // n)
    return [
        random.multinomial(n, np.full(n, 1 / n), size=min(size, resamples - start)).astype(np.float64)
        for start in range(0, resamples, size)
    ]


def _games(scores: Floats, weights: Floats, models: int) -> tuple[Floats, Floats]:
    """Return games won and played, `[R, K, K]`, of scores `[P, n]` with weights `[R, n]`."""
    mask = ~np.isnan(scores)
    upper = np.triu_indices(models, k=1)  # the pairs in the order of `pairs_of`
    won, games = (np.zeros((len(weights), models, models)) for _ in range(2))
    # [R, P]; NaN as 0, because a missing score is no game, which the totals leave out too.
    points, totals = (2 * weights @ part.T for part in (np.where(mask, scores, 0.0), mask.astype(float)))
    won[:, *upper], won[:, *upper[::-1]] = points, totals - points
    games[:, *upper], games[:, *upper[::-1]] = totals, totals
    return won, games


def names(pair: tuple[int, int] | None, models: Sequence[str]) -> list[str] | None:
    """Return the names of a row and a column."""
    return None if pair is None else [models[place] for place in pair]
