"""FineGrainedRLHF: four predictions per question, compared with each other pair by pair."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.arrow import flatten, listed
from pairkit.sources.reading.literals import parse

PREDICTIONS = tuple(f"prediction {number}" for number in range(1, 5))
PAIRS = tuple(combinations(range(4), 2))  # the order of `preference`: (1,2) (1,3) (1,4) (2,3) (2,4) (3,4)


def wins(columns: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
    """Return `wins`: for each prediction the comparisons that it won, a tie counting half.

    `preference` has 0 for equal, 1 where the first and 2 where the second is better. A row with another
    number of comparisons, or another value, gets null, which no score can be read from.
    """
    size = len(next(iter(columns.values())))
    raw = columns.get("preference", pa.nulls(size))
    # By row, because a value of another type in one row must not change what the others mean.
    preference = pa.array(map(_comparisons, raw.to_pylist()), pa.list_(pa.float64()), size=size)
    cuts, flat = flatten(preference)
    values = flat.to_numpy(zero_copy_only=False)
    whole = np.diff(cuts) == len(PAIRS)
    comparisons = np.zeros((size, len(PAIRS)))
    comparisons[whole] = values[np.repeat(whole, np.diff(cuts))].reshape(-1, len(PAIRS))
    clear = whole & np.isin(comparisons, (0, 1, 2)).all(axis=1)
    won = np.zeros((size, len(PREDICTIONS)))
    for pair, (first, second) in enumerate(PAIRS):
        outcome = comparisons[:, pair]
        won[:, first] += np.select([outcome == 1, outcome == 0], [1.0, 0.5], 0.0)
        won[:, second] += np.select([outcome == 2, outcome == 0], [1.0, 0.5], 0.0)
    flat_wins = pa.array(won.ravel(), mask=np.repeat(~clear, len(PREDICTIONS)))
    return {"wins": listed(np.arange(size + 1) * len(PREDICTIONS), flat_wins)}


def _comparisons(value: Any) -> list[float] | None:
    """Return comparisons, which may be written as JSON; None if a value is none."""
    if isinstance(value, str):
        try:
            value = parse(value)
        except ValueError:
            return None
    sound = isinstance(value, list) and all(type(each) in (int, float) and abs(each) < 10 for each in value)
    return [float(each) for each in value] if sound else None
