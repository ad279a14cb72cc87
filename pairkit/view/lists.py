"""Numbers of completions, reduced to one per set without a loop: values with the offsets of their sets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pairkit.intervals import Floats

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def reduced(ufunc: np.ufunc, values: npt.NDArray[np.generic], cuts: Positions, empty: float) -> Floats:
    """Reduce the values of each list, `values[cuts[i]:cuts[i + 1]]`; an empty list gives `empty`."""
    result = np.full(len(cuts) - 1, empty)
    some = np.diff(cuts) > 0
    # Of the lists that are not empty each begins where the one before ends, as `reduceat` takes them.
    if some.any():
        result[some] = ufunc.reduceat(values, cuts[:-1][some])
    return result


def first(mask: Mask, cuts: Positions) -> Positions:
    """Return the index in `mask` of the first marked value of each list, -1 where none is."""
    places = np.where(mask, np.arange(len(mask)), np.inf)
    found = reduced(np.minimum, places, cuts, np.inf)
    return np.where(np.isfinite(found), found, -1).astype(np.int64)


def last(mask: Mask, cuts: Positions) -> Positions:
    """Return the index in `mask` of the last marked value of each list, -1 where none is."""
    return reduced(np.maximum, np.where(mask, np.arange(len(mask)), -1), cuts, -1).astype(np.int64)


def at(values: Floats, indices: Positions) -> Floats:
    """Return `values[indices]`, NaN for the index -1."""
    if not len(values):
        return np.full(len(indices), np.nan)
    return np.where(indices < 0, np.nan, values[indices])
