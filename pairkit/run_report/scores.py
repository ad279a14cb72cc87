"""Figure 24: evaluations, with intervals and paired differences, and accuracy while a run was trained."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pairkit.errors import InputError
from pairkit.evaluation.compare.conclusions import conclusion
from pairkit.evaluation.compare.own import own_value
from pairkit.evaluation.compare.results import compare
from pairkit.evaluation.compare.settings import Setting as Evaluated
from pairkit.evaluation.report.scores import interval_text
from pairkit.reports.canvas import MUTED
from pairkit.reports.grids import Curves, Line, grid, in_rows
from pairkit.reports.html import Html, badge, details, join, paragraph, table, text
from pairkit.reports.scores import Point, points
from pairkit.run_report.evaluations import Benchmark
from pairkit.run_report.find import Setting
from pairkit.run_report.series import Colors, Drawing, Figure, Row, caption, joined, legend, ready

NUMBER, TITLE = 24, "Evaluations"
MISSING = (
    "no evaluation is found in the runs' directories or next to them: run `pairkit eval` on their models, "
    "and name the results with --eval; or train with eval.generate"
)


def evaluations(settings: Sequence[Setting], colors: Colors, benchmarks: Sequence[Benchmark]) -> Figure:
    """Draw figure 24: a part per benchmark, and the curve of `eval.generate`."""
    values: list[Row] = []
    differences: list[Row] = []
    curve, steps = _while_training(settings, colors)
    parts = [curve] if steps else []
    for benchmark in benchmarks:
        parts.append(ready(_of_benchmark(benchmark, colors, values, differences)))
    names = {setting.name for benchmark in benchmarks for setting in benchmark.settings}
    names |= {str(row["setting"]) for row in steps}
    missing = {setting.name: MISSING for setting in settings if setting.name not in names}
    tables = {"values": values, "differences": differences, "while training": steps}
    drawings = parts or [partial(grid, caption(NUMBER, TITLE, ""), [])]
    return Figure(NUMBER, TITLE, "", tables, drawings, missing)


def _of_benchmark(benchmark: Benchmark, colors: Colors, values: list[Row], differences: list[Row]) -> Html:
    settings = benchmark.settings
    shared = [name for name in settings[0].metrics if all(name in each.metrics for each in settings)]
    names = shared or list(dict.fromkeys(name for each in settings for name in each.metrics))
    entries = {name: [own_value(each, name) for each in settings if name in each.metrics] for name in names}
    for name, of_metric in entries.items():
        values += [
            {
                "benchmark": benchmark.name, "metric": name, "setting": each["name"], "unit": each["unit"],
                "value": each["value"], "low": each["low"], "high": each["high"], "prompts": each["n"],
                "seeds": len(each["seeds"]["values"]) if each["seeds"] else 1,
            }
            for each in of_metric
        ]  # fmt: skip
    title = caption(NUMBER, f"{TITLE}: {benchmark.name}", "")
    if not names:
        return join([grid(title, []), paragraph("It has no metric with a value.")])
    headline = names[0]
    plot = points(
        f"{title}, {headline}",
        [
            Point(each["name"], each["value"], each["low"], each["high"], colors.get(each["name"], MUTED))
            for each in entries[headline]
        ],
        xlabel=f"{headline}, {entries[headline][0]['unit'] or 'score'}",
        two_widths=True,
    )
    blocks = [plot, _values(names, entries, settings)]
    if len(settings) > 1:
        blocks.append(_compared(benchmark, differences))
    notes = dict.fromkeys(note for each in settings for run in each.runs for note in run.results["notes"])
    return join([*blocks, *([details("Notes of the evaluations", *map(paragraph, notes))] if notes else [])])


def _values(
    names: Sequence[str], entries: Mapping[str, Sequence[Mapping[str, Any]]], settings: Sequence[Evaluated]
) -> Html:
    """Make a table of a row per metric and a column per setting."""
    by_name = {name: {each["name"]: each for each in entries[name]} for name in names}
    rows = [
        [
            text(name),
            *(
                text(interval_text(measure) if (measure := by_name[name].get(each.name)) else "")
                for each in settings
            ),
        ]
        for name in names
    ]
    headers = ["metric", *(each.name for each in settings)]
    return table(headers, rows, numeric=range(1, len(headers)))


def _compared(benchmark: Benchmark, differences: list[Row]) -> Html:
    """Make tables of the paired differences; where evaluations were not made alike, of none, and say why."""
    try:
        comparison = compare(benchmark.settings)
    except InputError as error:
        return paragraph(f"Differences are not computed, because {error}.")
    blocks = []
    for place, metric in enumerate(comparison["metrics"]):
        differences += [
            {
                "benchmark": benchmark.name, "metric": metric["name"],
                **{
                    key: pair[key]
                    for key in ("first", "second", "unit", "value", "low", "high", "n", "p", "p_holm")
                },
                "conclusion": conclusion(pair),
            }
            for pair in metric["pairs"]
        ]  # fmt: skip
        rows = [
            [
                text(f"{pair['first']} − {pair['second']}"),
                text(_signed(pair)),
                text(f"{pair['n']:,}"),
                badge(conclusion(pair), "good" if pair["shown"] else "flat"),
            ]
            for pair in metric["pairs"]
        ]
        unit = "points" if metric["unit"] == "%" else "difference"
        block = table(
            [f"paired difference in {metric['name']}", f"{unit} [95 %]", "prompts", "what it says"],
            rows,
            numeric=(1, 2),
        )
        blocks.append(block if place == 0 else details(f"Paired differences in {metric['name']}", block))
    return join([*blocks, *(paragraph(f"Note: {note}.") for note in comparison["notes"])])


def _signed(pair: Mapping[str, Any]) -> str:
    ends = "" if pair["low"] is None else f" [{pair['low']:+.2f}, {pair['high']:+.2f}]"
    # A typographic minus is as wide as the plus.
    return f"{pair['value']:+.2f}{ends}".replace("-", "−")


def _while_training(settings: Sequence[Setting], colors: Colors) -> tuple[Drawing, list[Row]]:
    """Draw the accuracy of `eval.generate` over the steps, with the intervals that the run has recorded."""
    rows: list[Row] = []
    panels: dict[str, list[Line]] = {}
    with_points = []
    for setting in settings:
        points = list(_points(setting))
        if not points:
            continue
        with_points.append(setting)
        settings_of = setting.first.recipe.get("eval") or {}
        benchmark = str((settings_of.get("generate") or {}).get("benchmark"))
        steps, means, lows, highs = (np.array(values) for values in zip(*points, strict=True))
        line = Line(steps, means, colors[setting.name], "solid", lows, highs)
        panels.setdefault(benchmark, []).append(line)
        rows += [
            {
                "setting": setting.name, "benchmark": benchmark, "step": step, "accuracy": mean, "low": low,
                "high": high,
            }
            for step, mean, low, high in points
        ]  # fmt: skip
    drawing = partial(
        grid,
        caption(NUMBER, "Accuracy while training", ""),
        in_rows([Curves(name, lines, "share") for name, lines in panels.items()]),
        share=("none", "none"),
        height=2.4,
        legend=legend(with_points, colors),
        note="Greedy answers to the benchmark of eval.generate. Bands: the 95 % interval over prompts; of "
        "several seeds one standard deviation over seeds in each direction.",
    )
    return drawing, rows


def _points(setting: Setting) -> Iterator[tuple[int, float, float, float]]:
    runs = [values for run in setting.runs if (values := run.values("generate", "accuracy"))]
    if not runs:
        return
    both = joined(runs)
    deviation = both.deviation
    ends = [setting.first.values("generate", key) for key in ("low", "high")]
    for place, step in enumerate(both.steps):
        mean = float(both.mean[place])
        if deviation is None:
            yield step, mean, *(each.get(step, math.nan) for each in ends)  # type: ignore[misc]
        else:
            yield step, mean, mean - float(deviation[place]), mean + float(deviation[place])
