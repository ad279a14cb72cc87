"""Figures 8 and 19: log-ratios of chosen and rejected completions, over the steps and in a plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from pairkit.intervals import Floats
from pairkit.reports.grids import Curves, Line, Plane, grid, in_rows
from pairkit.run_report.find import Setting
from pairkit.run_report.pairs import REFERENCE, edges_of, nearest, unrecorded, when, without_pairs
from pairkit.run_report.series import KINDS, Colors, Figure, Row, Rows, caption, kind_of, legend, series

SIDES = {
    "chosen": ("chosen_log_ratio", "solid"),
    "rejected": ("rejected_log_ratio", "dotted"),
    "margin": ("log_ratio_margin", "dashed"),
}
PLANE_BINS = 32


def log_ratios(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 8: rewards without beta over the steps, a panel per loss and beta."""
    kind = kind_of(settings, "chosen_log_ratio")
    rows = Rows()
    missing: dict[str, str] = {}
    lines: dict[tuple[str, Any], list[Line]] = {}
    shown_settings = []
    for setting in settings:
        place = str(setting.loss["name"]), setting.loss.get("beta")
        by_side = {name: series(setting, kind, key) for name, (key, _) in SIDES.items()}
        if all(each is None for each in by_side.values()):
            missing[setting.name] = unrecorded(setting, "figures")
            continue
        shown_settings.append(setting)
        for name, each in by_side.items():
            if each is not None:
                lines.setdefault(place, []).append(each.line(colors[setting.name], SIDES[name][1]))
                rows += each.rows(setting.name, name, loss=place[0], beta=_beta(place[1]), sets=KINDS[kind])
    title, reproduces = "Rewards without beta over the steps", "MinorDPO, Fig. 2 to 5"
    drawing = partial(
        grid,
        caption(8, title, reproduces),
        _by_loss_and_beta(lines),
        ylabel="log-ratio, nats",
        legend=legend(shown_settings, colors),
        note="Log-ratios of policy and reference: of chosen completions (solid), of rejected ones (dotted), "
        f"and their difference (dashed). Means over {KINDS[kind]}.",
    )
    return Figure(8, title, reproduces, {"steps": rows}, [drawing], missing)


def _by_loss_and_beta(lines: Mapping[tuple[str, Any], Sequence[Line]]) -> list[Sequence[Curves | None]]:
    """Place panels in a row per loss and a column per beta; where each loss has one beta, side by side."""
    panels = {
        (loss, beta): Curves(f"{loss}, beta {_beta(beta)}", some, zero=True)
        for (loss, beta), some in lines.items()
    }
    losses = dict.fromkeys(loss for loss, _ in panels)
    if len(losses) == len(panels):
        return [*in_rows(list(panels.values()))]
    betas = sorted({beta for _, beta in panels}, key=lambda beta: (beta is not None, beta or 0.0))
    return [[panels.get((loss, beta)) for beta in betas] for loss in losses]


def plane(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 19: pairs by the log-ratios of both completions, at start, middle and end."""
    missing: dict[str, str] = {}
    by_setting: dict[str, dict[int, tuple[Floats, Floats]]] = {}
    for setting in settings:
        if reason := without_pairs(setting):
            missing[setting.name] = reason
            continue
        steps = {step: _ratios(setting, step) for step in nearest(setting.first, (0, 0.5, 1))}
        if not any(len(rejected) for rejected, _ in steps.values()):
            missing[setting.name] = REFERENCE
            continue
        by_setting[setting.name] = steps
    shown_settings = [setting for setting in settings if setting.name in by_setting]
    targets = {setting.name: target(setting) for setting in shown_settings}
    crosses = [cross for cross, _ in targets.values() if cross is not None]
    every = [pair for steps in by_setting.values() for pair in steps.values()]
    edges = (
        [
            edges_of(
                np.concatenate([pair[side] for pair in every]), [0.0, *(c[side] for c in crosses)], PLANE_BINS
            )
            for side in (0, 1)
        ]
        if every
        else []
    )
    bins: list[Row] = []
    panels = []
    for setting in shown_settings:
        row = []
        for step, (rejected, chosen) in by_setting[setting.name].items():
            counts = np.histogram2d(chosen, rejected, [edges[1], edges[0]])[0]  # [chosen, rejected]
            shares = counts / max(1, len(chosen))
            cross, diagonals = targets[setting.name]
            title = when(setting, step)
            row.append(Plane(title, edges[0], edges[1], shares, colors[setting.name], cross, diagonals))
            bins += [
                {
                    "setting": setting.name, "step": step,
                    "rejected from": float(edges[0][x]), "rejected to": float(edges[0][x + 1]),
                    "chosen from": float(edges[1][y]), "chosen to": float(edges[1][y + 1]),
                    "share": float(shares[y, x]),
                }
                for y, x in np.argwhere(shares > 0)
            ]  # fmt: skip
        panels.append(row)
    title, reproduces = "Pairs in the plane of log-ratios", "SPO, Eq. 6"
    drawing = partial(
        grid,
        caption(19, title, reproduces),
        panels,
        xlabel="log-ratio of the rejected completion, b, nats",
        ylabel="of the chosen completion, a, nats",
        height=2.7,
        note="All training pairs that are recorded, at start, middle and end. Cross: the optimum of SPO, "
        "b = -1/alpha and a = 1/beta - 1/alpha. Dashed: the best margin a - b of SPO, 1/beta, and of IPO on "
        "sums, 1/(2 beta).",
    )
    goals: list[Row] = [
        {"setting": name, "b": cross and cross[0], "a": cross and cross[1], "a - b": lines[0]}
        for name, (cross, lines) in targets.items()
        if lines
    ]
    return Figure(19, title, reproduces, {"targets": goals, "bins": bins}, [drawing], missing)


def target(setting: Setting) -> tuple[tuple[float, float] | None, tuple[float, ...]]:
    """Return the point (b, a) to which the loss pulls a pair, and the differences a - b of its optimum."""
    if spo := setting.part("spo"):
        margin, alpha = 1 / spo["beta"], spo["alpha"]
        return ((-1 / alpha, margin - 1 / alpha) if alpha else None), (margin,)
    if (ipo := setting.part("ipo")) and ipo["reduction"] == "sum":
        return None, (0.5 / ipo["beta"],)
    return None, ()


def _ratios(setting: Setting, step: int) -> tuple[Floats, Floats]:
    """Return the log-ratios of the rejected and the chosen completion of all pairs that have them."""
    pairs = []
    for run in setting.runs:
        if step in run.pairs:
            sets = run.sets(step, "train")
            ratios = sets.logp - sets.reference
            rejected = ratios[:, 1:][sets.mask[:, 1:]]
            pairs.append(np.stack([rejected, rejected + sets.differences(ratios)]))
    both = np.concatenate(pairs, axis=1)  # [2, pairs]
    both = both[:, np.isfinite(both).all(axis=0)]
    return both[0], both[1]


def _beta(beta: Any) -> str:
    return "none" if beta is None else f"{beta:g}"
