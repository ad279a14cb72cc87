"""Plots as inline SVG: the same bytes for the same data, with the colors of the page's style, light or dark.

matplotlib draws with fixed colors, which are then replaced by variables of the style sheet. Titles and
legends are HTML, so that they wrap, are accessible to screen readers and use the page's font.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pairkit.intervals import Interval
from pairkit.reports.html import Html, paragraph, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Variables of style.css, with their values in the light style.
SERIES = {
    "--s1": "#3b6fe0",
    "--s2": "#e07b39",
    "--s3": "#2f9e6e",
    "--s4": "#8a5cd1",
    "--s5": "#d1477a",
    "--s6": "#7a869a",
}
_INK, _MUTED, _LINE, _SURFACE = "#1f2430", "#667085", "#e4e7ec", "#ffffff"
_VARIABLES = SERIES | {"--ink": _INK, "--muted": _MUTED, "--line": _LINE, "--surface": _SURFACE}

# Inches, of a plot in half the page and across it: at these widths text has about the page's small size.
_HALF, _WIDE = 4.6, 9.4

_STYLE: Any = {
    "svg.fonttype": "none",  # keeps text as text
    "text.parse_math": False,  # keeps a dollar sign as a dollar sign
    "font.size": 10,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _MUTED,
    "text.color": _INK,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


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
        return _figure(title, Html(""), [], note="Nothing was recorded.")
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(_HALF, 2.7)
        for line in lines:
            style = (0, (1.5, 1.8)) if line.dashed else "-"
            axes.plot(line.steps, line.values, color=line.color, linestyle=style, label=line.name)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.margins(x=0.01)
        legend = [(line.name, line.color, line.dashed) for line in lines]
        return _figure(title, _svg(figure, title), legend if len(lines) > 1 else [])


def interval_bars(title: str, bars: Mapping[str, Interval], colors: Mapping[str, str]) -> Html:
    """Plot shares (0 to 1) as horizontal bars, the first on top, with their intervals and values."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(_WIDE, 0.6 + 0.5 * len(bars))
        for row, (name, bar) in enumerate(bars.items()):
            axes.barh(row, 100 * bar.mean, height=0.62, color=colors[name], alpha=0.9)
            axes.plot([100 * bar.low, 100 * bar.high], [row, row], color=_INK, linewidth=1.6)
            # A value at 100 % has its label just outside the axes.
            place = min(100 * bar.high + 1.2, 101)
            axes.text(place, row, f"{100 * bar.mean:.1f} %", va="center", ha="left", fontweight="bold")
        axes.set_yticks(range(len(bars)), list(bars))
        axes.tick_params(axis="y", labelcolor=_INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(axis="y", visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("per cent")
        return _figure(title, _svg(figure, title), [])


def stacked_bars(title: str, rows: Mapping[str, Mapping[str, int]]) -> Html:
    """Plot the shares of each row's parts as one bar of length 100 %; parts are in order of appearance."""
    parts = list(dict.fromkeys(part for counts in rows.values() for part, count in counts.items() if count))
    colors = palette(parts, backwards=True)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(_WIDE, 0.6 + 0.5 * len(rows))
        for row, counts in enumerate(rows.values()):
            # A row without counts gets an empty bar.
            total = sum(counts.values()) or 1
            left = 0.0
            for part in parts:
                share = 100 * counts.get(part, 0) / total
                axes.barh(row, share, left=left, height=0.62, color=colors[part], edgecolor=_SURFACE)
                if share >= 6:  # a narrower part has no room for its label
                    middle = left + share / 2
                    label = f"{share:.0f} %"
                    axes.text(middle, row, label, va="center", ha="center", color=_SURFACE, fontsize=9)
                left += share
        axes.set_yticks(range(len(rows)), list(rows))
        axes.tick_params(axis="y", labelcolor=_INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("per cent")
        return _figure(title, _svg(figure, title), [(part, colors[part], False) for part in parts])


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Smooth a noisy curve: average the last `window` values at every step."""
    numbers = np.asarray(values, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(numbers)])
    last = np.arange(1, len(numbers) + 1)
    first = np.maximum(last - window, 0)
    means: list[float] = ((total[last] - total[first]) / (last - first)).tolist()
    return means


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure without pyplot, which would keep it in global state until it is closed."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _figure(title: str, svg: Html, legend: Sequence[tuple[str, str, bool]], *, note: str = "") -> Html:
    entries = "".join(
        f'<li><i class="{"dashed" if dashed else "solid"}" style="border-color: {_themed(color)}"></i>'
        f"{text(name)}</li>"
        for name, color, dashed in legend
    )
    listed = f'<ul class="legend">{entries}</ul>' if legend else ""
    return Html(
        f"<figure>\n<figcaption>{text(title)}</figcaption>\n{listed}{svg}{paragraph(note)}\n</figure>"
    )


def _svg(figure: Figure, title: str) -> Html:
    """Render the figure as an `<svg>` element for a page."""
    buffer = io.StringIO()
    # Dates and versions would make other bytes of the same data.
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    # The salt of matplotlib's ids, which are random without it.
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=metadata)
    source = buffer.getvalue()
    box = re.search(r'viewBox="[\d. ]+"', source)
    if box is None:
        raise RuntimeError("matplotlib wrote an SVG without a viewBox")
    body = source[source.index("</defs>") + len("</defs>") :]
    # Ids of groups are removed, because they would repeat in every figure of the page; nothing refers to
    # them.
    body = re.sub(r'<g id="[\w.]+_\d+"', "<g", body)
    body = re.sub(r'(style="[^"]*?)font-family: [^;"]*;? ?', r"\1", body)
    body = body.replace(' xlink:href="#', ' href="#')
    width = "wide" if figure.get_figwidth() > _HALF else "half"
    return Html(f'<svg {box[0]} class="{width}" role="img" aria-label="{text(title)}">{_themed(body)}')


def _themed(source: str) -> str:
    """Replace palette colors by variables of the style sheet."""
    for variable, color in _VARIABLES.items():
        source = source.replace(color, f"var({variable})")
    return source
