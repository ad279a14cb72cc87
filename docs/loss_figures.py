"""The plots of docs/losses.md as SVG: the same bytes for the same numbers, light or dark like the page.

Each file stores the numbers that it shows, so that a test can distinguish a changed curve from another
version of matplotlib.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# (in light mode, in dark mode)
COLORS = {
    "surface": ("#ffffff", "#171b24"),
    "ink": ("#1f2430", "#e6e9ef"),
    "muted": ("#5b6678", "#a3adbd"),
    "line": ("#e4e7ec", "#2b3240"),
    "axis": ("#aeb6c2", "#566072"),
    "dashed": ("#8a94a3", "#8b95a6"),
    "one": ("#3b6fe0", "#7aa2ff"),
    "two": ("#d4681f", "#f2a065"),
    "three": ("#2f9e6e", "#5fc79a"),
    "four": ("#8a5cd1", "#b594f0"),
}
LIGHT = {name: light for name, (light, _) in COLORS.items()}
SERIES = [LIGHT[name] for name in ("one", "two", "three", "four")]

STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "axes.edgecolor": LIGHT["axis"],
    "axes.facecolor": LIGHT["surface"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": LIGHT["surface"],
    "grid.color": LIGHT["line"],
    "legend.frameon": False,
    "legend.labelcolor": LIGHT["muted"],
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 2,
    "lines.solid_capstyle": "round",
}
DASHED = (0, (2, 2))
LEGEND: Any = {"handlelength": 1.4, "columnspacing": 1.2, "borderaxespad": 0.2, "handletextpad": 0.5}


def pair_figure(data: dict[str, Any]) -> str:
    """Draw the loss over the margin (left), and its gradient by the reward of each completion (right).

    Args:
        data: "margin", "loss" (lists by name, its own first), "chosen", "rejected", "dpo" (a list or None),
            "label", "least".
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.2, 3.1))
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.055, right=0.98, bottom=0.155, top=0.9, wspace=0.17)
        margin, values = data["margin"], list(data["loss"].values())
        lines = [_line(left, margin, y, SERIES[i]) for i, y in enumerate(values)]
        names = list(data["loss"])
        if data["dpo"]:
            lines.append(_line(left, margin, data["dpo"], LIGHT["dashed"], dashed=True))
            names.append("dpo")
        if data["least"] is not None:
            low = values[0][min(range(len(margin)), key=lambda i: abs(margin[i] - data["least"]))]
            (dot,) = left.plot([data["least"]], [low], "o", color=SERIES[0], markersize=6, zorder=4)
            lines.append(dot)
            names.append(f"minimum at {data['least']:g}")
        _head(left, "loss", lines, names)
        lines = [
            _line(right, margin, data["chosen"], SERIES[0]),
            _line(right, margin, data["rejected"], SERIES[1]),
        ]
        _head(right, "gradient by the reward of", lines, ["chosen", "rejected"])
        for axes in (left, right):
            axes.set_xlabel(data["label"])
            axes.yaxis.set_major_formatter(FuncFormatter(_tick))
            _cross(axes)
        _room(left, values)
        return svg(figure, data)


def grid_figure(data: dict[str, Any]) -> str:
    """Draw several losses on the same axes, one panel each, with DPO in all of them.

    Args:
        data: "margin", "loss" (lists by name), "label", "ylabel", "low", "high" (of the y axis).
    """
    with matplotlib.rc_context(STYLE):
        columns = 4
        rows = -(-len(data["loss"]) // columns)
        figure = Figure(figsize=(9.2, 0.6 + 2.1 * rows), layout="constrained")
        every = figure.subplots(rows, columns, sharex=True, sharey=True).flat
        for axes, (name, values) in zip(every, data["loss"].items(), strict=True):
            if name != "dpo":
                _line(axes, data["margin"], data["loss"]["dpo"], LIGHT["dashed"], dashed=True)
            _line(axes, data["margin"], values, SERIES[0])
            axes.set_title(name, loc="left", fontsize=11, fontweight="bold", color=LIGHT["ink"])
            axes.set_ylim(data["low"], data["high"])
            _cross(axes)
        figure.supxlabel(data["label"], fontsize=10, color=LIGHT["muted"])
        figure.supylabel(data["ylabel"], fontsize=10, color=LIGHT["muted"])
        return svg(figure, data)


def svg(figure: Figure, data: dict[str, Any]) -> str:
    """Render a figure as one file: colors by the reader's color scheme, the numbers as metadata."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": data["title"]}):
        figure.savefig(buffer, format="svg", metadata=nothing)
    source = buffer.getvalue()
    opening = re.search(r"<svg [^>]*>", source)
    if opening is None:
        raise RuntimeError("matplotlib wrote an SVG without an svg element")
    body = source[opening.end() :]
    body = re.sub(r"<!--.*?-->\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'<g id="[\w.]+_\d+"', "<g", body)
    body = re.sub(r'(style="[^"]*?)font-family: [^;"]*;? ?', r"\1", body)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"-?\d+\.\d{3,}", _short, tag[0]), body)
    for name, (light, _) in COLORS.items():
        body = body.replace(light, f"var(--{name})")
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening[0])
    if box is None:
        raise RuntimeError("matplotlib wrote an SVG without a viewBox")
    stored = {"matplotlib": matplotlib.__version__, **data}
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{box[1]}pt" height="{box[2]}pt" {box[0]} role="img">\n'
        f"<title>{data['title']}</title>\n"
        f"<metadata>{json.dumps(stored)}</metadata>\n"
        f"<style>{_style()}</style>{body}"
    )


def data_of(source: str) -> dict[str, Any]:
    """Read the numbers that a file stores, and its version of matplotlib."""
    data: dict[str, Any] = json.loads(source.partition("<metadata>")[2].partition("</metadata>")[0])
    return data


def _short(number: re.Match[str]) -> str:
    """Round a coordinate to hundredths of a point."""
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _style() -> str:
    def variables(scheme: int) -> str:
        return " ".join(f"--{name}: {pair[scheme]};" for name, pair in COLORS.items())

    font = "font-family: system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif;"
    return (
        f"svg {{ {variables(0)} {font} }} @media (prefers-color-scheme: dark) {{ svg {{ {variables(1)} }} }}"
    )


def _line(axes: Axes, x: Sequence[float], y: Sequence[float], color: str, *, dashed: bool = False) -> Any:
    (line,) = axes.plot(x, y, color=color, linestyle=DASHED if dashed else "-", zorder=2 if dashed else 3)
    return line


def _head(axes: Axes, title: str, lines: list[Any], names: list[str]) -> None:
    """Put title and legend above the axes, where they cover no curve."""
    axes.set_title(title, loc="left", fontsize=10, color=LIGHT["ink"])
    axes.legend(lines, names, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(names), **LEGEND)


def _tick(value: float, _: int) -> str:
    size, letter = (1e6, "M") if abs(value) >= 1e6 else (1e3, "k") if abs(value) >= 1e4 else (1.0, "")
    return f"{value / size:.10g}{letter}".replace("-", "−")


def _cross(axes: Axes) -> None:
    """Draw lines at zero."""
    axes.axhline(0.0, color=LIGHT["axis"], linewidth=0.9, zorder=1)
    axes.axvline(0.0, color=LIGHT["axis"], linewidth=0.9, zorder=1)
    axes.margins(x=0.0)


def _room(axes: Axes, values: list[list[float]]) -> None:
    """Scale the y axis to the loss's own values; a dashed curve may leave it."""
    low, high = min(map(min, values)), max(map(max, values))
    room = 0.06 * (high - low) or 1.0
    axes.set_ylim(min(low, 0.0) - room, high + room)
