"""The plot of `pairkit eval judge`: agreement with people by the length of the answer they prefer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from pairkit.evaluation.judge.agreement import Measure, length_bins


def plot_agreement(by_length: Sequence[Measure], path: Path) -> None:
    """Write a PNG with one point and its interval per bin, and the number of pairs below it."""
    measures = {measure.name: measure for measure in by_length}
    bins = [name for name in length_bins() if name in measures]
    # Without pyplot, which needs a display or a backend to be chosen.
    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(bins):
        value = measures[name].value
        axes.plot([place, place], [value.low, value.high], color="#3b6fe0", linewidth=2)
        axes.plot(place, value.mean, "o", color="#3b6fe0")
    # What a judge that tosses a coin reaches.
    axes.axhline(0.5, color="#667085", linewidth=1, linestyle="--")
    # With the number of pairs, because a bin of few pairs tells little.
    axes.set_xticks(range(len(bins)), [f"{name}\nn = {measures[name].pairs}" for name in bins])
    axes.set_xlim(-0.5, max(len(bins), 1) - 0.5)
    axes.set_ylim(0, 1)
    axes.set_xlabel("length of the answer people prefer / length of the other one")
    axes.set_ylabel("judge agrees (a tie counts 1/2)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, format="png")
