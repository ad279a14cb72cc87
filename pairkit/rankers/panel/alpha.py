"""Krippendorff's alpha: agreement beyond chance of any number of coders; values may be missing.

    alpha = 1 - observed disagreement / expected disagreement

    o_ck = sum over units of (ordered pairs of coders with the values c and k) / (values of the unit - 1)
    n_c  = sum over k of o_ck,   n = sum over c of n_c
    alpha = 1 - (n - 1) * sum_ck o_ck d_ck / sum_ck n_c n_k d_ck

1: always the same; 0: as by chance; below 0: less than by chance. `d` is the squared difference of the level.

Reference: Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pairkit.intervals import Floats

Level = Literal["nominal", "ordinal", "interval", "ratio"]


def coincidences(data: Floats) -> tuple[Floats, Floats]:
    """Return the values `[V]` of `data` `[coders, units]`, and their coincidence matrix `[V, V]`.

    NaN is a missing value. Units with fewer than two values say nothing about agreement.
    """
    values = np.unique(data[~np.isnan(data)])
    # `[V, units]`: how many coders gave a unit that value.
    counts = (data[None] == values[:, None, None]).sum(axis=1).astype(float)
    counts = counts[:, counts.sum(axis=0) > 1]
    weights = 1 / (counts.sum(axis=0) - 1)
    pairs = (counts * weights) @ counts.T
    # A value does not coincide with itself.
    return values, pairs - np.diag((counts * weights).sum(axis=1))


def alpha_of(values: Floats, matrix: Floats, level: Level) -> float:
    """Return alpha of a coincidence matrix `[V, V]` of `values` `[V]`, ascending.

    NaN where it is not defined: all values are the same, or there are none.
    """
    totals = matrix.sum(axis=0)
    distance = _distances(values, totals, level)
    expectation = totals @ distance @ totals
    if expectation == 0:
        return float("nan")
    return float(1 - (totals.sum() - 1) * (matrix * distance).sum() / expectation)


def krippendorff_alpha(data: Floats, level: Level) -> float:
    """Return alpha of `data` `[coders, units]`, in which NaN is a missing value.

    >>> round(krippendorff_alpha(np.array([[1, 2, 3, 3], [1, 2, 3, 2.0]]), "nominal"), 3)
    0.667
    """
    return alpha_of(*coincidences(np.asarray(data, np.float64)), level)


def _distances(values: Floats, totals: Floats, level: Level) -> Floats:
    """Return the squared difference of each two values, `[V, V]`."""
    first, second = values[:, None], values[None, :]
    if level == "nominal":
        return np.not_equal(first, second).astype(np.float64)
    if level == "interval":
        return np.square(first - second)
    if level == "ratio":
        total = first + second
        return np.square(np.divide(first - second, total, out=np.zeros_like(total), where=total != 0))
    # Ordinal: the values between the two, and half of both.
    positions: Floats = np.cumsum(totals) - totals / 2
    return np.square(positions[:, None] - positions[None, :])
