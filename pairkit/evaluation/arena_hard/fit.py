"""Logistic regression with weighted rows, for many sets of weights at once.

Minimizes  sum_i w_i [ log(1 + e^eta_i) - p_i eta_i ]  +  ridge/2 |theta|^2,  eta = X theta

by Newton's method to the optimum. Shapes: n rows, k columns, R sets of weights.
"""

from __future__ import annotations

import numpy as np

from pairkit.intervals import Floats
from pairkit.rankers.judge.bradley_terry import sigmoid

# The last two in log-odds: a step that ends the search, and one after which there is an optimum. Toward an
# optimum at infinity steps stay near 1, but for the damping below, which more steps would let win.
_STEPS, _HALVINGS, _END, _NEAR = 30, 30, 1e-9, 1e-6
# Added to the diagonal of the curvature, relative to its mean: a column that is constant in a resample has
# none. It changes the steps and not where they end.
_DAMPING = 1e-10


class NoMaximumError(Exception):
    """The likelihood has no maximum, or more than one: wins and losses do not determine the weights."""


def fit(design: Floats, points: Floats, weights: Floats, ridge: float = 0.0) -> Floats:
    """Return the optimum `[k]` for design `[n, k]`, points `[n]` in [0, 1] and weights `[n]`.

    Raises `NoMaximumError` if there is none.
    """
    theta, distances = _newton(design, points, weights[None], ridge, np.zeros((1, design.shape[1])))
    if distances[0] > _NEAR:
        raise NoMaximumError
    optimum: Floats = theta[0]
    return optimum


def fits(design: Floats, points: Floats, weights: Floats, ridge: float, start: Floats) -> Floats:
    """Return the optima `[R, k]` for weights `[R, n]`, from `start` `[k]`; one at infinity is cut off."""
    return _newton(design, points, weights, ridge, np.tile(start, (len(weights), 1)))[0]


def curvature(design: Floats, theta: Floats, weights: Floats, ridge: float) -> Floats:
    """Return the second derivative of the loss at `theta` `[k]`, `[k, k]`."""
    q = sigmoid(design @ theta)
    hessian: Floats = (design * (weights * q * (1 - q))[:, None]).T @ design + ridge * np.eye(len(theta))
    return hessian


def _newton(
    design: Floats, points: Floats, weights: Floats, ridge: float, theta: Floats
) -> tuple[Floats, Floats]:
    """Return the optima `[R, k]` and how far the last step moved eta at most, `[R]`."""
    k = design.shape[1]
    # [n, k * k], so that the curvature of all R sets of weights is one product of matrices.
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), k * k)
    identity = np.eye(k)
    distances = np.zeros(len(theta))
    for _ in range(_STEPS):
        q = sigmoid(theta @ design.T)  # [R, n]
        slope = (weights * (q - points)) @ design + ridge * theta  # [R, k]
        hessian = ((weights * q * (1 - q)) @ products).reshape(-1, k, k) + ridge * identity  # [R, k, k]
        scale = np.trace(hessian, axis1=1, axis2=2) / k + np.finfo(float).tiny
        hessian += _DAMPING * scale[:, None, None] * identity
        step = np.linalg.solve(hessian, -slope[:, :, None])[:, :, 0].astype(np.float64)
        theta = _stepped(design, points, weights, ridge, theta, step)
        distances = np.abs(step @ design.T).max(axis=1)
        if (distances <= _END).all():
            break
    return theta, distances


def _stepped(
    design: Floats, points: Floats, weights: Floats, ridge: float, theta: Floats, step: Floats
) -> Floats:
    """Take the longest of the halved steps that does not increase the loss, for each row of `theta`."""

    def loss(at: Floats) -> Floats:
        eta = at @ design.T
        likelihood = (weights * (np.logaddexp(0.0, eta) - points * eta)).sum(axis=1)
        total: Floats = likelihood + ridge / 2 * (at**2).sum(axis=1)
        return total

    # Near the optimum the loss changes by less than its rounding.
    most = loss(theta) * (1 + 1e-12)
    factor = np.ones((len(theta), 1))
    for _ in range(_HALVINGS):
        worse = loss(theta + factor * step) > most
        if not worse.any():
            break
        factor[worse] /= 2
    return theta + factor * step
