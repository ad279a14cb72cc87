"""Figures 7 and 14: how hard a loss pushes a pair, and the margin that alpha-DPO gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from pairkit.intervals import Floats
from pairkit.losses import Extras, Logps, Loss
from pairkit.losses.adaptive import disagreement
from pairkit.reports.grids import Curves, Line, grid
from pairkit.run_report.find import Setting
from pairkit.run_report.pairs import PAIRS, compared, logps, loss_of, per_token, unrecorded
from pairkit.run_report.run import Run, Sets
from pairkit.run_report.series import Colors, Figure, Row, Rows, Table, caption, legend, series

COUNT = 161  # margins of a curve
REACH = 6.0  # in units of 1 / beta
LIMIT = 2.5  # in units of the largest push at margin 0, so that one of SPO does not flatten the others
ALPHA = "alpha_dpo"
OF_M = ("implicit_reference", "length_normalized", "margin", "margin_reduction")  # its keywords


def coefficients(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 7: the push on a pair over its margin, for the losses of the settings."""
    missing: dict[str, str] = {}
    losses: dict[str, dict[str, Loss]] = {}
    for setting in settings:
        loss = loss_of(setting.first)
        reason = compared(loss)
        part = next((each for _, each in loss.parts if each.completions != "first"), None) if loss else None
        if not reason and part and (part.needs - {"reference"} or part.statistics):
            reason = f"what {part.name} pushes depends on more than the margin"
        if reason or part is None:
            missing[setting.name] = reason
        else:
            losses.setdefault("nats per token" if per_token(part) else "nats", {})[setting.name] = part
    rows: list[Row] = []
    panels = []
    for unit, parts in losses.items():
        reach = REACH / min(part.beta for part in parts.values())
        margins = np.linspace(-reach, reach, COUNT)
        lines = []
        middle = []
        for name, part in parts.items():
            values = push(part, margins)
            middle.append(abs(values[COUNT // 2]))
            lines.append(Line(margins, values, colors[name]))
            rows += [
                {"setting": name, "beta": part.beta, "unit": unit, "margin": margin, "f": value}
                for margin, value in zip(margins.tolist(), values.tolist(), strict=True)
            ]
        panels.append(Curves(f"margin in {unit}", lines, zero=True, limit=LIMIT * max(middle)))
    title, reproduces = "Push on a pair over its margin", "MinorDPO, Fig. 1"
    shown_settings = [setting for setting in settings if setting.name not in missing]
    drawing = partial(
        grid,
        caption(7, title, reproduces),
        [panels],
        xlabel="margin of the pair",
        ylabel="f",
        share=("none", "none"),
        height=2.6,
        legend=legend(shown_settings, colors),
        note="f is minus the derivative of the loss by the log-prob of the chosen completion, where the "
        "rejected one is as the reference has it: beta sigmoid(-beta margin) of DPO. Below 0 it pulls a pair "
        f"back. The plot ends at {LIMIT} times the largest push at margin 0.",
    )
    return Figure(7, title, reproduces, {"curves": rows}, [drawing], missing)


def push(part: Loss, margins: Floats) -> Floats:
    """Return minus the derivative of the loss by the chosen completion's log-prob, `[margins]`.

    The texts have one token, the rejected one's log-ratio is 0.
    """
    chosen = torch.from_numpy(margins).requires_grad_()
    zeros = torch.zeros_like(chosen)
    sums = torch.stack([chosen, zeros], dim=1)
    ones = torch.ones_like(sums)
    policy = Logps(sums, ones.long(), ones.bool())
    reference = Logps(torch.zeros_like(sums), ones.long(), ones.bool())
    ranks = torch.tensor([[1, 2]]).expand(len(margins), 2)
    result = part(policy, reference, ones, extras=Extras(ranks))
    (gradient,) = torch.autograd.grad(result.losses.sum(), chosen)
    values: Floats = -gradient.numpy()
    return values


def adaptive_margins(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 14: the margins of alpha-DPO over the steps, and std(M) next to alpha."""
    missing: dict[str, str] = {}
    lines: list[Line] = []
    deviations: list[Line] = []
    bands = []
    steps: list[Row] = []
    rows = Rows()
    shown_settings = []
    for setting in settings:
        loss = setting.part(ALPHA)
        if loss is None:
            continue
        deviation = series(setting, "train", "std_M")
        if deviation is None:
            missing[setting.name] = unrecorded(setting, "figures")
            continue
        shown_settings.append(setting)
        color = colors[setting.name]
        deviations.append(deviation.line(color))
        rows += deviation.rows(setting.name, "std_M")
        bands.append((0.0, float(loss["alpha"]), color))
        by_step = _margins(setting, loss)
        if not by_step:
            missing[setting.name] = PAIRS
            continue
        low, mean, high = np.array(list(by_step.values())).T
        lines.append(Line(list(by_step), mean, color, "solid", low, high))
        steps += [
            {"setting": setting.name, "step": step, "mean": each[1], "5 %": each[0], "95 %": each[2]}
            for step, each in by_step.items()
        ]
    title, reproduces = "Adaptive margins", "alpha-DPO, Eq. 11 and 12"
    panels = [
        Curves("ratio + alpha M* of held-out pairs", lines, "nats per token"),
        Curves("std(M), and alpha (shaded below it)", deviations, "nats per token", False, bands),
    ]
    drawing = partial(
        grid,
        caption(14, title, reproduces),
        [panels] if shown_settings else [],
        share=("all", "none"),
        height=2.6,
        legend=legend(shown_settings, colors),
        note="Mean and 5 to 95 % of the pairs, at evaluations. Where std(M) is below alpha, the loss without "
        "stop-gradient pulls pairs the wrong way."
        if shown_settings
        else "Only alpha_dpo has these margins.",
    )
    tables: dict[str, Table] = {"margins": steps, "std_M": rows}
    return Figure(14, title, reproduces, tables, [drawing], missing)


def _margins(setting: Setting, loss: Mapping[str, Any]) -> dict[int, tuple[float, float, float]]:
    """Return the fifth percentile, mean and ninety-fifth of the margins of held-out pairs, by step."""
    by_step = {}
    for step in sorted(setting.first.pairs):
        each = [values for run in setting.runs if (values := margins(run, step, loss)) is not None]
        if each:
            every = np.concatenate(each)
            low, high = np.percentile(every, [5, 95]).tolist()
            by_step[step] = (low, float(every.mean()), high)
    return by_step


def margins(run: Run, step: int, loss: Mapping[str, Any]) -> Floats | None:
    """Return ratio + alpha M* of a run's held-out pairs at an evaluation; None where it is not known.

    M is computed from the pairs. Its mean and deviation in the loss are those of training: the deviation is
    recorded, and the mean follows from the recorded mean of the margins.
    """
    if step not in run.pairs:
        return None
    mean = run.values("eval", "adaptive_margin").get(step, np.nan)
    deviation = run.values("eval", "std_M").get(step, np.nan)
    if not np.isfinite(mean + deviation):
        return None
    shift = disagreements(run.sets(step, "eval"), loss)
    shift = shift[np.isfinite(shift)]
    scale = loss["alpha"]
    if loss["normalize"]:
        if not deviation > 0:  # before the first batch that counts
            return np.full(len(shift), mean)
        scale = scale / deviation if loss["alpha_scale"] == "code" else scale / loss["beta"] / deviation
    values: Floats = mean + scale * (shift - shift.mean())
    return values


def disagreements(sets: Sets, loss: Mapping[str, Any]) -> Floats:
    """Return M of all pairs, `[pairs]`, as alpha-DPO defines it with these keywords."""
    owner, other = np.nonzero(sets.mask[:, 1:])
    columns = torch.from_numpy(np.stack([np.zeros_like(other), other + 1], axis=1))
    policy, reference = (
        logps(sets, sums).rows(torch.from_numpy(owner)).columns(columns)
        for sums in (sets.logp, sets.reference)
    )
    values: Floats = disagreement(policy, reference, **{key: loss[key] for key in OF_M}).numpy()
    return values
