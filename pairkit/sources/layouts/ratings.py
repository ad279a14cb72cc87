"""Ratings of several aspects, of which the score is the mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pairkit.errors import InputError
from pairkit.readers.survey import Survey
from pairkit.sources.layouts.field_map import columns_of
from pairkit.sources.layouts.settle import as_number, values_of

FACTOR = 2.0  # between the largest ratings of two aspects, from which on they are of two scales


def averaged(
    path: Path, survey: Survey, fields: Mapping[str, str], mapped: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the columns of which the score of a row is the mean; none if it has a score of its own.

    Raises `InputError` for columns of different scales, unless the user named them.
    """
    if "ratings" not in fields or "score" in fields:
        return ()
    columns = columns_of(fields["ratings"], survey.columns)
    if len(columns) > 1 and "ratings" not in mapped:
        _check_scales(path, columns)
    return columns


def _check_scales(path: Path, columns: Sequence[str]) -> None:
    largest = {}
    for column in columns:
        numbers = (abs(as_number(value)) for value in values_of(path, [column]))
        largest[column] = max((number for number in numbers if np.isfinite(number)), default=0.0)
    low, high = (choose(largest, key=lambda name: largest[name]) for choose in (min, max))
    if largest[low] * FACTOR <= largest[high] and largest[high]:
        raise InputError(
            f"{path}: ratings of different scales have no mean: {low} goes to {largest[low]:g}, {high} to "
            f"{largest[high]:g}; name the one that is the score, as in --map score={high}, or several of one "
            "scale, joined by +"
        )
