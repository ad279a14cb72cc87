"""The length-controlled estimator on constructed data, against what defines it."""

from __future__ import annotations

import numpy as np
import pytest

from pairkit.errors import InputError
from pairkit.evaluation.alpaca_eval.length_control import (
    GAMED_WEIGHT,
    Rows,
    Weights,
    fit,
    length_controlled,
    length_term,
    predicted_win_rate,
)


def sampled(weights: Weights, count: int, seed: int = 0) -> Rows:
    random = np.random.default_rng(seed)
    length, difficulty = np.tanh(random.normal(size=count)), random.normal(size=count)
    eta = weights.length * length + weights.difficulty * difficulty + weights.model
    return Rows((random.random(count) < 1 / (1 + np.exp(-eta))).astype(float), length, difficulty)


def loss(weights: np.ndarray, rows: Rows, held: Rows, penalty: float) -> float:
    """The loss as evaluation.md writes it, row by row."""
    total = penalty * np.abs(weights).sum()
    for p, x, d in zip(*rows, strict=True):
        eta = weights[0] * x + weights[1] * d + weights[2]
        total += np.log(1 + np.exp(eta)) - p * eta
    for p, x, d in zip(*held, strict=True):
        xi = weights[0] * x + weights[1] * d
        total += GAMED_WEIGHT * (np.log(1 + np.exp(xi)) - p * xi)
    return float(total)


HELD = sampled(Weights(-2.0, 0.8, 0.0), 60, seed=9)


@pytest.mark.parametrize("penalty", [0.0, 0.2, 3.0])
def test_the_fit_minimizes_the_loss(penalty: float) -> None:
    rows = sampled(Weights(-1.5, 1.0, -0.7), 80)
    found = np.array(fit(rows, HELD, penalty))
    best = loss(found, rows, HELD, penalty)
    for direction in np.random.default_rng(1).normal(size=(60, 3)):
        for step in (1e-4, 1e-2, 0.3):
            assert loss(found + step * direction, rows, HELD, penalty) > best


def test_a_strong_penalty_leaves_weights_at_zero() -> None:
    rows = sampled(Weights(-1.5, 0.02, -0.7), 80)
    assert fit(rows, HELD, 0.0).difficulty > 0
    found = np.array(fit(rows, HELD, 12.0))
    zero = found == 0
    assert zero.any()
    assert not zero.all()
    best = loss(found, rows, HELD, 12.0)
    for direction in np.eye(3):
        for step in (-1e-3, 1e-3):
            assert loss(found + step * direction, rows, HELD, 12.0) > best
    assert fit(rows, HELD, 1e3) == (0, 0, 0)


def test_true_weights_are_found_within_their_error() -> None:
    """The estimate at equal length is the share that the model would win there."""
    weights = Weights(-1.8, 0.8, -1.3)
    rows, held = sampled(weights, 40_000), sampled(Weights(-1.8, 0.8, 0.0), 4_000, seed=2)
    found = length_controlled(rows, held)
    true = (1 / (1 + np.exp(-(weights.difficulty * rows.difficulty + weights.model)))).mean()
    error = np.sqrt((found.influence**2).sum())
    assert abs(found.value - true) < 4 * error
    assert error < 0.004
    # Longer answers do not help: the plain share is another number.
    assert found.value == pytest.approx(found.predicted.mean())


def test_errors_cover_the_truth_as_often_as_they_should() -> None:
    weights, covered = Weights(-1.8, 0.8, -0.5), 0
    # Over all instructions of the kind, the difficulties being normal.
    grid = np.random.default_rng(0).normal(size=200_000)
    true = (1 / (1 + np.exp(-(weights.difficulty * grid + weights.model)))).mean()
    for seed in range(60):
        rows = sampled(weights, 300, seed=100 + seed)
        found = length_controlled(rows, sampled(Weights(-1.8, 0.8, 0.0), 300, seed=500 + seed))
        covered += abs(found.value - true) < 1.96 * np.sqrt((found.influence**2).sum())
    assert 52 <= covered <= 60


def test_equal_lengths_leave_the_length_to_the_gamed_runs() -> None:
    assert length_term(np.array([3.0, 5.0, 9.0]), np.array([4.0, 6.0, 10.0])).tolist() == [0, 0, 0]
    assert length_term(np.array([3.0]), np.array([9.0])).tolist() == [0]
    rows = sampled(Weights(0.0, 1.0, 0.5), 50)._replace(length=np.zeros(50))
    found = length_controlled(rows, HELD)
    assert found.weights.length < 0
    assert np.isfinite(found.influence).all()


def test_all_wins_and_few_rows_have_a_rate() -> None:
    wins = Rows(np.ones(20), np.linspace(-0.9, 0.9, 20), np.zeros(20))
    found = length_controlled(wins, HELD)
    assert 0.9 < found.value < 1
    assert np.isfinite(found.influence).all()
    one = length_controlled(Rows(np.array([1.0]), np.zeros(1), np.zeros(1)), HELD)
    # The minimum of log(1 + exp(-w)) + 0.2 w.
    assert one.value == pytest.approx(0.8)
    with pytest.raises(InputError, match="at least one comparison"):
        length_controlled(Rows(np.zeros(0), np.zeros(0), np.zeros(0)), HELD)


def test_predictions_between_two_models_are_symmetric() -> None:
    first, second = Weights(-1.0, 0.5, 0.3), Weights(-3.0, 1.5, -0.2)
    difficulty = np.random.default_rng(0).normal(size=50)
    forth, back = (predicted_win_rate(*pair, difficulty) for pair in ((first, second), (second, first)))
    assert forth + back == pytest.approx(1)
    assert predicted_win_rate(first, first, difficulty) == 0.5
