"""Small multiples: a grid of panels with one form and shared axes, as inline SVG."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pairkit.intervals import Floats
from pairkit.reports.canvas import INK, MUTED, STYLE, SURFACE, WIDE, captioned, in_two_widths, label, svg
from pairkit.reports.html import Html

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Share = Literal["all", "row", "none"]
Legend = Sequence[tuple[str, str, bool]]
_DASHES = {"solid": "-", "dotted": (0, (1.2, 1.6)), "dashed": (0, (5, 2.5))}
_DENSE, _THIN = 60, 1.2  # points from which a curve has a thin line
_TINY = 1e-3  # below it matplotlib would write labels with a common factor
_TITLE = 135  # characters of the titles of a row of panels


class Line(NamedTuple):
    """A curve over steps, with a band from `low` to `high` if it has one; NaN makes a gap.

    `dashes` is solid, dotted or dashed.
    """

    steps: Sequence[float] | Floats | npt.NDArray[np.int64]
    values: Sequence[float] | Floats
    color: str
    dashes: str = "solid"
    low: Sequence[float] | Floats | None = None
    high: Sequence[float] | Floats | None = None


class Curves(NamedTuple):
    """A panel of curves.

    Attributes:
        zero: whether a line is drawn at 0.
        limit: how far from 0 the panel goes at most; a curve that goes farther is cut.
        shaded: ranges of y, in a color each.
        levels: values of y with a line each, in a color.
        log: whether y is on a logarithmic scale.
    """

    title: str
    lines: Sequence[Line]
    ylabel: str = ""
    zero: bool = False
    shaded: Sequence[tuple[float, float, str]] = ()
    limit: float | None = None
    levels: Sequence[tuple[float, str]] = ()
    log: bool = False


class Density(NamedTuple):
    """A panel with the distribution of a number, and vertical lines at `marks`, each with a dot."""

    title: str
    edges: Floats
    density: Floats
    color: str
    marks: Sequence[float] = ()
    written: str = ""


class Plane(NamedTuple):
    """A panel with the distribution of two numbers: shares of bins, `[y, x]`.

    Attributes:
        cross: a point that is marked.
        diagonals: lines y = x + d.
    """

    title: str
    x_edges: Floats
    y_edges: Floats
    shares: Floats
    color: str
    cross: tuple[float, float] | None = None
    diagonals: Sequence[float] = ()


class Shares(NamedTuple):
    """A panel with the parts of a whole, between the steps of `edges`; values per part and interval."""

    title: str
    edges: Sequence[float]
    parts: Mapping[str, Sequence[float]]
    colors: Mapping[str, str]


Panel = TypeVar("Panel", Curves, Density, Plane, Shares)


def grid(
    title: str,
    rows: Sequence[Sequence[Panel | None]],
    *,
    xlabel: str = "optimizer step",
    ylabel: str = "",
    share: tuple[Share, Share] = ("all", "all"),
    height: float = 2.1,
    ratios: Sequence[float] | None = None,
    legend: Legend = (),
    note: str = "",
) -> Html:
    """Draw panels in rows; None leaves a place empty.

    Args:
        share: which panels have one x axis, and one y axis.
        height: of a row, inches.
        ratios: of the heights of the rows.
    """
    columns = max((len(row) for row in rows), default=0)
    if not columns:
        return captioned(title, Html(""), [], note=note)
    form = _Form(xlabel, ylabel, share, height, ratios)

    def drawn(width: float) -> Html:
        if width == WIDE or columns == 1:
            return _drawn(title, rows, form, width)
        # One below the other.
        panels = [[panel] for row in rows for panel in row if panel is not None]
        return _drawn(title, panels, form._replace(ratios=None), width)

    return captioned(title, in_two_widths(drawn), list(legend), note=note)


class _Form(NamedTuple):
    """What all panels of a grid have in common, as `grid` takes it."""

    xlabel: str
    ylabel: str
    share: tuple[Share, Share]
    height: float
    ratios: Sequence[float] | None


def _drawn(title: str, rows: Sequence[Sequence[Panel | None]], form: _Form, width: float) -> Html:
    columns = max(len(row) for row in rows)
    with matplotlib.rc_context({**STYLE, "axes.titlesize": 9.5, "axes.titlecolor": INK}):
        figure = Figure(figsize=(width, 0.4 + form.height * len(rows)), layout="constrained")
        places = figure.subplots(
            len(rows),
            columns,
            squeeze=False,
            sharex=form.share[0],
            sharey=form.share[1],
            height_ratios=form.ratios,
        )
        for column, axes in enumerate(places.T):
            panels = [row[column] if column < len(row) else None for row in rows]
            _column(axes, panels, max(18, round(_TITLE * width / WIDE) // columns))
        figure.supxlabel(form.xlabel, fontsize=10, color=MUTED)
        if form.ylabel:
            figure.supylabel(form.ylabel, fontsize=10, color=MUTED)
        return svg(figure, title)


def in_rows(panels: Sequence[Panel], columns: int = 3) -> list[Sequence[Panel]]:
    """Place panels next to each other, at most `columns` in a row."""
    return [panels[first : first + columns] for first in range(0, len(panels), columns)]


def _column(places: Sequence[Axes], panels: Sequence[Panel | None], width: int) -> None:
    """Draw the panels of a column, with titles of at most `width` characters."""
    for axes, panel in zip(places, panels, strict=True):
        if panel is None:
            axes.set_axis_off()
        else:
            _DRAWN[type(panel)](axes, panel)
            # At a fixed height, because matplotlib would measure all labels of an axis to find the same one.
            axes.set_title(label(panel.title, width), loc="left", y=1.0)
    # The lowest of a column has the labels of its x axis, also where a row below it is shorter.
    lowest = max((number for number, panel in enumerate(panels) if panel is not None), default=0)
    places[lowest].tick_params(labelbottom=True)


def _curves(axes: Axes, panel: Curves) -> None:
    for low, high, color in panel.shaded:
        axes.axhspan(low, high, color=color, alpha=0.18, linewidth=0)
    if panel.zero:
        axes.axhline(0, color=MUTED, linewidth=1)
    for level, color in panel.levels:
        axes.axhline(level, color=color, linewidth=1.1, linestyle=_DASHES["dashed"])
    if panel.log:
        axes.set_yscale("log")
    for line in panel.lines:
        width = _THIN if len(line.steps) > _DENSE else None
        axes.plot(line.steps, line.values, color=line.color, linestyle=_DASHES[line.dashes], linewidth=width)
        # A single point has no line.
        if len(line.steps) == 1:
            axes.plot(line.steps, line.values, "o", color=line.color, markersize=4)
        if line.low is not None and line.high is not None:
            axes.fill_between(line.steps, line.low, line.high, color=line.color, alpha=0.16, linewidth=0)
    axes.set_ylabel(panel.ylabel)
    axes.margins(x=0.02)
    if all(np.asarray(line.steps).dtype.kind == "i" for line in panel.lines):
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    if not panel.log and max(map(abs, axes.get_ylim())) < _TINY:
        # Each label whole, because a factor above the axis would be a line that other panels have not.
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    if panel.limit is not None:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -panel.limit), min(high, panel.limit))


def _density(axes: Axes, panel: Density) -> None:
    stairs = axes.stairs(panel.density, panel.edges, color=panel.color, fill=True, alpha=0.55)
    stairs.sticky_edges.y[:] = [0.0]  # no space below the bars, as below those of `Axes.bar`
    of_axes = axes.get_xaxis_transform()  # x of the data, y from 0 to 1
    axes.margins(y=0.25)  # room for what is written, above bars and marks
    for mark in panel.marks:
        axes.plot([mark, mark], [0, 0.8], color=INK, linewidth=1.1, transform=of_axes)
        axes.plot([mark], [0.8], "o", color=INK, markersize=4, transform=of_axes)
    axes.text(
        0.98, 0.98, panel.written, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, color=MUTED
    )
    axes.grid(axis="y", visible=False)


def _plane(axes: Axes, panel: Plane) -> None:
    most = panel.shares.max(initial=0.0) or 1.0
    for y, x in np.argwhere(panel.shares > 0):
        width, height = np.diff(panel.x_edges)[x], np.diff(panel.y_edges)[y]
        # From light to full by the square root, so that bins of few pairs are seen too.
        strength = round(0.12 + 0.88 * float(np.sqrt(panel.shares[y, x] / most)), 2)
        corner = (panel.x_edges[x], panel.y_edges[y])
        axes.add_patch(Rectangle(corner, width, height, color=panel.color, alpha=strength, linewidth=0))
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.axvline(0, color=MUTED, linewidth=0.8)
    for distance in panel.diagonals:
        axes.axline((0, distance), slope=1, color=INK, linewidth=1, linestyle=_DASHES["dashed"])
    if panel.cross is not None:
        axes.plot(*panel.cross, "x", color=INK, markersize=8, markeredgewidth=2)
    axes.set_xlim(panel.x_edges[0], panel.x_edges[-1])
    axes.set_ylim(panel.y_edges[0], panel.y_edges[-1])


def _shares(axes: Axes, panel: Shares) -> None:
    below = np.zeros(len(panel.edges) - 1)
    for name, values in panel.parts.items():
        above = below + 100 * np.asarray(values)
        axes.stairs(
            above, panel.edges, baseline=below, fill=True, color=panel.colors[name], edgecolor=SURFACE
        )
        below = above
    axes.set_ylim(0, 100)
    axes.margins(x=0)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.grid(visible=False)


_DRAWN: Mapping[type, Callable[[Axes, Any], None]] = {
    Curves: _curves,
    Density: _density,
    Plane: _plane,
    Shares: _shares,
}
