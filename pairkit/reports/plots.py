"""Plots as inline SVG: the same bytes for the same data, coloured by the page's style, light or dark.

matplotlib draws with a palette of fixed colours, which are then replaced by the style sheet's variables.
Titles and legends are HTML, so that they wrap, can be read aloud and take the page's font.
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

# The light values of style.css, by the variable that takes their place.
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

# Inches: at these widths text comes out at about the page's small size, in half the page and across it.
_HALF, _WIDE = 4.6, 9.4

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text
    "text.parse_math": False,  # and a dollar sign stays a dollar sign
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
    """One line of a plot: values over steps, in a colour of `SERIES`. A gap is a nan."""

    name: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: str
    dashed: bool = False


def palette(names: Iterable[str], *, backwards: bool = False) -> dict[str, str]:
    """A colour for each name, in order; a run has one colour in all plots of a page.

    What is not a run takes its colours `backwards`, so that it is not taken for one.
    """
    colours = list(SERIES.values())[:: -1 if backwards else 1]
    return {name: colours[index % len(colours)] for index, name in enumerate(names)}


def curves(title: str, lines: Sequence[Curve], *, xlabel: str = "optimizer step", ylabel: str = "") -> Html:
    """Lines over steps."""
    drawn = [line for line in lines if len(line.steps)]
    if not drawn:
        return _figure(title, Html(""), [], note="Nothing was recorded.")
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(_HALF, 2.7)
        for line in drawn:
            style = (0, (1.5, 1.8)) if line.dashed else "-"
            axes.plot(line.steps, line.values, color=line.colour, linestyle=style, label=line.name)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.margins(x=0.01)
        legend = [(line.name, line.colour, line.dashed) for line in drawn]
        return _figure(title, _svg(figure, title), legend if len(drawn) > 1 else [])


def interval_bars(title: str, bars: Mapping[str, Interval], colours: Mapping[str, str]) -> Html:
    """Shares (0 to 1) as horizontal bars, the first on top, with their intervals and values."""
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(_WIDE, 0.6 + 0.5 * len(bars))
        for row, (name, bar) in enumerate(bars.items()):
            axes.barh(row, 100 * bar.mean, height=0.62, color=colours[name], alpha=0.9)
            axes.plot([100 * bar.low, 100 * bar.high], [row, row], color=_INK, linewidth=1.6)
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
    """For each row the shares of its parts, as one bar of length 100 %; parts in order of appearance."""
    parts = list(dict.fromkeys(part for counts in rows.values() for part, count in counts.items() if count))
    colours = palette(parts, backwards=True)
    with matplotlib.rc_context(_STYLE):
        figure, axes = _axes(_WIDE, 0.6 + 0.5 * len(rows))
        for row, counts in enumerate(rows.values()):
            total = sum(counts.values()) or 1
            left = 0.0
            for part in parts:
                share = 100 * counts.get(part, 0) / total
                axes.barh(row, share, left=left, height=0.62, color=colours[part], edgecolor=_SURFACE)
                if share >= 6:
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
        return _figure(title, _svg(figure, title), [(part, colours[part], False) for part in parts])


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """The mean over the last `window` values, at every step: what a noisy curve is drawn as."""
    numbers = np.asarray(values, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(numbers)])
    last = np.arange(1, len(numbers) + 1)
    first = np.maximum(last - window, 0)
    means: list[float] = ((total[last] - total[first]) / (last - first)).tolist()
    return means


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Not through pyplot: nothing global, nothing to close."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _figure(title: str, svg: Html, legend: Sequence[tuple[str, str, bool]], *, note: str = "") -> Html:
    entries = "".join(
        f'<li><i class="{"dashed" if dashed else "solid"}" style="border-color: {_themed(colour)}"></i>'
        f"{text(name)}</li>"
        for name, colour, dashed in legend
    )
    listed = f'<ul class="legend">{entries}</ul>' if legend else ""
    return Html(
        f"<figure>\n<figcaption>{text(title)}</figcaption>\n{listed}{svg}{paragraph(note)}\n</figure>"
    )


def _svg(figure: Figure, title: str) -> Html:
    """The figure as an `<svg>` element to stand inside a page."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    source = buffer.getvalue()
    box = re.search(r'viewBox="[\d. ]+"', source)
    if box is None:
        raise RuntimeError("matplotlib wrote an SVG without a viewBox")
    body = source[source.index("</defs>") + len("</defs>") :]
    # The names of groups would occur once in every figure of the page; nothing refers to them.
    body = re.sub(r'<g id="[\w.]+_\d+"', "<g", body)
    body = re.sub(r'(style="[^"]*?)font-family: [^;"]*;? ?', r"\1", body)
    body = body.replace(' xlink:href="#', ' href="#')
    width = "wide" if figure.get_figwidth() > _HALF else "half"
    return Html(f'<svg {box[0]} class="{width}" role="img" aria-label="{text(title)}">{_themed(body)}')


def _themed(source: str) -> str:
    """Palette colours as the style sheet's variables."""
    for variable, colour in _VARIABLES.items():
        source = source.replace(colour, f"var({variable})")
    return source
