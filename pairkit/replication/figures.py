"""One figure per claim: what each arm measured, and the statistics that decide, with their intervals."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from pairkit.replication.quantities import QUANTITIES
from pairkit.reports.canvas import INK, LINE, MUTED, SERIES, STYLE, SURFACE, label, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS = {"held": SERIES["--s3"], "did not hold": SERIES["--s5"], "undecided": SERIES["--s6"]}
_WIDTH = 9.0  # inches


def figure(result: Mapping[str, Any], quantity: str) -> str:
    """Draw a result as an SVG with a white background, the same bytes for the same result.

    Args:
        quantity: what is shown of the arms, a name of `QUANTITIES`.
    """
    arms, statistics = result["arms"], result["statistics"]
    rows = max(len(arms) + 1, 2 * len(statistics) + 1)
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": str(result["id"])}):
        drawn = Figure(figsize=(_WIDTH, 1.3 + 0.27 * rows), layout="constrained", facecolor=SURFACE)
        left, right = drawn.subplots(1, 2, width_ratios=(1, 1.15))
        over_steps = any(len(values[quantity]) > 1 for name, values in arms.items() if name != "start")
        (_curves if over_steps else _dots)(left, arms, quantity)
        _estimates(right, statistics)
        buffer = io.StringIO()
        save(drawn, buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()


def _dots(axes: Axes, arms: Mapping[str, Any], quantity: str) -> None:
    """Show an arm per line: a dot per seed, and a mark at their mean."""
    shown = QUANTITIES[quantity]
    for row, (name, values) in enumerate(arms.items()):
        *_, last = values[quantity].values()
        numbers = shown.scale * np.array(last)
        color = INK if name == "start" else list(SERIES.values())[(row - 1) % len(SERIES)]
        axes.plot(numbers, np.full(len(numbers), row), "o", color=color, alpha=0.45, markersize=5)
        axes.plot([numbers.mean()], [row], "|", color=color, markersize=15, markeredgewidth=2.4)
    axes.set_yticks(range(len(arms)), [label(name, 32) for name in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_xlabel(_title(quantity))


def _curves(axes: Axes, arms: Mapping[str, Any], quantity: str) -> None:
    """Show an arm per color: a thin line per seed and a thick one of their mean, over the steps."""
    shown = QUANTITIES[quantity]
    (start,) = arms["start"][quantity].values()
    trained = [name for name in arms if name != "start"]
    for name, color in zip(trained, cycle(SERIES.values()), strict=False):
        marks = {0: start, **{int(step): values for step, values in arms[name][quantity].items()}}
        steps = sorted(marks)
        numbers = shown.scale * np.array([marks[step] for step in steps])  # [steps, seeds]
        axes.plot(steps, numbers, color=color, alpha=0.3, linewidth=0.9)
        axes.plot(steps, numbers.mean(axis=1), "o-", color=color, markersize=4, label=name)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(_title(quantity))
    axes.legend(frameon=False, fontsize=8.5)


def _estimates(axes: Axes, statistics: Sequence[Mapping[str, Any]]) -> None:
    """Show each statistic in smallest differences worth having; the claim is on the right of 0."""
    axes.axvspan(-1, 1, color=LINE, alpha=0.6, linewidth=0)
    axes.axvline(0, color=MUTED, linewidth=1)
    for row, each in enumerate(statistics):
        color = COLORS[each["verdict"]] if each["decides"] else MUTED
        scaled = {name: each[name] / each["least"] for name in ("mean", "low", "high")}
        axes.plot([scaled["low"], scaled["high"]], [row, row], color=color, linewidth=2.2)
        axes.plot([scaled["mean"]], [row], "D", color=color, markersize=6)
        seeds = np.array(each["seeds"]) / each["least"]
        axes.plot(seeds, np.full(len(seeds), row + 0.22), "o", color=color, alpha=0.4, markersize=3.5)
        said = each["verdict"] if each["decides"] else "reported"
        written = label(each["name"], 64) + f"  ({said})"
        axes.annotate(
            written, (0.0, row), (0, 9), xycoords=("axes fraction", "data"), textcoords="offset points",
            fontsize=8.5,
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylim(len(statistics) - 0.4, -0.75)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    # Long tails would press everything else to the middle.
    axes.set_xscale("symlog", linthresh=2.0, linscale=1.0)
    axes.set_xlabel("smallest differences worth having; the claim holds on the right of 0")


def _title(quantity: str) -> str:
    shown = QUANTITIES[quantity]
    return f"{shown.title}, {shown.unit}" if shown.unit else shown.title
