"""Figures 1, 2 and 27: how far apart chosen and rejected completions are, by pair and over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from pairkit.intervals import Floats
from pairkit.losses import Loss, WeightedSum
from pairkit.reports.canvas import INK, MUTED
from pairkit.reports.grids import Curves, Density, Line, grid, in_rows
from pairkit.run_report.find import Setting
from pairkit.run_report.pairs import (
    compared,
    contrasts,
    edges_of,
    epochs,
    loss_of,
    margins_of,
    per_token,
    unrecorded,
    when,
    without_pairs,
)
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
    series,
)

STAPO = "StaPO, Fig. 2"
LOGIT = "contrastive_logit"
PERCENTILES = ("p5", "p25", "p50", "p75", "p95")
TITLE = "Contrastive logits Z of training pairs"


class Shown(NamedTuple):
    """A setting with the contrasts of its training pairs, `[pairs]`, by step."""

    setting: Setting
    unit: str
    steps: Mapping[int, Floats]


def contrastive_logits(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 1: the distribution of what the loss compares, of training pairs at three steps."""
    missing: dict[str, str] = {}
    entries: list[Shown] = []
    for setting in settings:
        loss = loss_of(setting.first)
        reason = compared(loss) or without_pairs(setting)
        if reason or loss is None:
            missing[setting.name] = reason
        else:
            unit = "nats per token" if per_token(loss) else "nats"
            entries.append(Shown(setting, unit, _contrasts(setting, loss)))
    bins: list[Row] = []
    pairs: list[Row] = []
    drawings: list[Drawing] = []
    for unit in dict.fromkeys(each.unit for each in entries):
        drawings.append(_histograms([each for each in entries if each.unit == unit], colors, bins, pairs))
    drawings = drawings or [partial(grid, caption(1, TITLE, STAPO), [])]
    return Figure(1, TITLE, STAPO, {"pairs": pairs, "bins": bins}, drawings, missing)


def _contrasts(setting: Setting, loss: Loss | WeightedSum) -> dict[int, Floats]:
    by_step = {}
    for step in epochs(setting.first):
        runs = [run for run in setting.runs if step in run.pairs]
        by_step[step] = np.concatenate([contrasts(loss, run.sets(step, "train")) for run in runs])
    return by_step


def _histograms(entries: Sequence[Shown], colors: Colors, bins: list[Row], pairs: list[Row]) -> Drawing:
    marks = [margin for each in entries for margin in margins_of(each.setting)]
    every = np.concatenate([values for each in entries for values in each.steps.values()])
    edges = edges_of(every, [0.0, *marks])
    panels = []
    for setting, unit, steps in entries:
        margins = margins_of(setting)
        row = []
        for step, values in steps.items():
            finite = values[np.isfinite(values)]
            density = np.histogram(finite, edges)[0] / max(1, len(finite)) / np.diff(edges)
            what, share = _share(finite, margins)
            lost = len(values) - len(finite)
            summary = f"{100 * share:.0f} % {what}" + (f"\n{lost} not finite" if lost else "")
            title = when(setting, step)
            row.append(Density(title, edges, density, colors[setting.name], margins, summary))
            fields: Row = {"setting": setting.name, "step": step, "unit": unit}
            pairs.append(
                {
                    **fields, "pairs": len(values), "not finite": lost, "mean": _mean(finite),
                    "median": float(np.median(finite)) if len(finite) else None, "share": share,
                    "share of": what, "margins": ", ".join(f"{margin:g}" for margin in margins),
                }
            )  # fmt: skip
            ends = zip(edges[:-1].tolist(), edges[1:].tolist(), density.tolist(), strict=True)
            bins += [{**fields, "from": low, "to": high, "density": each} for low, high, each in ends]
        panels += in_rows(row)
    unit = entries[0].unit
    return partial(
        grid,
        caption(1, f"{TITLE}, {unit}", STAPO),
        panels,
        xlabel=f"Z, {unit}",
        ylabel="density",
        share=("all", "row"),
        height=1.9,
        note="What the loss compares of a pair, before its scale and margins. Vertical lines: the margins of "
        "the loss (StaPO's left and right one, gamma / beta of SimPO, the best margin of IPO and SPO).",
    )


def _share(values: Floats, margins: Sequence[float]) -> tuple[str, float]:
    """Return the share of values that the loss wants, and in words which these are."""
    if not len(values):
        return "above 0", float("nan")
    if len(margins) == 2:
        low, high = margins
        return "within the margins", float(((low <= values) & (values <= high)).mean())
    bound = margins[0] if margins else 0.0
    return f"above {bound:g}", float((values > bound).mean())


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def spread(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 27: percentiles of what the loss compares over the steps, with its margins."""
    kind = kind_of(settings, f"{LOGIT}_p50")
    rows = Rows()
    panels: list[Curves] = []
    missing: dict[str, str] = {}
    for setting in settings:
        percentiles = {name: series(setting, kind, f"{LOGIT}_{name}") for name in PERCENTILES}
        every = {name: each for name, each in percentiles.items() if each is not None}
        if len(every) < len(percentiles):
            missing[setting.name] = unrecorded(setting, "figures")
            continue
        for name, each in every.items():
            rows += each.rows(setting.name, f"{name[1:]} %", sets=KINDS[kind])
        color = colors[setting.name]
        lines = {name: each.line(color) for name, each in every.items()}
        bands = [
            lines["p50"]._replace(low=lines[low].values, high=lines[high].values)
            for low, high in (("p5", "p95"), ("p25", "p75"))
        ]
        levels = [(margin, INK) for margin in margins_of(setting)]
        panels.append(Curves(setting.name, bands, zero=True, levels=levels))
    title = "Contrastive logits Z over the steps"
    drawing = partial(
        grid,
        caption(27, title, ""),
        in_rows(panels),
        ylabel="Z",
        share=("all", "none"),
        height=2.4,
        note=f"Median, 25 to 75 % and 5 to 95 % of the pairs of {KINDS[kind]}; of several seeds the mean of "
        "each. Dashed: the margins of the loss.",
    )
    return Figure(27, title, "", {"steps": rows}, [drawing], missing)


def log_probs(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 2: log-probs per token of chosen and rejected completions, and their gap."""
    chosen, rejected = "chosen_logp_per_token", "rejected_logp_per_token"
    lines: list[Line] = []
    gaps: list[Line] = []
    bands = []
    rows = Rows()
    missing: dict[str, str] = {}
    shown_settings = []
    for setting in settings:
        all_series = [
            series(setting, "train", *keys) for keys in ((chosen,), (rejected,), (chosen, rejected))
        ]
        if any(each is None for each in all_series):
            missing[setting.name] = f"{setting.loss['name']} has no rejected completions in its metrics"
            continue
        shown_settings.append(setting)
        color = colors[setting.name]
        for each, name, dashes in zip(
            all_series, ("chosen", "rejected", "gap"), ("solid", "dashed", "solid"), strict=True
        ):
            if each is not None:
                (gaps if name == "gap" else lines).append(each.line(color, dashes))
                rows += each.rows(setting.name, name)
        if (stapo := setting.part("stapo")) and stapo["logit"] == "simpo":
            bands.append((stapo["left_margin"], stapo["right_margin"], MUTED))
    title, reproduces = "Log-probs per token over the steps", "StaPO, Fig. 3"
    gap = "their gap, with the margins of StaPO" if bands else "their gap"
    panels = [
        [Curves("chosen (solid) and rejected (dashed)", lines, "nats per token")],
        [Curves(gap, gaps, "nats per token", True, bands)],
    ]
    drawing = partial(
        grid,
        caption(2, title, reproduces),
        panels if shown_settings else [],
        share=("all", "none"),
        ratios=(1.5, 1),
        height=2.2,
        legend=legend(shown_settings, colors),
        note="Means over the sets of each step, and over the negatives that it drew.",
    )
    return Figure(2, title, reproduces, {"steps": rows}, [drawing], missing)
