"""The canvas of plots: a figure without state, rendered as an SVG with the colors of the page's style.

matplotlib draws with fixed colors, which are then replaced by variables of the style sheet, light or dark.
Titles and legends are HTML, so that they wrap, are accessible to screen readers and use the page's font.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from pairkit.progress import shown
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
# For plots of more than six things.
MORE = {
    "--s7": "#0e8f9c",
    "--s8": "#8c6239",
    "--s9": "#8f8f1f",
    "--s10": "#b8403a",
    "--s11": "#27408b",
    "--s12": "#b77fa6",
}
INK, MUTED, LINE, SURFACE = "#1f2430", "#5f687c", "#e4e7ec", "#ffffff"
_VARIABLES = SERIES | MORE | {"--ink": INK, "--muted": MUTED, "--line": LINE, "--surface": SURFACE}

# Inches, of a plot in half the page and across it: at these widths text has about the page's small size.
HALF, WIDE = 4.6, 9.4

STYLE: Any = {
    "svg.fonttype": "none",  # keeps text as text
    "text.parse_math": False,  # keeps a dollar sign as a dollar sign
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,  # what all labels have in common would be written over the title
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
}


def draw_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """Make a figure without pyplot, which would keep it in global state until it is closed."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def label(name: str, width: int = 48) -> str:
    """Return a name that leaves room for the plot: without control characters, cut in its middle.

    >>> label("an-organization/a-model", 10)
    'an-or…model'
    """
    # In the middle, because names of models differ at their ends.
    plain = shown(name).replace("\n", " ")
    return plain if len(plain) <= width else f"{plain[: width // 2]}…{plain[-(width // 2) :]}"


def captioned(title: str, drawing: Html, legend: Sequence[tuple[str, str, bool]], *, note: str = "") -> Html:
    """Put a title, a legend of (name, color, dashed) and a note around a drawing."""
    entries = list_colors(legend) if legend else ""
    return Html(
        f"<figure>\n<figcaption>{text(title)}</figcaption>\n{entries}{drawing}{paragraph(note)}\n</figure>"
    )


def in_two_widths(drawn: Callable[[float], Html]) -> Html:
    """Return a drawing for a page and one for a telephone, of which the style sheet shows one.

    Scaled down to a telephone the first would be too small to read.
    """
    return Html(f'<div class="roomy">{drawn(WIDE)}</div><div class="narrow">{drawn(HALF)}</div>')


def list_colors(legend: Sequence[tuple[str, str, bool]]) -> Html:
    """Make a legend of (name, color, dashed)."""
    entries = "".join(
        f'<li><i class="{"dashed" if dashed else "solid"}" style="border-color: {_themed(color)}"></i>'
        f"{text(name)}</li>"
        for name, color, dashed in legend
    )
    return Html(f'<ul class="legend">{entries}</ul>')


def save(figure: Figure, target: Path | io.StringIO, **options: Any) -> None:
    """Write a figure; a character that the font has not is drawn as a box, without a warning."""
    with warnings.catch_warnings():
        # Names of models and categories are in any script, and the reader of a terminal can do nothing.
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        figure.savefig(target, **options)


def svg(figure: Figure, title: str) -> Html:
    """Render the figure as an `<svg>` element for a page."""
    buffer = io.StringIO()
    # Dates and versions would make other bytes of the same data.
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    width = "wide" if figure.get_figwidth() > HALF else "half"
    # The salt of matplotlib's ids, which are random without it, and must differ between two of one title.
    with matplotlib.rc_context({"svg.hashsalt": title if width == "wide" else f"{title}, {width}"}):
        save(figure, buffer, format="svg", transparent=True, metadata=metadata)
    source = buffer.getvalue()
    box = re.search(r'viewBox="[\d. ]+"', source)
    if box is None:
        raise RuntimeError("matplotlib wrote an SVG without a viewBox")
    # Escaped here as in `text`, because labels of axes and ticks are not made by it.
    body = shown(source[source.index("</defs>") + len("</defs>") :])
    # Elements alone, because a name may be written like one of their attributes or be a color.
    body = re.sub(r"<[^>]*>", _restyled, body)
    return Html(f'<svg {box[0]} class="{width}" role="img" aria-label="{text(title)}">{body}')


def _restyled(element: re.Match[str]) -> str:
    """Make an element of matplotlib's one of the page."""
    # Ids of groups are removed, because they would repeat in every figure of the page; nothing refers to
    # them.
    tag = re.sub(r'<g id="[\w.]+_\d+"', "<g", element[0])
    tag = re.sub(r'(style="[^"]*?)font-family: [^;"]*;? ?', r"\1", tag)
    return _themed(tag.replace(' xlink:href="#', ' href="#'))


def _themed(source: str) -> str:
    """Replace palette colors by variables of the style sheet."""
    for variable, color in _VARIABLES.items():
        source = source.replace(color, f"var({variable})")
    return source
