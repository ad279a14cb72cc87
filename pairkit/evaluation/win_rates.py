"""Win rates in which a tie counts one half, from games of two answers in both orders.

    win rate = (wins + ties / 2) / games

A prompt's score is the mean of its games' points, so that the win rate is the mean of scores wherever both
games were read. Two orders that contradict each other make a half: leaving such prompts out would move every
other number.

Shapes: n prompts; 2 games each, NaN where one was not read.

References: the win rate of MC-PO (arXiv 2502.04567).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.intervals import Floats, wilson


class Games(NamedTuple):
    """What became of the games of two models, from the first one's side."""

    wins: int
    ties: int
    losses: int

    @property
    def number(self) -> int:
        """The number of games."""
        return self.wins + self.ties + self.losses


class Orders(NamedTuple):
    """What became of prompts by their two games."""

    both: int  # both were read
    same: int  # of these, with the same result
    flips: int  # of these, won by the other model in the other order
    one: int  # one was read, which is the score
    none: int  # none was: no score


def longer_wins(games: Iterable[tuple[int, float | None]]) -> dict[str, Any]:
    """Return the entry of results.json on how often the longer answer won; none if it never could.

    Args:
        games: of each game, the first answer's length less the second's, and the first one's points. Games
            of equal lengths, and those without points (None, NaN) or a winner, do not count.

    >>> longer_wins([(10, 1.0), (-3, 0.8), (5, 0.5), (7, None)])["longer_wins"]["of"]
    2
    """
    won = of = 0
    for longer, points in games:
        if longer and points is not None and not math.isnan(points) and points != 0.5:
            of += 1
            won += bool(points > 0.5) == (longer > 0)
    return {"longer_wins": {"number": won, "of": of, **wilson(won, of)._asdict()}} if of else {}


def three_valued(points: Floats) -> Floats:
    """Return 1 for a win, 1/2 for a tie, 0 for a loss, of points or probabilities; NaN stays.

    >>> three_valued(np.array([0.75, 0.5, 0.1]))
    array([1. , 0.5, 0. ])
    """
    return (np.sign(points - 0.5) + 1) / 2


def scores_of(points: Floats) -> Floats:
    """Return the mean of the games that were read, `[n, 2]` -> `[n]`; NaN for a prompt without one.

    >>> scores_of(np.array([[1.0, 0.0], [1.0, np.nan], [np.nan, np.nan]]))
    array([0.5, 1. , nan])
    """
    read = ~np.isnan(points)
    count = read.sum(axis=1)
    total = np.where(read, points, 0.0).sum(axis=1)
    means: Floats = np.divide(total, count, out=np.full(len(points), np.nan), where=count > 0)
    return means


def games_of(points: Floats) -> Games:
    """Count the games of points of any shape that are 1, 1/2 or 0; NaN is no game."""
    return Games(*(int((points == value).sum()) for value in (1.0, 0.5, 0.0)))


def orders_of(points: Floats) -> Orders:
    """Count prompts by their two games, of points `[n, 2]`."""
    read = (~np.isnan(points)).sum(axis=1)
    both = points[read == 2]
    same = int((both[:, 0] == both[:, 1]).sum())
    # A win and a tie are neither the same nor a flip.
    flips = int((np.abs(both[:, 0] - both[:, 1]) == 1).sum())
    return Orders(len(both), same, flips, int((read == 1).sum()), int((read == 0).sum()))


def win_rate(games: Games) -> tuple[float, float | None]:
    """Return the win rate and its standard error, as shares, where each prompt has one game.

    SE^2 = (wins (1 - m)^2 + losses m^2 + ties (1/2 - m)^2) / (n (n - 1)) for win rate m; None for one game.

    >>> win_rate(Games(100, 26, 74))
    (0.565, 0.0327373...)

    Raises `InputError` for no games.
    """
    n = games.number
    if not n:
        raise InputError("a win rate needs a game")
    mean = (games.wins + games.ties / 2) / n
    if n == 1:
        return mean, None
    squares = games.wins * (1 - mean) ** 2 + games.losses * mean**2 + games.ties * (0.5 - mean) ** 2
    return mean, math.sqrt(squares / (n * (n - 1)))
