"""The plot of `pairkit eval compare`: every difference with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pairkit.evaluation.report.scores import is_part
from pairkit.reports.canvas import label, save

_COLOR, _MUTED = "#3b6fe0", "#667085"


def short_pair(pair: Mapping[str, Any]) -> str:
    """Return the names of a difference's settings, each cut so that the plot has room."""
    return f"{label(pair['first'], 22)} − {label(pair['second'], 22)}"


def plot_differences(comparison: Mapping[str, Any], path: Path) -> None:
    """Write a PNG with a panel per metric and a row per pair; filled points are shown after correction."""
    # Without those of categories, which would make a plot of many pages.
    metrics = [metric for metric in comparison["metrics"] if not is_part(metric["name"])]
    metrics = metrics or comparison["metrics"][:1]
    rows = len(metrics[0]["pairs"])
    # Without pyplot, which needs a display or a backend to be chosen.
    figure = Figure(figsize=(8, len(metrics) * (1.0 + 0.35 * rows)), dpi=120, layout="constrained")
    panels = figure.subplots(len(metrics), 1, squeeze=False)[:, 0]
    for axes, metric in zip(panels, metrics, strict=True):
        pairs = metric["pairs"]
        for row, pair in enumerate(pairs):
            if pair["low"] is not None:
                axes.plot([pair["low"], pair["high"]], [row, row], color=_COLOR, linewidth=2)
            face = _COLOR if pair["shown"] else "white"
            axes.plot(pair["value"], row, "o", color=_COLOR, markerfacecolor=face)
        axes.axvline(0, color=_MUTED, linewidth=1, linestyle="--")
        labels = [short_pair(pair) for pair in pairs]
        # Without mathematics, because names of models may contain dollar signs.
        axes.set_yticks(range(rows), labels, parse_math=False)
        axes.set_ylim(rows - 0.5, -0.5)
        axes.set_title(label(metric["name"]), loc="left", fontsize=10, parse_math=False)
        axes.set_xlabel("points" if metric["unit"] == "%" else "difference")
        axes.spines[["top", "right"]].set_visible(False)
    save(figure, path, format="png")
