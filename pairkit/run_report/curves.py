"""Figures 20 to 23, and 26: what every run logs, over the steps, whatever it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from pairkit.reports.canvas import INK
from pairkit.reports.grids import Curves, grid
from pairkit.run_report.find import Setting
from pairkit.run_report.series import (
    KINDS,
    POINTS,
    Colors,
    Figure,
    Row,
    Rows,
    Series,
    caption,
    legend,
    series,
)

SPIKES = 30.0  # largest over median norm from which norms are drawn on a logarithmic scale


class Number(NamedTuple):
    """A number of the metrics, and its panel; `zero` is whether that has a line at 0."""

    kind: str
    key: str
    title: str
    unit: str = ""
    zero: bool = False


class Panel(NamedTuple):
    """A number of the settings that have it, by their names, as curves."""

    number: Number
    by_setting: Mapping[str, Series]
    curves: Curves


def losses(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 20: the loss of the steps, and of held-out sets."""
    numbers = [Number("train", "loss", "of each step's sets"), Number("eval", "loss", "of held-out sets")]
    note = "Losses of different names, or of another beta, have no common scale."
    missing = "its metrics have no loss"
    return _figure(20, "Loss", settings, colors, [_panels(settings, colors, numbers)], note, missing)


def margins(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 21: how often rewards are in the right order, and how far they are apart in both units."""
    rows = [
        [
            Number(kind, "reward_accuracy", f"{name}: right order"),
            Number(kind, "reward_margin", f"{name}: margin, loss's unit", zero=True),
            Number(kind, "log_ratio_margin", f"{name}: margin without beta", "nats", zero=True),
        ]
        for kind, name in (("train", "steps"), ("eval", "held-out"))
    ]
    note = (
        "Right order: the share of pairs whose chosen completion has the higher reward; a tie, as of all "
        "pairs before the first step, counts one half. A margin is the chosen reward minus the rejected one: "
        "in the loss's unit with beta in it, without beta the difference of both log-ratios, which is "
        "recorded with record.figures=true where there is a reference."
    )
    missing = "its loss compares no completions"
    panels = [_panels(settings, colors, row) for row in rows]
    return _figure(21, "Reward margins and accuracy", settings, colors, panels, note, missing)


def gradients(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 22: gradient norms before they are clipped, and learning rates."""
    numbers = [
        Number("train", "grad_norm", "gradient norm before clipping"),
        Number("train", "learning_rate", "learning rate"),
    ]
    norm, *others = _panels(settings, colors, numbers)
    long = {name: each for name, each in norm.by_setting.items() if len(each.steps) > POINTS}
    curves = norm.curves._replace(
        lines=[*norm.curves.lines, *(each.peaks(colors[name]) for name, each in long.items())],
        levels=_limits(settings, norm),
        log=_has_spikes(norm),
    )
    note = "Dashed: the norm from which gradients are clipped (optimizer.max_grad_norm)."
    if long:
        note += f" Dotted: the largest norm in each of the {POINTS} parts that a long run is drawn by."
    panels = [[norm._replace(curves=curves), *others]]
    return _figure(22, "Gradient norms", settings, colors, panels, note, "its metrics have no gradient norm")


def _limits(settings: Sequence[Setting], norm: Panel) -> list[tuple[float, str]]:
    """Return where gradients are clipped, once for each norm."""
    largest = {
        float(setting.first.recipe["optimizer"]["max_grad_norm"])
        for setting in settings
        if setting.name in norm.by_setting and setting.first.recipe["optimizer"].get("max_grad_norm")
    }
    return [(value, INK) for value in sorted(largest)]


def _has_spikes(norm: Panel) -> bool:
    for each in norm.by_setting.values():
        values = each.numbers[np.isfinite(each.numbers) & (each.numbers > 0)]
        if len(values) and values.max() > SPIKES * np.median(values):
            return True
    return False


def throughput(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 23: how fast the steps were, and what they took of the device."""
    numbers = [
        Number("train", "tokens_per_second", "tokens per second"),
        Number("train", "sets_per_second", "sets per second"),
        Number("train", "mfu", "share of the device's peak (MFU)"),
        Number("train", "memory_gib", "peak memory of a device", "GiB"),
    ]
    note = (
        "Of the steps alone, without evaluations and checkpoints, of all processes together. Memory and the "
        "share of the peak are recorded on GPUs."
    )
    panels = _panels(settings, colors, numbers)
    figure = _figure(23, "Throughput", settings, colors, [panels], note, "its metrics have no rates")
    medians: list[Row] = [
        {"setting": name, "number": panel.number.key, "median": float(np.nanmedian(each.numbers))}
        for panel in panels
        for name, each in panel.by_setting.items()
        if np.isfinite(each.numbers).any()
    ]
    return figure._replace(tables={"medians": medians, **figure.tables})


def own_samples(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 26: what the model writes to held-out prompts, over the steps."""
    numbers = [
        Number("sample", "own_entropy", "entropy of its own tokens", "nats"),
        Number("sample", "own_kl", "KL to the reference", "nats", zero=True),
        Number("sample", "score", "score of the check"),
        Number("sample", "length", "length", "tokens"),
        Number("sample", "truncated", "share cut at the limit"),
        Number("sample", "repeated", "repeated runs of four words"),
        Number("sample", "distinct", "different words over words"),
    ]
    note = (
        "Means over samples to held-out prompts, with the same random numbers at every step. The KL is that "
        "of policy to reference over whole samples, the mean of log policy - log reference (record.kl=true)."
    )
    missing = "no samples are recorded: train with --sample-every epoch"
    panels = [panel for panel in _panels(settings, colors, numbers) if panel.by_setting]
    panel_rows = [panels[first : first + 3] for first in range(0, len(panels), 3)]
    return _figure(26, "What the model writes", settings, colors, panel_rows, note, missing)


def _panels(settings: Sequence[Setting], colors: Colors, numbers: Sequence[Number]) -> list[Panel]:
    return [_panel(settings, colors, number) for number in numbers]


def _panel(settings: Sequence[Setting], colors: Colors, number: Number) -> Panel:
    by_setting = {
        setting.name: each for setting in settings if (each := series(setting, number.kind, number.key))
    }
    lines = [each.line(colors[name]) for name, each in by_setting.items()]
    return Panel(number, by_setting, Curves(number.title, lines, number.unit, number.zero))


def _figure(
    number: int,
    title: str,
    settings: Sequence[Setting],
    colors: Colors,
    panels: Sequence[Sequence[Panel]],
    note: str,
    missing: str,
) -> Figure:
    """Draw the panels that some setting has; `missing` is why one has none of them."""
    filled = [[panel for panel in row if panel.by_setting] for row in panels]
    rows = Rows()
    for panel in (panel for row in filled for panel in row):
        for name, each in panel.by_setting.items():
            rows += each.rows(name, panel.number.key, sets=KINDS[panel.number.kind])
    names = {name for row in filled for panel in row for name in panel.by_setting}
    drawing = partial(
        grid,
        caption(number, title, ""),
        [[panel.curves for panel in row] for row in filled if row],
        share=("none", "none"),
        height=2.2,
        legend=legend([setting for setting in settings if setting.name in names], colors),
        note=note if names else "",
    )
    absent = {setting.name: missing for setting in settings if setting.name not in names}
    return Figure(number, title, "", {"steps": rows}, [drawing], absent)
