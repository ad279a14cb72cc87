"""One figure per claim: what each arm measured, and the statistics that decide, with their intervals."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

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
    # A statistic takes two rows: its name, and the interval below it.
    rows = max(len(arms) + 1, 2 * len(statistics) + 1)
    # A salt and no metadata: ids would be random, and a date another one each time.
    with matplotlib.rc_context({**STYLE, "svg.hashsalt": str(result["id"])}):
        drawing = Figure(figsize=(_WIDTH, 1.3 + 0.27 * rows), layout="constrained", facecolor=SURFACE)
        left, right = drawing.subplots(1, 2, width_ratios=(1, 1.15))
        over_steps = any(len(arm["steps"]) > 1 for arm in arms)
        (_curves if over_steps else _dots)(left, arms, quantity)
        _estimates(right, statistics)
        buffer = io.StringIO()
        save(drawing, buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()


def _dots(axes: Axes, arms: Sequence[Mapping[str, Any]], quantity: str) -> None:
    """Show an arm per line: a dot per seed, and a mark at their mean."""
    entry = QUANTITIES[quantity]
    for row, (arm, color) in enumerate(zip(arms, _colors(), strict=False)):
        numbers = entry.scale * np.array(arm["values"][quantity][-1])
        axes.plot(numbers, np.full(len(numbers), row), "o", color=color, alpha=0.45, markersize=5)
        axes.plot([numbers.mean()], [row], "|", color=color, markersize=15, markeredgewidth=2.4)
    axes.set_yticks(range(len(arms)), [label(arm["name"], 32) for arm in arms])
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_xlabel(_title(quantity))


def _curves(axes: Axes, arms: Sequence[Mapping[str, Any]], quantity: str) -> None:
    """Show an arm per color: a thin line per seed and a thick one of their mean, over the steps."""
    entry = QUANTITIES[quantity]
    start, *others = arms
    _, *colors = islice(_colors(), len(arms))
    for arm, color in zip(others, colors, strict=True):
        steps = [*start["steps"], *arm["steps"]]
        numbers = np.array([*start["values"][quantity], *arm["values"][quantity]])  # [steps, seeds]
        axes.plot(steps, entry.scale * numbers, color=color, alpha=0.3, linewidth=0.9)
        means = entry.scale * numbers.mean(axis=1)
        axes.plot(steps, means, "o-", color=color, markersize=4, label=arm["name"])
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(_title(quantity))
    axes.legend(frameon=False, fontsize=8.5)


def _estimates(axes: Axes, statistics: Sequence[Mapping[str, Any]]) -> None:
    """Show each statistic in smallest differences worth having; the claim is on the right of 0."""
    # The band of differences that are too small to be worth having.
    axes.axvspan(-1, 1, color=LINE, alpha=0.6, linewidth=0)
    axes.axvline(0, color=MUTED, linewidth=1)
    for row, each in enumerate(statistics):
        color = COLORS[each["verdict"]] if each["decides"] else MUTED
        ratios = {name: each[name] / each["least"] for name in ("mean", "low", "high")}
        axes.plot([ratios["low"], ratios["high"]], [row, row], color=color, linewidth=2.2)
        axes.plot([ratios["mean"]], [row], "D", color=color, markersize=6)
        seeds = np.array(each["seeds"]) / each["least"]
        axes.plot(seeds, np.full(len(seeds), row + 0.22), "o", color=color, alpha=0.4, markersize=3.5)
        verdict = each["verdict"] if each["decides"] else "reported"
        text = label(each["name"], 64) + f"  ({verdict})"
        axes.annotate(
            text, (0.0, row), (0, 9), xycoords=("axes fraction", "data"), textcoords="offset points",
            fontsize=8.5,
        )  # fmt: skip
    axes.set_yticks([])
    axes.set_ylim(len(statistics) - 0.4, -0.75)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y", visible=False)
    # Long tails would press everything else to the middle.
    axes.set_xscale("symlog", linthresh=2.0, linscale=1.0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("in smallest differences worth having; claimed: above 0")


def _colors() -> Iterator[str]:
    """Yield a color per arm, the first of which is the start."""
    yield INK
    yield from cycle(SERIES.values())


def _title(quantity: str) -> str:
    entry = QUANTITIES[quantity]
    return f"{entry.title}, {entry.unit}" if entry.unit else entry.title
