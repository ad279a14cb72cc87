"""Plots of scores: values with their intervals, and distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np

from pairkit.reports.canvas import (
    HALF,
    INK,
    MUTED,
    SERIES,
    STYLE,
    WIDE,
    captioned,
    draw_axes,
    in_two_widths,
    label,
    svg,
)
from pairkit.reports.html import Html

_BINS = 24


class Point(NamedTuple):
    """A value and its 95 % interval, if it has one; of something that has one, its color."""

    name: str
    value: float
    low: float | None
    high: float | None
    color: str = SERIES["--s1"]


def points(
    title: str,
    rows: Sequence[Point],
    *,
    xlabel: str,
    line: float | None = None,
    wide: bool = True,
    two_widths: bool = False,
) -> Html:
    """Plot values as points with intervals, the first on top; `line` is where a vertical line is drawn.

    With `two_widths` there is a drawing for telephones too.
    """

    def drawn(width: float) -> Html:
        # Of the narrow one of two, names are shorter, so that the plot has room.
        return _points(title, rows, xlabel, line, width, 20 if two_widths and width == HALF else 48)

    return captioned(title, in_two_widths(drawn) if two_widths else drawn(WIDE if wide else HALF), [])


def _points(
    title: str, rows: Sequence[Point], xlabel: str, line: float | None, width: float, characters: int
) -> Html:
    with matplotlib.rc_context(STYLE):
        figure, axes = draw_axes(width, 0.7 + 0.34 * len(rows))
        for place, row in enumerate(rows):
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color=row.color, linewidth=2)
            axes.plot(row.value, place, "o", color=row.color, markersize=6)
        if line is not None:
            axes.axvline(line, color=MUTED, linewidth=1, linestyle="--")
        axes.set_yticks(range(len(rows)), [label(row.name, characters) for row in rows])
        axes.tick_params(axis="y", labelcolor=INK)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(xlabel)
        return svg(figure, title)


def histograms(
    title: str, values: Mapping[str, Sequence[float]], colors: Mapping[str, str], *, xlabel: str
) -> Html:
    """Plot the distribution of each series as a line over the same bins, the last of which is open.

    The bins end at the 99th percentile of all values, so that one long answer does not squeeze the others.
    """
    series = {name: numbers for name, numbers in values.items() if len(numbers)}
    if not series:
        return captioned(title, Html(""), [], note="There is nothing to show.")
    end = float(np.quantile(np.concatenate([np.asarray(numbers) for numbers in series.values()]), 0.99))
    edges = np.linspace(0, max(end, 1), _BINS + 1)
    with matplotlib.rc_context(STYLE):
        figure, axes = draw_axes(WIDE, 2.6)
        for name, numbers in series.items():
            counts, _ = np.histogram(np.clip(numbers, 0, edges[-1]), edges)
            axes.stairs(100 * counts / len(numbers), edges, color=colors[name], linewidth=1.8)
        axes.set_xlabel(xlabel)
        axes.set_ylabel("% of answers")
        axes.margins(x=0.01)
        return captioned(title, svg(figure, title), [(name, colors[name], False) for name in series])
