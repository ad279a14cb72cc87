"""AlpacaEval's win rates from the probabilities that a model wins, as its leaderboard shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pairkit.intervals import Floats


class PublicRow(NamedTuple):
    """A row of AlpacaEval's leaderboard, under its names: rates and errors in percent, characters."""

    win_rate: float
    standard_error: float | None  # None for one comparison
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float
    avg_length: int | None


def public_row(points: Floats, answers: Sequence[str]) -> PublicRow:
    """Compute a leaderboard row.

    Args:
        points: probability that the model wins, `[n]` with n > 0, none NaN.
        answers: all answers of the model, judged or not.
    """
    count = len(points)
    wins, losses = int((points > 0.5).sum()), int((points < 0.5).sum())
    draws = count - wins - losses
    return PublicRow(
        100 * float(points.mean()),
        100 * float(points.std(ddof=1)) / count**0.5 if count > 1 else None,
        wins,
        losses,
        draws,
        count,
        100 * (wins + draws / 2) / count,
        int(np.mean([len(answer) for answer in answers])) if answers else None,
    )


def discrete(points: Floats) -> Floats:
    """Return 1 for a win, 0 for a loss and 1/2 for a draw; NaN stays, `[n]`."""
    return np.where(np.isnan(points), np.nan, 0.5 + 0.5 * np.sign(np.nan_to_num(points, nan=0.5) - 0.5))
