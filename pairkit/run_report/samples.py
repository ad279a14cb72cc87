"""Figure 3: scores against the entropy of what the model writes itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

from pairkit.intervals import Interval, bootstrap_mean
from pairkit.reports.paths import Path, paths
from pairkit.run_report.find import Setting
from pairkit.run_report.series import Colors, Figure, Row, caption

RESAMPLES = 2000
NO_SAMPLES = "no samples are recorded: train with --sample-every epoch"
NO_SCORES = (
    "samples have no scores: train with record.samples.check=number (or exact, or a function), or with "
    "eval.generate.benchmark"
)


def entropy_and_score(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 3: a path per setting through (entropy of its own samples, score)."""
    lines: list[Path] = []
    rows: list[Row] = []
    missing: dict[str, str] = {}
    for setting in settings:
        steps = sorted(set().union(*(run.samples for run in setting.runs)))
        if not steps:
            missing[setting.name] = NO_SAMPLES
            continue
        points = []
        for step in steps:
            entropy, step_score = sampled(setting, step, "entropy"), score(setting, step)
            if entropy is not None and step_score is not None:
                points.append((entropy, step_score))
                intervals = {"entropy": entropy, "score": step_score}
                numbers = {
                    f"{name}{end}": value
                    for name, each in intervals.items()
                    for end, value in zip(("", " low", " high"), each, strict=True)
                }
                rows.append({"setting": setting.name, "step": step, **numbers})
        if points:
            lines.append(Path(setting.name, colors[setting.name], points, begins=steps[0] == 0))
        else:
            missing[setting.name] = NO_SCORES
    title, reproduces = "Score against the entropy of the model's own samples", "StaPO, Fig. 4"
    drawing = paths(
        caption(3, title, reproduces),
        lines,
        xlabel="mean token entropy of own samples, nats",
        ylabel="score",
        by_x=True,
        note="Points in the order of the steps; a ring is the model before training. The larger a point, the "
        "higher the entropy. Crosses are 95 % intervals over prompts.",
    )
    return Figure(3, title, reproduces, {"points": rows}, drawing, missing)


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
