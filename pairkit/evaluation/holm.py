"""Holm's correction: how certain each of several conclusions is, once all of them have been looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence


def normal_p(value: float, error: float) -> float:
    """Return the two-sided p-value of a value whose error is normal with this standard error, above 0.

    >>> normal_p(1.96, 1.0)
    0.049995790296...
    """
    return math.erfc(abs(value) / error / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number, in the same order.

    Below 0.05 are those that may be called significant together with an error of at most 5 % over all.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]

    References: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    count = len(p_values)
    adjusted = [0.0] * count
    highest = 0.0
    for rank, place in enumerate(sorted(range(count), key=p_values.__getitem__)):
        # Not below that of a smaller p-value, which would otherwise seem less certain.
        highest = max(highest, min(1.0, (count - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted
