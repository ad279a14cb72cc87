"""The matrix of win rates: one cell per pair of models, with interval, ties and flips.

Shapes: K models, P = K (K - 1) / 2 pairs in the order of `pairs_of`, n prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairkit.evaluation.holm import holm, normal_p
from pairkit.evaluation.matrix.judging import pairs_of
from pairkit.evaluation.measures import Measured, Metric, measure
from pairkit.evaluation.sign import is_few, sign_test
from pairkit.evaluation.win_rates import Games, Orders, games_of, orders_of, scores_of
from pairkit.intervals import Floats

_SIGNIFICANT = 0.05


class Cell(NamedTuple):
    """A pair of models, from the row's side.

    Attributes:
        scores: of each prompt, `[n]`, NaN where it has none.
        p: two-sided, of a win rate of 50; of few prompts that of the sign test; None where none has a score.
        p_holm: the same, corrected for the number of pairs.
    """

    row: str
    column: str
    metric: Metric
    scores: Floats
    games: Games
    orders: Orders
    p: float | None = None
    p_holm: float | None = None

    @property
    def significant(self) -> bool:
        """Whether a difference was shown, after correction for the number of pairs."""
        return self.p_holm is not None and self.p_holm < _SIGNIFICANT

    @property
    def better(self) -> tuple[str, str] | None:
        """The better and the worse model of a cell whose interval excludes 50; None for another."""
        low, high = self.metric.low, self.metric.high
        if low is not None and low > 50:
            return self.row, self.column
        return (self.column, self.row) if high is not None and high < 50 else None


def cells_of(models: Sequence[str], keys: Sequence[str], points: Floats, seed: int) -> list[Cell]:
    """Return the P cells of points `[P, n, 2]` on the prompts `keys`."""
    cells = []
    for (row, column), games in zip(pairs_of(models), points, strict=True):
        scores = scores_of(games)
        metric = measure(Measured("win_rate", keys, scores, share=True), seed=seed)
        cells.append(Cell(row, column, metric, scores, games_of(games), orders_of(games), _p(metric, scores)))
    places = [place for place, cell in enumerate(cells) if cell.p is not None]
    p_values = holm([p for cell in cells if (p := cell.p) is not None])
    for place, p in zip(places, p_values, strict=True):
        cells[place] = cells[place]._replace(p_holm=p)
    return cells


def matrix_of(models: Sequence[str], cells: Sequence[Cell]) -> Floats:
    """Return the win rates of rows over columns in percent, `[K, K]`; NaN where there is none."""
    places = {model: place for place, model in enumerate(models)}
    matrix = np.full((len(models), len(models)), np.nan)
    for cell in cells:
        row, column = places[cell.row], places[cell.column]
        if cell.metric.value is not None:
            matrix[row, column], matrix[column, row] = cell.metric.value, 100 - cell.metric.value
    return matrix


def scores_over(model: str, cells: Sequence[Cell]) -> dict[str, Floats]:
    """Return a model's scores against each other one, `[n]` each."""
    by_model = {}
    for cell in cells:
        if model == cell.row:
            by_model[cell.column] = cell.scores
        elif model == cell.column:
            by_model[cell.row] = 1 - cell.scores
    return by_model


def _p(metric: Metric, scores: Floats) -> float | None:
    if metric.value is None:
        return None
    wins, losses = int((scores > 0.5).sum()), int((scores < 0.5).sum())
    if is_few(metric.n, wins + losses):
        return sign_test(wins, losses) if (wins - losses) * (metric.value - 50) > 0 else 1.0
    # Where all games end alike there is no spread: the error is that of a share of 50, as in Wilson's.
    error = metric.se or 50 / metric.n**0.5
    return normal_p(metric.value - 50, error)
