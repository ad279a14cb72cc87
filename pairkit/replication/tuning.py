"""The settings of an arm: as many for each method, chosen on other problems and other seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.files import read_record, write_json
from pairkit.replication.bench import Bench
from pairkit.replication.design import TUNING_SEEDS, Arm
from pairkit.replication.quantities import accuracy
from pairkit.replication.tasks.base import Size
from pairkit.sweep.grid import Point, points

METRIC = "accuracy on the tuning problems after the last step, mean over seeds"
_AGAIN = "remove it, and settings are chosen again"


class Tuned(NamedTuple):
    """An arm with its chosen settings; the accuracies of each that was tried, by name, and their seconds."""

    arm: Arm
    chosen: str
    tried: Mapping[str, list[float]]
    seconds: float = 0.0


def tuned(arm: Arm, bench: Callable[[int], Bench], size: Size, record: Path) -> Tuned:
    """Choose the settings of an arm that has a grid; the choice is written down.

    Args:
        bench: the task at a seed.
        record: the file of the choice.
    """
    if not arm.grid:
        return Tuned(arm, "", {})
    candidates = points(arm.grid)
    if not size.tuned:
        return Tuned(arm.with_settings(candidates[0].fields), candidates[0].name, {})
    accuracies = {point.name: _accuracies(arm, point, bench) for point in candidates}
    # The first of equal ones.
    best = max(candidates, key=lambda point: fmean(accuracies[point.name]))
    now = {"metric": METRIC, "chosen": best.name, "tried": accuracies}
    # Chosen again from the runs each time, so that a record is compared and never believed.
    if not record.exists():
        write_json(record, now)
    if read_record(record, _AGAIN) != now:
        raise InputError(f"{record}: is damaged, or not of the runs that are there; {_AGAIN}")
    seconds = sum(
        bench(seed).measured(candidate, "tuning")[arm.steps].seconds for seed, candidate in runs_of(arm, size)
    )
    return Tuned(arm.with_settings(best.fields), best.name, accuracies, seconds)


def runs_of(arm: Arm, size: Size) -> list[tuple[int, Arm]]:
    """Return the runs that choosing takes: a seed and an arm each."""
    if not arm.grid or not size.tuned:
        return []
    return [(seed, _candidate(arm, point)) for point in points(arm.grid) for seed in TUNING_SEEDS]


def _candidate(arm: Arm, point: Point) -> Arm:
    # Only the end counts, so that nothing has to be measured on the way.
    return replace(arm.with_settings(point.fields), marks=())


def _accuracies(arm: Arm, point: Point, bench: Callable[[int], Bench]) -> list[float]:
    candidate = _candidate(arm, point)
    return [accuracy(bench(seed).measured(candidate, "tuning")[arm.steps]) for seed in TUNING_SEEDS]
