"""Plots of runs: curves and bars as inline SVG, the same bytes for the same data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np

from pairkit.intervals import Interval
from pairkit.reports.canvas import HALF, INK, SERIES, STYLE, SURFACE, WIDE, captioned, draw_axes, svg
from pairkit.reports.html import Html


class Curve(NamedTuple):
    """One line of a plot: values over steps, in a color of `SERIES`. NaN makes a gap."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    color: str
    dashed: bool = False


def palette(names: Iterable[str], *, backwards: bool = False) -> dict[str, str]:
    """Assign a color to each name, in order; a run has one color in all plots of a page.

    Things that are not runs take their colors `backwards`, so that they are not mistaken for runs.
    """
    colors = list(SERIES.values())[:: -1 if backwards else 1]
    return {name: colors[index % len(colors)] for index, name in enumerate(names)}


def curves(title: str, lines: Sequence[Curve], *, xlabel: str = "optimizer step", ylabel: str = "") -> Html:
    """Plot lines over steps."""
    lines = [line for line in lines if len(line.steps)]
    if not lines:
        return captioned(title, Html(""), [], note="Nothing was recorded.")
    with matplotlib.rc_context(STYLE):
        figure, axes = draw_axes(HALF, 2.7)
        for line in lines:
            style = (0, (1.5, 1.8)) if line.dashed else "-"
            axes.plot(line.steps, line.values, color=line.color, linestyle=style, label=line.name)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.margins(x=0.01)
        legend = [(line.name, line.color, line.dashed) for line in lines]
        return captioned(title, svg(figure, title), legend if len(lines) > 1 else [])


def interval_bars(title: str, bars: Mapping[str, Interval], colors: Mapping[str, str]) -> Html:
    """Plot shares (0 to 1) as horizontal bars, the first on top, with their intervals and values."""
    with matplotlib.rc_context(STYLE):
        figure, axes = draw_axes(WIDE, 0.6 + 0.5 * len(bars))
        for row, (name, bar) in enumerate(bars.items()):
            axes.barh(row, 100 * bar.mean, height=0.62, color=colors[name], alpha=0.9)
            axes.plot([100 * bar.low, 100 * bar.high], [row, row], color=INK, linewidth=1.6)
            # A value at 100 % has its label just outside the axes.
            place = min(100 * bar.high + 1.2, 101)
            axes.text(place, row, f"{100 * bar.mean:.1f} %", va="center", ha="left", fontweight="bold")
        axes.set_yticks(range(len(bars)), list(bars))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("per cent")
        return captioned(title, svg(figure, title), [])


def stacked_bars(title: str, rows: Mapping[str, Mapping[str, int]]) -> Html:
    """Plot the shares of each row's parts as one bar of length 100 %; parts are in order of appearance."""
    parts = list(dict.fromkeys(part for counts in rows.values() for part, count in counts.items() if count))
    colors = palette(parts, backwards=True)
    with matplotlib.rc_context(STYLE):
        figure, axes = draw_axes(WIDE, 0.6 + 0.5 * len(rows))
        for row, counts in enumerate(rows.values()):
            # A row without counts gets an empty bar.
            total = sum(counts.values()) or 1
            left = 0.0
            for part in parts:
                share = 100 * counts.get(part, 0) / total
                axes.barh(row, share, left=left, height=0.62, color=colors[part], edgecolor=SURFACE)
                if share >= 6:  # a narrower part has no room for its label
                    middle = left + share / 2
                    label = f"{share:.0f} %"
                    axes.text(middle, row, label, va="center", ha="center", color=SURFACE, fontsize=9)
                left += share
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(axis="y", labelcolor=INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("per cent")
        return captioned(title, svg(figure, title), [(part, colors[part], False) for part in parts])


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Smooth a noisy curve: average the last `window` values at every step."""
    numbers = np.asarray(values, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(numbers)])
    last = np.arange(1, len(numbers) + 1)
    first = np.maximum(last - window, 0)
    means: list[float] = ((total[last] - total[first]) / (last - first)).tolist()
    return means
