"""Points that are joined in their order, with intervals in both directions, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.ticker import MaxNLocator

from pairkit.intervals import Interval
from pairkit.reports.canvas import STYLE, SURFACE, WIDE, captioned, draw_axes, in_two_widths, svg
from pairkit.reports.html import Html


class Path(NamedTuple):
    """Points (x, y) of one thing in their order; the first one is a ring if it `begins`.

    An interval of no width is a value without one.
    """

    name: str
    color: str
    points: Sequence[tuple[Interval, Interval]]
    begins: bool = True


def paths(
    title: str, lines: Sequence[Path], *, xlabel: str, ylabel: str, by_x: bool = False, note: str = ""
) -> Html:
    """Plot paths; with `by_x` the size of a point grows with x."""
    if not lines:
        return captioned(title, Html(""), [], note=note)

    def drawn(width: float) -> Html:
        return _drawn(title, lines, (xlabel, ylabel), width, by_x=by_x)

    legend = [(line.name, line.color, False) for line in lines]
    return captioned(title, in_two_widths(drawn), legend, note=note)


def _drawn(title: str, lines: Sequence[Path], labels: tuple[str, str], width: float, *, by_x: bool) -> Html:
    largest = max((x.mean for line in lines for x, _ in line.points), default=0.0) or 1.0
    with matplotlib.rc_context(STYLE):
        figure, axes = draw_axes(width, 3.6)
        for line in lines:
            axes.plot(
                [x.mean for x, _ in line.points],
                [y.mean for _, y in line.points],
                color=line.color,
                linewidth=1.2,
                alpha=0.7,
            )
            for place, (x, y) in enumerate(line.points):
                axes.plot([x.low, x.high], [y.mean, y.mean], color=line.color, linewidth=1, alpha=0.5)
                axes.plot([x.mean, x.mean], [y.low, y.high], color=line.color, linewidth=1, alpha=0.5)
                inside = SURFACE if line.begins and not place else line.color
                size = 4 + 6 * max(0.0, x.mean / largest) if by_x else 6
                axes.plot(
                    x.mean, y.mean, "o", color=line.color, markerfacecolor=inside, markersize=size,
                    markeredgewidth=1.6,
                )  # fmt: skip
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        if width < WIDE:  # where labels of small numbers would cover each other
            axes.xaxis.set_major_locator(MaxNLocator(4))
        return svg(figure, title)
