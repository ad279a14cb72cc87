"""A number of a setting over the steps, and a figure with what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.intervals import Floats, Interval
from pairkit.reports.grids import Line
from pairkit.reports.html import Html, join
from pairkit.run_report.find import Setting
from pairkit.run_report.run import Column, column_of

POINTS = 200  # of a curve: a longer one is drawn by the means of so many parts
KINDS = {"train": "each step's sets", "eval": "held-out sets", "sample": "own samples"}

Colors = Mapping[str, str]
Row = Mapping[str, str | int | float | None]


class Rows:
    """The rows of a table in parts: those of a long curve are made where they are read."""

    def __init__(self) -> None:
        self._parts: list[Sequence[Row] | SeriesRows] = []

    def __iadd__(self, part: Sequence[Row] | SeriesRows) -> Rows:
        self._parts.append(part)
        return self

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def __iter__(self) -> Iterator[Row]:
        return chain.from_iterable(self._parts)


Table = Sequence[Row] | Rows


Drawing = Callable[[], Html]


def ready(html: Html) -> Drawing:
    """Return a drawing of what is drawn already."""
    return lambda: html


class Figure(NamedTuple):
    """A figure, of the papers or of what every run has.

    Attributes:
        number: that of the list in docs/reports.md.
        reproduces: the paper's own figure, "" for one of none.
        tables: every number that is drawn, by what the rows are.
        drawings: its parts, one below the other, drawn when the page is made.
        missing: by setting, why nothing of it is drawn and what to do about it.
    """

    number: int
    title: str
    reproduces: str
    tables: Mapping[str, Table]
    drawings: Sequence[Drawing]
    missing: Mapping[str, str] = {}

    def draw(self) -> Html:
        """Draw all of it, which takes most of the time of a report."""
        return join([drawing() for drawing in self.drawings])


Draw = Callable[[Sequence[Setting], Colors], Figure]


class Series(NamedTuple):
    """A number over the steps `at`, `[steps]`, of each seed, `[seeds, steps]`."""

    at: npt.NDArray[np.int64]
    numbers: Floats

    @property
    def steps(self) -> list[int]:
        """The steps as numbers."""
        steps: list[int] = self.at.tolist()
        return steps

    @property
    def mean(self) -> Floats:
        """The mean over seeds, `[steps]`."""
        mean: Floats = self.numbers.mean(axis=0)
        return mean

    @property
    def deviation(self) -> Floats | None:
        """The standard deviation over seeds, `[steps]`; None of one seed."""
        if len(self.numbers) < 2:
            return None
        deviation: Floats = self.numbers.std(axis=0, ddof=1)
        return deviation

    def line(self, color: str, dashes: str = "solid") -> Line:
        """Return the curve with its band; one of more than `POINTS` steps as the means of as many parts."""
        short = self._thinned()
        if short.deviation is None:
            return Line(short.at, short.mean, color, dashes)
        band = short.mean - short.deviation, short.mean + short.deviation
        return Line(short.at, short.mean, color, dashes, *band)

    def rows(self, setting: str, number: str, **more: str) -> SeriesRows:
        """Return a row per step."""
        return SeriesRows(self, setting, number, more)

    def peaks(self, color: str) -> Line:
        """Return the largest value in each of the parts by which a long curve is drawn, of any seed."""
        parts = self._parts()
        largest = [np.nanmax(self.numbers[:, part], initial=-np.inf) for part in parts]
        values = np.array([value if np.isfinite(value) else np.nan for value in largest])
        return Line(self.at[[part[-1] for part in parts]], values, color, "dotted")

    def _parts(self) -> list[npt.NDArray[np.int64]]:
        return np.array_split(np.arange(len(self.at)), POINTS)

    def _thinned(self) -> Series:
        if len(self.at) <= POINTS:
            return self
        parts = self._parts()
        numbers = np.stack([_mean(self.numbers[:, part], axis=1) for part in parts], axis=1)
        return Series(self.at[[part[-1] for part in parts]], numbers)


@dataclass(frozen=True)
class SeriesRows:
    """The rows of a series: a mean and a deviation per step."""

    series: Series
    setting: str
    number: str
    more: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.series.at)

    def __iter__(self) -> Iterator[Row]:
        mean, deviation = self.series.mean, self.series.deviation
        spread = [None] * len(self) if deviation is None else deviation.tolist()
        for step, value, each in zip(self.series.steps, mean.tolist(), spread, strict=True):
            yield {
                "setting": self.setting, **self.more, "number": self.number, "step": step, "mean": value,
                "deviation": each,
            }  # fmt: skip


def series(setting: Setting, kind: str, *keys: str) -> Series | None:
    """Return a number of the metrics, or the difference of two; None where no run has it.

    Of several seeds it is at the steps that all of them have.
    """
    columns = [column for run in setting.runs if len((column := run.column(kind, *keys)).steps)]
    return _joined(columns) if columns else None


def joined(runs: Sequence[Mapping[int, float]]) -> Series:
    """Join the numbers of several seeds, by step."""
    return _joined([column_of(run) for run in runs])


def _joined(columns: Sequence[Column]) -> Series:
    common = reduce(np.intersect1d, (column.steps for column in columns))
    return Series(
        common, np.stack([column.values[np.searchsorted(column.steps, common)] for column in columns])
    )


def kind_of(settings: Sequence[Setting], key: str) -> str:
    """Choose from which sets a number is drawn for all settings: the steps' own, if all have it of them."""
    kinds = [{kind for kind in ("train", "eval") if series(setting, kind, key)} for setting in settings]
    return "eval" if any(of_setting == {"eval"} for of_setting in kinds) else "train"


def _mean(values: Floats, axis: int) -> Floats:
    """Average what is finite; NaN where nothing is."""
    mask = np.isfinite(values)
    total: Floats = np.where(mask, values, 0.0).sum(axis=axis)
    counts = mask.sum(axis=axis)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def caption(number: int, title: str, reproduces: str) -> str:
    """Return the title of a drawing."""
    source = f" ({reproduces})" if reproduces else ""
    return f"Figure {number}. {title}{source}"


def legend(settings: Sequence[Setting], colors: Colors) -> list[tuple[str, str, bool]]:
    """Return the colors of the settings that are drawn."""
    return [(setting.name, colors[setting.name], False) for setting in settings]


def plain(value: float) -> Interval:
    """Return a value without an interval."""
    return Interval(value, value, value)
