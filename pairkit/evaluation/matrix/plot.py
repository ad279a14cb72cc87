"""The matrix of win rates as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pairkit.evaluation.matrix.table import Cell, matrix_of
from pairkit.reports.canvas import save


def plot_matrix(models: Sequence[str], cells: Sequence[Cell], path: Path) -> None:
    """Write a PNG of the win rates of rows over columns in percent, with intervals."""
    count = len(models)
    # A dollar sign in the name of a model is a dollar sign.
    with rc_context({"text.parse_math": False}):
        # Without pyplot, which needs a display or a backend to be chosen.
        figure = Figure(figsize=(2.2 + 1.25 * count, 1.2 + 0.95 * count), dpi=150, layout="constrained")
        _draw(figure.subplots(), models, cells)
        save(figure, path, format="png")


def _draw(axes: Axes, models: Sequence[str], cells: Sequence[Cell]) -> None:
    matrix = matrix_of(models, cells)
    axes.imshow(np.ma.masked_invalid(matrix), cmap="RdBu", vmin=0, vmax=100, aspect="auto")
    places = {model: place for place, model in enumerate(models)}
    for cell in cells:
        row, column, metric = places[cell.row], places[cell.column], cell.metric
        if metric.value is None or metric.low is None or metric.high is None:
            continue
        _write(axes, row, column, metric.value, metric.low, metric.high)
        _write(axes, column, row, 100 - metric.value, 100 - metric.high, 100 - metric.low)
    axes.set_xticks(range(len(models)), models, rotation=30, ha="right")
    axes.set_yticks(range(len(models)), models)
    axes.set_title("win rate of the row over the column, % [95 %]", fontsize=10)
    axes.spines[:].set_visible(False)


def _write(axes: Axes, row: int, column: int, value: float, low: float, high: float) -> None:
    # White on the dark ends of the colors.
    color = "white" if abs(value - 50) > 30 else "black"
    text = f"{value:.1f}\n[{low:.1f}, {high:.1f}]"
    axes.text(column, row, text, ha="center", va="center", color=color, fontsize=8)
