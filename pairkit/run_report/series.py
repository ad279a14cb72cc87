"""A number of a setting over the steps, and a figure with what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pairkit.intervals import Floats, Interval
from pairkit.reports.grids import Line
from pairkit.reports.html import Html
from pairkit.run_report.find import Setting

POINTS = 200  # of a curve: a longer one is drawn by the means of so many parts
KINDS = {"train": "each step's sets", "eval": "held-out sets"}

Colors = Mapping[str, str]
Row = Mapping[str, str | int | float | None]


class Figure(NamedTuple):
    """A figure of the papers.

    Attributes:
        number: that of the list in docs/reports.md.
        reproduces: the paper's own figure.
        tables: every number that is drawn, by what the rows are.
        missing: by setting, why nothing of it is drawn and what to do about it.
    """

    number: int
    title: str
    reproduces: str
    tables: Mapping[str, Sequence[Row]]
    drawing: Html
    missing: Mapping[str, str] = {}


Draw = Callable[[Sequence[Setting], Colors], Figure]


class Series(NamedTuple):
    """A number over the steps: the mean over seeds, and its standard deviation where there are several."""

    steps: Sequence[int]
    mean: Floats
    deviation: Floats | None

    def line(self, color: str, dashes: str = "solid") -> Line:
        """Return the curve with its band."""
        if self.deviation is None:
            return Line(self.steps, self.mean, color, dashes)
        band = self.mean - self.deviation, self.mean + self.deviation
        return Line(self.steps, self.mean, color, dashes, *band)

    def rows(self, setting: str, number: str, **more: str) -> list[Row]:
        """Return a row per step."""
        spread = [None] * len(self.steps) if self.deviation is None else self.deviation.tolist()
        return [
            {"setting": setting, **more, "number": number, "step": step, "mean": mean, "deviation": deviation}
            for step, mean, deviation in zip(self.steps, self.mean.tolist(), spread, strict=True)
        ]


def series(setting: Setting, kind: str, *keys: str) -> Series | None:
    """Return a number of the metrics, or the difference of two; None where no run has it.

    Of several seeds it is at the steps that all of them have; more than `POINTS` steps are joined to as many
    means.
    """
    runs = [numbers for run in setting.runs if (numbers := run.values(kind, *keys))]
    if not runs:
        return None
    return joined(runs)


def joined(runs: Sequence[Mapping[int, float]]) -> Series:
    """Join the numbers of several seeds, by step."""
    steps = [step for step in sorted(runs[0]) if all(step in run for run in runs)]
    numbers = np.array([[run[step] for step in steps] for run in runs]).reshape(len(runs), len(steps))
    if len(steps) > POINTS:
        parts = np.array_split(np.arange(len(steps)), POINTS)
        steps = [steps[part[-1]] for part in parts]
        numbers = np.stack([_mean(numbers[:, part], axis=1) for part in parts], axis=1)
    deviation = numbers.std(axis=0, ddof=1) if len(runs) > 1 else None
    return Series(steps, numbers.mean(axis=0), deviation)


def kind_of(settings: Sequence[Setting], key: str) -> str:
    """Choose from which sets a number is drawn for all settings: the steps' own, if all have it of them."""
    kinds = [{kind for kind in KINDS if series(setting, kind, key)} for setting in settings]
    return "eval" if any(of_setting == {"eval"} for of_setting in kinds) else "train"


def _mean(values: Floats, axis: int) -> Floats:
    """Average what is finite; NaN where nothing is."""
    mask = np.isfinite(values)
    total: Floats = np.where(mask, values, 0.0).sum(axis=axis)
    counts = mask.sum(axis=axis)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def caption(number: int, title: str, reproduces: str) -> str:
    """Return the title of a drawing."""
    return f"Figure {number}. {title} ({reproduces})"


def legend(settings: Sequence[Setting], colors: Colors) -> list[tuple[str, str, bool]]:
    """Return the colors of the settings that are drawn."""
    return [(setting.name, colors[setting.name], False) for setting in settings]


def plain(value: float) -> Interval:
    """Return a value without an interval."""
    return Interval(value, value, value)
