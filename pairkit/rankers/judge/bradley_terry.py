"""Bradley-Terry strengths from comparisons, for many sets at once.

    P(i beats j) = sigmoid(s_i - s_j)

    s = argmax  sum_ij won_ij log sigmoid(s_i - s_j)  +  sum_i (log sigmoid(s_i) + log sigmoid(-s_i)) / 2

The last sum is the prior: each completion has tied one game against an imaginary one of strength 0. It makes
the maximum finite and unique even if a completion never lost, and strengths comparable across sets. The
objective is concave, so Newton's method finds its maximum.

Shapes: S sets, K completions.

References: Bradley and Terry 1952; Hunter 2004, MM algorithms for generalized Bradley-Terry models.
"""

from __future__ import annotations

import numpy as np

from pairkit.intervals import Floats

# Strengths are rounded, because completions with equal records must tie and rounding errors must not decide.
_DECIMALS = 9
_PRECISION = 1e-12
_STEPS = 1000


def strengths(won: Floats) -> Floats:
    """Compute strengths `[S, K]` in log-odds from games won `[S, K, K]`: row against column, a tie is 1/2.

    A completion without games has strength 0, so sets of fewer than K completions are padded with zeros.

    >>> strengths(np.array([[[0.0, 2.0], [0.0, 0.0]]])).round(3)
    array([[ 1.012, -1.012]])
    """
    games = won + won.transpose(0, 2, 1)
    log_odds = np.zeros(won.shape[:2])
    diagonal = np.arange(won.shape[1])
    for _ in range(_STEPS):
        chance = sigmoid(log_odds[:, :, None] - log_odds[:, None, :])
        even = sigmoid(log_odds)
        slope = (won - games * chance).sum(axis=2) + 0.5 - even
        curvature = -games * chance * (1 - chance)
        curvature[:, diagonal, diagonal] = even * (1 - even) - curvature.sum(axis=2)
        step = np.linalg.solve(curvature, slope[:, :, None])[:, :, 0]
        # No difference of two strengths moves by more than 1 per step, because within that range the
        # curvature changes so little that the objective is certain to rise.
        longest = np.abs(step).max(axis=1, keepdims=True, initial=0.0)
        log_odds += step * np.minimum(1.0, 0.5 / np.maximum(longest, _PRECISION))
        if longest.max(initial=0.0) < _PRECISION:
            break
    return np.round(log_odds, _DECIMALS) + 0.0


def sigmoid(x: Floats) -> Floats:
    """Return 1 / (1 + e^-x) without overflow."""
    value: Floats = 0.5 * (1 + np.tanh(x / 2))
    return value
