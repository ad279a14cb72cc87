"""The sections of a page about numbers: metrics, categories, what the judge said, settings."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.evaluation.measures import Measured, Metric, measure
from pairkit.evaluation.names import MEAN_WIN_RATE, WIN_RATE_OVER
from pairkit.reports.html import Html, join, paragraph, section, settings, table, text
from pairkit.reports.scores import Point, points

# Between a metric and the category that it is of.
_OF = "/"

# In results.json, but shown in a section of their own.
_SHOWN = {
    *("metrics", "missing", "notes", "prompts", "benchmark", "version", "model", "judge_statistics"),
    "calibration",
}


def is_part(metric: str) -> bool:
    """Whether a metric is of one category alone, METRIC/CATEGORY, and not of a model of a matrix."""
    return _OF in metric and not metric.startswith((MEAN_WIN_RATE, WIN_RATE_OVER))


def by_prompt(measurements: Sequence[Measured]) -> Measured:
    """Return the first metric whose scores are what was measured of each prompt: a mean, no estimate."""
    return next(
        (measurement for measurement in measurements if measurement.influence is None), measurements[0]
    )


def interval_text(metric: Mapping[str, Any]) -> str:
    """Return value and interval of a metric as text."""
    if metric["value"] is None:
        return "none"
    unit = " %" if metric["unit"] == "%" else ""
    if metric["low"] is None or metric["se"] is None:
        return f"{metric['value']:.2f}{unit}"
    return f"{metric['value']:.2f}{unit} [{metric['low']:.2f}, {metric['high']:.2f}]"


def tile(entry: Mapping[str, Any]) -> tuple[str, str]:
    """Return the name of a metric or setting with its interval, and its value."""
    value, bracket, interval = interval_text(entry).partition(" [")
    return f"{entry['name']}{bracket}{interval}", value


def metrics_section(results: Mapping[str, Any]) -> Html:
    """Show the metrics with their intervals, what has no score, and what qualifies the numbers."""
    rows = [
        [text(entry["name"]), text(interval_text(entry)), _number(entry["se"]), text(f"{entry['n']:,}")]
        for entry in results["metrics"]
        if not is_part(entry["name"])
    ]
    missing = ", ".join(f"{count:,} {reason}" for reason, count in results["missing"].items())
    return section(
        "Scores",
        table(["metric", "value [95 % interval]", "standard error", "prompts"], rows, numeric=(1, 2, 3)),
        paragraph(f"Prompts without a score or a part of it: {missing}." if missing else ""),
        *[paragraph(f"Note: {note}") for note in results["notes"]],
        note="Intervals are 95 % and about prompts: another sample of prompts would give other values.",
    )


def categories_section(measurements: Sequence[Measured], metrics: Sequence[Mapping[str, Any]]) -> Html | None:
    """Show the metrics by category of the prompt, and those that are of a category themselves."""
    groups = {
        measurement.name: by_category(measurement)
        for measurement in measurements
        if not is_part(measurement.name)
    }
    for entry in metrics:
        name, _, category = entry["name"].partition(_OF)
        if is_part(entry["name"]):
            groups.setdefault(name, {})[category] = Metric(**entry)
    groups = {name: rows for name, rows in groups.items() if rows}
    if not groups:
        return None
    return section(
        "By category",
        # The first alone, because plots of similar metrics would hide the other sections.
        _category_plot(*next(iter(groups.items()))),
        _category_table(groups),
        note="With so few prompts each, most differences between categories are within their intervals.",
    )


def _category_plot(name: str, rows: Mapping[str, Metric]) -> Html:
    plot_points = [
        Point(label, row.value, row.low, row.high) for label, row in rows.items() if row.value is not None
    ]
    if not plot_points:
        return Html("")
    return points(f"{name} by category", plot_points, xlabel=next(iter(rows.values())).unit or "score")


def _category_table(groups: Mapping[str, Mapping[str, Metric]]) -> Html:
    categories = list(dict.fromkeys(label for rows in groups.values() for label in rows))
    cells = []
    for category in categories:
        metrics = [rows.get(category) for rows in groups.values()]
        count = max(row.n for row in metrics if row)
        values = ["" if row is None else interval_text(row._asdict()) for row in metrics]
        cells.append([text(value) for value in (category, *values, f"{count:,}")])
    headers = ["category", *groups, "prompts"]
    return table(headers, cells, numeric=range(1, len(headers)))


def by_category(measurement: Measured) -> dict[str, Metric]:
    """Return a weighted mean by category, in order of appearance; nothing for other estimators."""
    if measurement.influence is not None or not any(measurement.categories or ()):
        return {}
    labels = np.array([category or "none" for category in measurement.categories or ()])
    return {label: measure(measurement.rows(labels == label)) for label in dict.fromkeys(labels.tolist())}


def judge_section(results: Mapping[str, Any], verdicts: pa.Table | None) -> Html | None:
    """Show the biases of the judge and how its verdicts fell, by the order of the answers."""
    if verdicts is None or not verdicts.num_rows:
        return None
    rates = [
        [text(name), text(_share(rate)), text(f"{rate['of']:,}")]
        for name, rate in (results.get("judge_statistics") or {}).items()
    ]
    tables = [table(["rate", "share [95 % interval]", "of"], rates, numeric=(1, 2))] if rates else []
    rows = verdicts.select(["game", "verdict", "points", "reason"]).to_pylist()
    return section("What the judge said", *tables, _verdicts(rows), _unread(rows))


def _verdicts(rows: Sequence[Mapping[str, Any]]) -> Html:
    orders = {None: "without an order", 0: "reference shown first", 1: "model shown first"}
    present = [game for game in orders if any(row["game"] == game for row in rows)]
    counts = {
        game: Counter(row["verdict"] for row in rows if row["game"] == game and row["points"] is not None)
        for game in present
    }
    labels = Counter(row["verdict"] for row in rows if row["points"] is not None)
    # Probabilities are as many labels as verdicts.
    if len(labels) > 20:
        return Html("")
    cells = [
        [text(label or "none"), *(text(f"{counts[game][label]:,}") for game in present)]
        for label in sorted(labels, key=_rank)
    ]
    # Ratings are of one answer: a column that says so for all of them would be a puzzle.
    names = ["verdicts"] if present == [None] else [orders[game] for game in present]
    return table(["verdict", *names], cells, numeric=range(1, 1 + len(names)))


def _rank(label: str | None) -> tuple[float, str]:
    """Return what verdicts are sorted by: ratings as numbers, and other labels, after them, as text."""
    rating = (label or "").replace(".", "", 1).isdecimal()
    return float(label or 0) if rating else math.inf, str(label)


def _unread(rows: Sequence[Mapping[str, Any]]) -> Html:
    reasons = Counter(row["reason"] or "unread" for row in rows if row["points"] is None)
    summary = ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
    return paragraph(f"{len(rows):,} verdicts; without points: {summary or 'none'}.")


def settings_section(results: Mapping[str, Any]) -> Html:
    """List what the numbers were made with: judge, reference, decoding, data."""
    entries = {name: value for name, value in results.items() if name not in _SHOWN}
    return section("Settings", settings(dict(_flat(entries))))


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value if isinstance(value, (str, int, float)) else json.dumps(value)


def _share(rate: Mapping[str, Any]) -> str:
    return f"{rate['mean']:.3f} [{rate['low']:.3f}, {rate['high']:.3f}]"


def _number(value: float | None) -> Html:
    return text("" if value is None else f"{value:.2f}")


def sections(blocks: Sequence[Html | None]) -> Html:
    """Join the sections that there is something to show of."""
    return join([block for block in blocks if block is not None])
