"""Win rates with ties: the formula, its error, and real verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pairkit.errors import InputError
from pairkit.evaluation.measures import Measured, measure
from pairkit.evaluation.win_rates import (
    Games,
    games_of,
    orders_of,
    scores_of,
    three_valued,
    win_rate,
)
from pairkit.intervals import Floats, wilson_share


@pytest.fixture(scope="module")
def vectors(real_data: Path) -> list[dict[str, Any]]:
    return json.loads((real_data / "eval_vectors.json").read_text())["win_rate_with_ties"]  # type: ignore[no-any-return]


def metric_of(scores: Floats) -> Any:
    return measure(Measured("win_rate", [str(n) for n in range(len(scores))], scores, share=True))


@pytest.mark.full
def test_real_verdicts(real_data: Path, vectors: list[dict[str, Any]]) -> None:
    """Seven models against text_davinci_003, judged by GPT-4: 0 and 1.5 are ties, null is missing."""
    frame = pl.read_parquet(real_data / "alpaca_eval1_gpt4_annotations.parquet")
    named = [vector for vector in vectors if "name" in vector]
    assert len(named) == 7
    for vector in named:
        preference = frame.filter(pl.col("result_dir") == vector["name"])["preference"].to_numpy()
        points = three_valued(np.where(preference == 0, 0.5, preference - 1))[:, None]
        games = games_of(points)
        assert games == (vector["wins"], vector["ties"], vector["losses"])
        value, error = win_rate(games)
        assert (100 * value, 100 * (error or 0)) == pytest.approx(
            (vector["win_rate"], vector["se"]), abs=1e-6
        )
        # By prompt it is the same, since each has one game.
        metric = metric_of(scores_of(points))
        assert (metric.value, metric.se) == pytest.approx((vector["win_rate"], vector["se"]), abs=1e-6)
        assert orders_of(np.pad(points, ((0, 0), (0, 1)), constant_values=np.nan)).none == vector["missing"]


def test_counts_of_the_vectors(vectors: list[dict[str, Any]]) -> None:
    counted = [vector for vector in vectors if "name" not in vector]
    assert len(counted) == 5
    for vector in counted:
        games = Games(vector["wins"], vector["ties"], vector["losses"])
        value, error = win_rate(games)
        assert (100 * value, 100 * (error or 0)) == pytest.approx(
            (vector["win_rate"], vector["se"]), abs=1e-6
        )
        _, low, high = wilson_share(value, games.number)
        assert [100 * low, 100 * high] == pytest.approx(vector["wilson"], abs=1e-6)


def test_an_interval_without_width_is_wilsons(vectors: list[dict[str, Any]]) -> None:
    for points, vector in ((np.ones(200), vectors[-2]), (np.full(50, 0.5), vectors[-1])):
        metric = metric_of(points)
        assert [metric.low, metric.high] == pytest.approx(vector["wilson"], abs=1e-6)


def test_ties_are_no_coin_flips() -> None:
    _, tied = win_rate(Games(100, 26, 74))
    _, untied = win_rate(Games(113, 0, 87))
    assert tied is not None
    assert untied is not None
    assert tied < untied


def test_the_mean_of_scores_is_the_formula_where_both_games_were_read() -> None:
    random = np.random.default_rng(0)
    points = random.choice([0.0, 0.5, 1.0], size=(300, 2))
    games = games_of(points)
    assert games.number == 600
    by_hand = (games.wins + games.ties / 2) / (games.wins + games.losses + games.ties)
    assert metric_of(scores_of(points)).value == pytest.approx(100 * by_hand)
    # Its error is by prompt: that of games would take the two of a prompt for independent.
    scores = points.mean(axis=1)
    error = 100 * np.sqrt(((scores - scores.mean()) ** 2).sum() / (300 * 299))
    assert metric_of(scores).se == pytest.approx(error)


def test_a_flip_is_a_half_and_one_game_is_enough() -> None:
    points = np.array([[1, 0], [1, 1], [0.5, 1], [np.nan, 0], [np.nan, np.nan], [0.5, 0.5], [0, 1]])
    np.testing.assert_array_equal(scores_of(points), [0.5, 1, 0.75, 0, np.nan, 0.5, 0.5])
    orders = orders_of(points)
    assert orders._asdict() == {"both": 5, "same": 2, "flips": 2, "one": 1, "none": 1}


def test_few_games() -> None:
    assert win_rate(Games(0, 1, 0)) == (0.5, None)
    with pytest.raises(InputError, match="a win rate needs a game"):
        win_rate(Games(0, 0, 0))
