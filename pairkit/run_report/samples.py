"""Figure 3: scores against the entropy of what the model writes itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev

from pairkit.intervals import Interval, bootstrap_mean
from pairkit.reports.paths import Path, paths
from pairkit.run_report.find import Setting
from pairkit.run_report.series import Colors, Drawing, Figure, Row, caption, plain, series

RESAMPLES = 2000
TITLE, STAPO = "Score against the entropy of the model's own samples", "StaPO, Fig. 4"
ORDERED = "Held-out pairs in the right order against the entropy of the model's own samples"
NO_SAMPLES = "no samples are recorded: train with --sample-every epoch"
NO_SCORES = (
    "samples have no scores: train with record.samples.check=number (or exact, or a function), or with "
    "eval.generate.benchmark"
)


def entropy_and_score(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 3: a path per setting through (entropy of its own samples, score).

    Where a setting has no scores, one through (entropy, held-out pairs in the right order) of all settings.
    """
    missing: dict[str, str] = {}
    scored: list[Path] = []
    ordered: list[Path] = []
    rows: list[Row] = []
    pairs: list[Row] = []
    for setting in settings:
        steps = sorted(set().union(*(run.samples for run in setting.runs)))
        if not steps:
            missing[setting.name] = NO_SAMPLES
            continue
        begins = steps[0] == 0
        entropies = {step: each for step in steps if (each := sampled(setting, step, "entropy")) is not None}
        for of_step, lines, table in ((score, scored, rows), (accuracy, ordered, pairs)):
            points = {
                step: (entropy, value)
                for step, entropy in entropies.items()
                if (value := of_step(setting, step)) is not None
            }
            table += [_row(setting, step, *point) for step, point in points.items()]
            if points:
                lines.append(Path(setting.name, colors[setting.name], list(points.values()), begins=begins))
            elif of_step is score:
                missing[setting.name] = NO_SCORES
    drawings = [_drawn(TITLE, "score", scored)] if scored or not ordered else []
    if NO_SCORES in missing.values() and ordered:
        drawings.append(_drawn(ORDERED, "share of the pairs", ordered))
    else:
        pairs = []
    return Figure(3, TITLE, STAPO, {"points": rows, "pairs": pairs}, drawings, missing)


def _row(setting: Setting, step: int, entropy: Interval, value: Interval) -> Row:
    intervals = {"entropy": entropy, "score": value}
    numbers = {
        f"{name}{end}": value
        for name, each in intervals.items()
        for end, value in zip(("", " low", " high"), each, strict=True)
    }
    return {"setting": setting.name, "step": step, **numbers}


def _drawn(title: str, ylabel: str, lines: Sequence[Path]) -> Drawing:
    return partial(
        paths,
        caption(3, title, STAPO),
        lines,
        xlabel="mean token entropy of own samples, nats",
        ylabel=ylabel,
        by_x=True,
        note="Points in the order of the steps; a ring is the model before training. The larger a point, the "
        "higher the entropy. Crosses are 95 % intervals over prompts.",
    )


def accuracy(setting: Setting, step: int) -> Interval | None:
    """Return the share of held-out pairs in the right order at a step, mean over seeds, with no interval."""
    accuracies = series(setting, "eval", "reward_accuracy")
    if accuracies is None or step not in accuracies.steps:
        return None
    value = float(accuracies.mean[list(accuracies.steps).index(step)])
    return plain(value) if math.isfinite(value) else None


def sampled(setting: Setting, step: int, name: str) -> Interval | None:
    """Return the mean of a column of all seeds' samples, and its interval over prompts; None without any."""
    samples = [
        (row["set_id"], row[name])
        for run in setting.runs
        if step in run.samples
        for row in run.written(step)
        if row[name] is not None and math.isfinite(row[name])
    ]
    if not samples:
        return None
    prompts, values = zip(*samples, strict=True)
    return bootstrap_mean(values, groups=prompts, resamples=RESAMPLES)


def score(setting: Setting, step: int) -> Interval | None:
    """Return the score of a step: that of samples, or the accuracy on the benchmark of `eval.generate`.

    The interval of several seeds' accuracy is one standard deviation over seeds in each direction.
    """
    if (interval := sampled(setting, step, "score")) is not None:
        return interval
    accuracies = [
        tuple(run.values("generate", key).get(step, math.nan) for key in ("accuracy", "low", "high"))
        for run in setting.runs
    ]
    finite = [each for each in accuracies if math.isfinite(each[0])]
    if not finite:
        return None
    if len(finite) == 1:
        return Interval(*finite[0])
    values = [each[0] for each in finite]
    deviation = stdev(values)
    return Interval(fmean(values), fmean(values) - deviation, fmean(values) + deviation)
