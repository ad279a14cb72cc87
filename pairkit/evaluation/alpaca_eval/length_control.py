"""The length-controlled (LC) win rate: what a model would win if its answers were as long as the reference's.

For each model a logistic model with three weights is fitted to the judge's preferences p:

    P(model wins on instruction i) = sigmoid(length x_i + difficulty d_i + model)
    x_i = tanh((reference length - model length) / s), s the standard deviation of these differences

The LC win rate is the mean prediction at x = 0. Two runs of the reference with concise and verbose answers
("gamed") enter the fit with a small weight and without the third term, so that they hold the first one.
Everything is as in AlpacaEval (Dubois et al., Length-Controlled AlpacaEval, 2024), except that the strength
of the L1 penalty is fixed, because the cross-validation that chooses it there depends on the order of rows.

Shapes: n instructions, m gamed rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.intervals import Floats

PENALTY = 0.2  # of the sum of absolute weights
GAMED_WEIGHT = 0.1  # of a gamed row, where a row of the model has 1
_STEPS, _HALVINGS, _TOLERANCE = 100, 40, 1e-11


class Weights(NamedTuple):
    """The three weights, in log-odds: of the length, of the difficulty, of the model."""

    length: float
    difficulty: float
    model: float


class Rows(NamedTuple):
    """Comparisons with the reference.

    Attributes:
        points: probability that the model wins, `[n]`.
        length: tanh of the standardized length difference, `[n]`; positive where the reference is longer.
        difficulty: of the instruction, `[n]`.
    """

    points: Floats
    length: Floats
    difficulty: Floats


class LengthControlled(NamedTuple):
    """An LC win rate between 0 and 1.

    Attributes:
        predicted: prediction at equal length, `[n]`; their mean is `value`.
        influence: of each instruction on `value`, `[n]`; the root of the sum of squares is its
            standard error.
        se_as_published: the error that AlpacaEval gives. It is the spread of the predictions, and does not
            say how uncertain their mean is.
    """

    value: float
    weights: Weights
    predicted: Floats
    influence: Floats
    se_as_published: float


def length_term(model_lengths: Floats, reference_lengths: Floats) -> Floats:
    """Return x, `[n]`, from lengths in characters, `[n]` each; all 0 where all differences are equal."""
    differences = reference_lengths - model_lengths
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return np.tanh(differences / spread) if spread else np.zeros(len(differences))


def length_controlled(rows: Rows, gamed: Rows, penalty: float = PENALTY) -> LengthControlled:
    """Estimate the LC win rate of a model from its rows and those of the gamed runs.

    Raises `InputError` for no rows.
    """
    count = len(rows.points)
    if not count:
        raise InputError("a length-controlled win rate needs at least one comparison")
    weights = fit(rows, gamed, penalty)
    at_equal_length = np.column_stack([np.zeros(count), rows.difficulty, np.ones(count)])  # [n, 3]
    predictions = _sigmoid(at_equal_length @ np.array(weights))
    value = float(predictions.mean())
    # The delta method: the derivative of the mean prediction, and what each row adds to the estimate.
    gradient = ((predictions * (1 - predictions))[:, None] * at_equal_length).mean(axis=0)  # [3]
    design, _, row_weights = _stacked(rows, gamed)
    eta = design @ np.array(weights)
    direction = np.linalg.lstsq(_hessian(design, eta, row_weights), gradient, rcond=None)[0]
    residual = rows.points - _sigmoid(eta[:count])
    # First through the weights, then by being in the mean. The gamed rows are the same for every model,
    # and vary with none of its instructions.
    influence = residual * (design[:count] @ direction) + (predictions - value) / count
    public_error = float(predictions.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    return LengthControlled(value, weights, predictions, influence, public_error)


def fit(rows: Rows, gamed: Rows, penalty: float = PENALTY) -> Weights:
    """Minimize the log-loss of all rows plus `penalty` times the sum of the absolute weights.

    Newton's method, halving steps; a weight is set to 0 rather than change its sign within a step, and stays
    there while the penalty outweighs the slope of the log-loss.
    """
    design, points, row_weights = _stacked(rows, gamed)

    def loss(at: Floats) -> float:
        eta = design @ at
        likelihood = (row_weights * (np.logaddexp(0.0, eta) - points * eta)).sum()
        return float(likelihood + penalty * np.abs(at).sum())

    weights = np.zeros(3)
    for _ in range(_STEPS):
        eta = design @ weights
        gradient = design.T @ (row_weights * (_sigmoid(eta) - points))
        # At 0 the penalty has no slope: a weight leaves 0 in the direction in which the log-loss falls.
        signs = np.where(weights == 0, -np.sign(gradient), np.sign(weights))
        free = (weights != 0) | (np.abs(gradient) > penalty)
        hessian = _hessian(design, eta, row_weights)[np.ix_(free, free)]
        direction = np.zeros(3)
        # Least squares, because a weight that no row depends on (all lengths equal) has no curvature.
        slope = gradient + penalty * signs
        direction[free] = np.linalg.lstsq(hessian, -slope[free], rcond=None)[0]
        before, weights = weights, _moved(loss, weights, direction, signs)
        if np.abs(weights - before).max() < _TOLERANCE:
            break
    return Weights(*map(float, weights))


def _moved(loss: Callable[[Floats], float], weights: Floats, direction: Floats, signs: Floats) -> Floats:
    """Take the longest of the halved steps that does not increase the loss."""
    now = loss(weights)
    for halving in range(_HALVINGS):
        candidate = weights + 0.5**halving * direction
        candidate = np.where(candidate * signs < 0, 0.0, candidate)
        if loss(candidate) <= now:
            return candidate
    return weights


def predicted_win_rate(first: Weights, second: Weights, difficulty: Floats) -> float:
    """Predict the share that `first` would win against `second`, from their weights against one reference.

    `difficulty` is that of the instructions, `[n]`. It is not a measurement: no judge has compared the two.
    """
    theta, psi = first.model - second.model, first.difficulty - second.difficulty
    return float(_sigmoid(theta + psi * difficulty).mean())


def _stacked(rows: Rows, gamed: Rows) -> tuple[Floats, Floats, Floats]:
    """Return design `[n + m, 3]`, points `[n + m]` and row weights `[n + m]`."""
    n, m = len(rows.points), len(gamed.points)
    design = np.column_stack(
        [
            np.concatenate([rows.length, gamed.length]),
            np.concatenate([rows.difficulty, gamed.difficulty]),
            np.concatenate([np.ones(n), np.zeros(m)]),
        ]
    )
    row_weights = np.concatenate([np.ones(n), np.full(m, GAMED_WEIGHT)])
    return design, np.concatenate([rows.points, gamed.points]), row_weights


def _hessian(design: Floats, eta: Floats, row_weights: Floats) -> Floats:
    q = _sigmoid(eta)
    curvature: Floats = (design * (row_weights * q * (1 - q))[:, None]).T @ design
    return curvature


def _sigmoid(eta: Floats) -> Floats:
    # Without overflow on either side.
    return np.exp(-np.logaddexp(0.0, -eta))
