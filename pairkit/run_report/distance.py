"""Figures 10 and 11: what the reference prefers, and how far from it the policy is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from pairkit.intervals import Floats
from pairkit.reports.grids import Curves, Line, grid, in_rows
from pairkit.reports.paths import Path, paths
from pairkit.run_report.find import Setting
from pairkit.run_report.pairs import REFERENCE, unrecorded, without_pairs
from pairkit.run_report.run import in_both
from pairkit.run_report.samples import score
from pairkit.run_report.series import (
    KINDS,
    Colors,
    Drawing,
    Figure,
    Row,
    Rows,
    caption,
    kind_of,
    legend,
    plain,
    series,
)

KL = ("kl_chosen", "kl_rejected")


def reference_gap(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 10: log ref(chosen) - log ref(rejected) of the pairs that were drawn, over the steps."""
    rows: list[Row] = []
    panels: list[Curves] = []
    missing: dict[str, str] = {}
    for setting in settings:
        if reason := without_pairs(setting):
            missing[setting.name] = reason
            continue
        gaps = {step: each for step in setting.first.pairs if (each := _gaps(setting, step)) is not None}
        if not gaps:
            missing[setting.name] = REFERENCE
            continue
        low, mean, high = np.array(list(gaps.values())).T
        line = Line(list(gaps), mean, colors[setting.name], "solid", low, high)
        panels.append(Curves(setting.name, [line], zero=True))
        rows += [
            {"setting": setting.name, "step": step, "mean": each[1], "10 %": each[0], "90 %": each[2]}
            for step, each in gaps.items()
        ]
    title, reproduces = "What the reference prefers", "alpha-DPO, Fig. 2"
    drawing = partial(
        grid,
        caption(10, title, reproduces),
        in_rows(panels),
        ylabel="log ref(chosen) - log ref(rejected), nats",
        height=2.4,
        note="Mean and 10 to 90 % of the recorded training pairs. A pair counts as often as it was drawn "
        "since the evaluation before; where none was drawn, or counts are not known, each counts once.",
    )
    return Figure(10, title, reproduces, {"steps": rows}, [drawing], missing)


def _gaps(setting: Setting, step: int) -> tuple[float, float, float] | None:
    """Return the tenth percentile, mean and ninetieth of the gaps of all seeds; None without a reference."""
    values, weights = [], []
    for run in setting.runs:
        if step not in run.pairs:
            continue
        sets = run.sets(step, "train")
        counts = sets.drawn
        if (first := run.before(step)) is not None:
            before, sets = in_both(run.sets(first, "train"), sets)
            counts = sets.drawn - before.drawn
        draws = counts[:, 1:][sets.mask[:, 1:]]
        values.append(sets.differences(sets.reference))
        weights.append(draws if np.nansum(draws) > 0 else np.ones(len(draws)))
    every, every_weight = np.concatenate(values), np.concatenate(weights)
    mask = np.isfinite(every) & (every_weight > 0)
    every, every_weight = every[mask], every_weight[mask]
    if not len(every):
        return None
    low, high = (_quantile(every, every_weight, share) for share in (0.1, 0.9))
    return low, float(np.average(every, weights=every_weight)), high


def _quantile(values: Floats, weights: Floats, share: float) -> float:
    """Return the smallest value up to which there is this share of the weight."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[order]) >= share * weights.sum()
    return float(values[order][reached.argmax()])


def divergence(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 11: KL(reference to policy) over the steps, and scores against it."""
    kind = kind_of(settings, KL[0])
    rows = Rows()
    missing: dict[str, str] = {}
    lines: dict[str, list[Line]] = {key: [] for key in KL}
    shown_settings = []
    for setting in settings:
        by_key = {key: series(setting, kind, key) for key in KL}
        if all(each is None for each in by_key.values()):
            missing[setting.name] = unrecorded(setting, "figures", "kl")
            continue
        shown_settings.append(setting)
        for key, each in by_key.items():
            if each is not None:
                lines[key].append(each.line(colors[setting.name]))
                rows += each.rows(setting.name, key, sets=KINDS[kind])
    title, reproduces = "Distance from the reference", "alpha-DPO, Fig. 3"
    names = ("of chosen completions", "of rejected completions")
    panels = [Curves(name, lines[key], zero=True) for name, key in zip(names, KL, strict=True)]
    over_steps = partial(
        grid,
        caption(11, title, reproduces),
        [panels] if shown_settings else [],
        ylabel="KL(reference to policy), nats",
        height=2.6,
        legend=legend(shown_settings, colors),
        note=f"Sums over the tokens of a completion, means over {KINDS[kind]}.",
    )
    against, scores = _scores(settings, colors)
    drawings: list[Drawing] = [over_steps, *([against] if scores else [])]
    return Figure(11, title, reproduces, {"steps": rows, "scores": scores}, drawings, missing)


def _scores(settings: Sequence[Setting], colors: Colors) -> tuple[Drawing, list[Row]]:
    """Draw scores against the divergence at the steps that have both."""
    lines: list[Path] = []
    rows: list[Row] = []
    for setting in settings:
        distances = series(setting, "eval", KL[0])
        if distances is None:
            continue
        points = []
        for step, distance in zip(distances.steps, distances.mean.tolist(), strict=True):
            interval = score(setting, step)
            if interval is not None and np.isfinite(distance):
                points.append((plain(distance), interval))
                rows.append(
                    {"setting": setting.name, "step": step, "kl_chosen": distance, **interval._asdict()}
                )
        if points:
            lines.append(
                Path(setting.name, colors[setting.name], points, begins=rows[-len(points)]["step"] == 0)
            )
    drawing = partial(
        paths,
        caption(11, "Score against the distance from the reference", "alpha-DPO, Fig. 3c"),
        lines,
        xlabel="KL(reference to policy) of chosen held-out completions, nats",
        ylabel="score",
        note="Points in the order of the steps; a ring is the model before training.",
    )
    return drawing, rows
