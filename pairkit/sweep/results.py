"""What the runs of a sweep measured: a value per run, and per setting the mean over its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple, get_args

from pairkit.errors import InputError, RecipeError, unknown
from pairkit.files import undamaged
from pairkit.sweep.grid import Point
from pairkit.training.output.entries import read_metrics
from pairkit.training.output.layout import METRICS as FILE
from pairkit.training.recipe import TrainRecipe
from pairkit.training.step.saving import LOWER, Metric

ACCURACY = "accuracy"  # of eval.generate
METRICS = (*get_args(Metric), ACCURACY)


class Run(NamedTuple):
    """A run of a sweep: its setting, and what it measured, None if it diverged."""

    point: Point
    folder: Path
    value: float | None


class Setting(NamedTuple):
    """A setting, with the values of its seeds; a run that diverged counts as worst."""

    values: Mapping[str, Any]
    runs: Sequence[float | None]

    @property
    def mean(self) -> float | None:
        """The mean over seeds, None if a run diverged."""
        finite = [value for value in self.runs if value is not None]
        # Not of the seeds that are left: a setting that may diverge would look as good as a safe one.
        return fmean(finite) if len(finite) == len(self.runs) else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds, None for one seed or where a run diverged."""
        if self.mean is None or len(self.runs) < 2:
            return None
        return stdev([value for value in self.runs if value is not None])


def check_metric(metric: str, recipe: TrainRecipe) -> None:
    """Raise `RecipeError` for a metric that the runs of a recipe will not have."""
    if metric not in METRICS:
        raise unknown("metric", metric, METRICS)
    if metric == ACCURACY and recipe.eval.generate is None:
        raise RecipeError(
            "--metric accuracy is that of a benchmark answered during training: set eval.generate.benchmark"
        )


def measured(folder: Path, metric: str) -> float:
    """Return the last value of a metric of a finished run: on held-out sets, or of its benchmark.

    Raises `InputError` if the run was not evaluated, or what it measured is damaged.
    """
    kind = "generate" if metric == ACCURACY else "eval"
    values = [entry[metric] for entry in read_metrics(folder, kind) if entry.get(metric) is not None]
    with undamaged(folder / FILE, "remove the run, and it is trained again"):
        # By type, because `isinstance` takes true for a number.
        if not all(type(value) in (int, float) and math.isfinite(value) for value in values):
            raise ValueError(f"a {metric} is no number")
    if not values:
        raise InputError(
            f"{folder}: has no {metric} of held-out sets: build the dataset with test_fraction above 0, or "
            "name another --metric"
        )
    return float(values[-1])


def settings(runs: Sequence[Run], metric: str) -> list[Setting]:
    """Join the seeds of each setting, the best first."""
    groups: dict[str, tuple[Mapping[str, Any], list[float | None]]] = {}
    for run in runs:
        values = run.point.without_seed
        groups.setdefault(str(values), (values, []))[1].append(run.value)
    return sorted((Setting(*each) for each in groups.values()), key=lambda each: order(each.mean, metric))


def order(value: float | None, metric: str) -> float:
    """Return what sorts values from the best to the worst.

    >>> sorted([0.2, None, 0.9], key=lambda value: order(value, "reward_accuracy"))
    [0.9, 0.2, None]
    """
    if value is None or math.isnan(value):
        return math.inf
    return value if metric in LOWER else -value
