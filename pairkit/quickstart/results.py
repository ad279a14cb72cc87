"""The results of a quickstart: accuracies and their differences, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.intervals import Floats, Interval, bootstrap_difference, bootstrap_mean

MODELS = {"SFT": "sft", "DPO": "dpo", "MC-PO": "mcpo"}
# Each against the start, and then the comparison that the page is about.
DIFFERENCES = (("DPO", "SFT"), ("MC-PO", "SFT"), ("MC-PO", "DPO"))


class Measured(NamedTuple):
    """Accuracy of each of `MODELS` and the differences of `DIFFERENCES`, on the same problems."""

    accuracy: dict[str, Interval]
    differences: dict[tuple[str, str], Interval]
    problems: int


def measure(right: Mapping[str, Floats], groups: Sequence[str]) -> Measured:
    """Estimate means and paired differences with 95 % intervals.

    Args:
        right: share of right completions per problem, `[problems]`, by the name of the model.
        groups: the group of each problem: a sum and its mirror image are resampled together, because who
            knows the one knows the other.
    """
    # Groups and not problems, so that the interval is not too narrow.
    accuracies = {name: bootstrap_mean(values, groups=groups) for name, values in right.items()}
    differences = {
        (first, second): bootstrap_difference(right[first], right[second], groups=groups)
        for first, second in DIFFERENCES
    }
    return Measured(accuracies, differences, len(groups))


def describe(results: Measured, out: Path) -> str:
    """Write the result for a person at a terminal, and what to do next."""
    lines = [f"\nRight answers at temperature 1 on {results.problems} held-out problems (95 % intervals):\n"]
    for name, bar in results.accuracy.items():
        lines.append(f"  {name:<12} {_points(bar, '.1f', ' %')}")
    lines.append("")
    for (first, second), difference in results.differences.items():
        # In words, because a reader of a table may take the mean for the result.
        zero = "; includes zero: no difference shown" if difference.includes_zero else ""
        lines.append(f"  {f'{first} - {second}':<12} {_points(difference, '+.1f', ' points')}{zero}")
    return "\n".join(
        [
            *lines,
            f"\nreport: {out / 'report.html'}",
            f"sets:   {out / 'sets'} (its README.md is the data card)",
            f"model:  {out / 'mcpo' / 'model'}",
            "next:   pairkit build --source ultrafeedback && pairkit train --loss mcpo",
        ]
    )


def to_json(results: Measured) -> dict[str, Any]:
    """Return the numbers of results.json."""
    return {
        "problems": results.problems,
        "accuracy": {name: interval._asdict() for name, interval in results.accuracy.items()},
        "differences": {
            f"{first} - {second}": {**interval._asdict(), "includes_zero": interval.includes_zero}
            for (first, second), interval in results.differences.items()
        },
    }


def _points(interval: Interval, form: str, unit: str) -> str:
    mean, low, high = (format(100 * value, form) for value in interval)
    return f"{mean:>6}{unit}  [{low}, {high}]"
