"""Figure 16: which negatives were drawn, and how many candidates there were in effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from pairkit.reports.canvas import MORE
from pairkit.reports.grids import Curves, Shares, grid, in_rows
from pairkit.reports.html import Html, join
from pairkit.run_report.find import Setting
from pairkit.run_report.run import Run
from pairkit.run_report.series import KINDS, Colors, Figure, Row, caption, kind_of, legend, series

PARTS = len(MORE)  # as many as there are colors that are not those of the first settings
INTERVALS = 20
OTHERS = "others"
TITLE, MCPO = "Negatives drawn", "MC-PO, section 5.4"
DRAWN = "drawn_"  # the metrics of a step, by origin

Counts = Mapping[tuple[int, int], Counter[str]]  # of the negatives drawn between two steps, by part


class Part(NamedTuple):
    """A setting with the counts of what it drew."""

    setting: Setting
    counts: Counts


def drawn_negatives(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 16: shares of the drawn negatives by origin and rank, and the effective candidates."""
    missing: dict[str, str] = {}
    parts = []
    for setting in settings:
        if counts := _counts(setting):
            parts.append(Part(setting, counts))
        else:
            missing[setting.name] = f"{setting.loss['name']} draws no negatives"
    shares, rows = _shares(parts)
    effective, more = _effective(settings, colors)
    return Figure(
        16, TITLE, MCPO, {"shares": rows, "effective candidates": more}, join([shares, effective]), missing
    )


def _counts(setting: Setting) -> Counts:
    """Count by origin and rank between evaluations; where no pairs are recorded, by origin between steps."""
    each = [_of_pairs(run) for run in setting.runs]
    if not all(each):
        each = [_of_metrics(run) for run in setting.runs]
    total: dict[tuple[int, int], Counter[str]] = {}
    for counts in each:
        for interval, by_part in counts.items():
            total.setdefault(interval, Counter()).update(by_part)
    return total


def _of_pairs(run: Run) -> Counts:
    steps = sorted(run.pairs)
    counts = {}
    for first, last in pairwise(steps):
        before, sets = (run.sets(step, "train") for step in (first, last))
        new = sets.drawn - before.drawn
        by_part: Counter[str] = Counter()
        for place in zip(*np.nonzero(sets.mask & (new > 0)), strict=True):
            rank = sets.rank[place]
            suffix = "" if np.isnan(rank) else f", rank {rank:.0f}"
            by_part[f"{sets.origin[place]}{suffix}"] += int(new[place])
        if by_part:
            counts[first, last] = by_part
    return counts


def _of_metrics(run: Run) -> Counts:
    """Count by origin, in at most `INTERVALS` equal parts of the run."""
    steps = sorted({entry["step"] for entry in run.entries if entry["kind"] == "train"})
    origins = {
        key.removeprefix(DRAWN): run.values("train", key)
        for key in sorted({key for entry in run.entries for key in entry if key.startswith(DRAWN)})
    }
    counts = {}
    before = 0
    for part in np.array_split(np.array(steps, dtype=np.int64), min(INTERVALS, len(steps)) or 1):
        by_origin = Counter({
            origin: int(np.nansum([values.get(step, 0.0) for step in part.tolist()]))
            for origin, values in origins.items()
        })  # fmt: skip
        if +by_origin:
            counts[before, int(part[-1])] = +by_origin
        before = int(part[-1]) if len(part) else before
    return counts


def _shares(parts: Sequence[Part]) -> tuple[Html, list[Row]]:
    every: Counter[str] = Counter()
    for part in parts:
        for by_part in part.counts.values():
            every.update(by_part)
    names = sorted(every)
    if len(names) > PARTS:
        top_names = [name for name, _ in every.most_common(PARTS - 1)]
        names = [*sorted(top_names), OTHERS]
    colors = dict(zip(names, MORE.values(), strict=False))
    panels = []
    rows: list[Row] = []
    for setting, counts in parts:
        values: dict[str, list[float]] = {name: [] for name in names}
        for (first, last), by_part in counts.items():
            total = by_part.total()
            shares = {name: by_part[name] / total for name in names}
            if OTHERS in shares:
                shares[OTHERS] = 1 - sum(share for name, share in shares.items() if name != OTHERS)
            for name, share in shares.items():
                values[name].append(share)
                fields: Row = {"setting": setting.name, "from step": first, "to step": last, "drawn": total}
                rows.append({**fields, "part": name, "share": share})
        edges = [next(iter(counts))[0], *(last for _, last in counts)]
        panels.append(Shares(setting.name, edges, values, colors))
    drawing = grid(
        caption(16, TITLE, MCPO),
        in_rows(panels),
        ylabel="% of the negatives",
        share=("none", "all"),
        legend=[(name, colors[name], False) for name in names],
        note="By origin and rank between evaluations, of the recorded training sets (record.pairs=true); "
        "without them by origin, of all sets.",
    )
    return drawing, rows


def _effective(settings: Sequence[Setting], colors: Colors) -> tuple[Html, list[Row]]:
    key = "effective_candidates"
    kind = kind_of(settings, key)
    by_setting = {setting.name: each for setting in settings if (each := series(setting, kind, key))}
    rows: list[Row] = []
    for name, each in by_setting.items():
        rows += each.rows(name, key, sets=KINDS[kind])
    shown_settings = [setting for setting in settings if setting.name in by_setting]
    drawing = grid(
        caption(16, "Candidates in effect", MCPO),
        [[Curves("", [each.line(colors[name]) for name, each in by_setting.items()], "candidates")]]
        if by_setting
        else [],
        height=2.3,
        legend=legend(shown_settings, colors),
        note=f"exp of the entropy of the probabilities with which MC-PO's kernel draws, of {KINDS[kind]}."
        if by_setting
        else "The number of candidates in effect is recorded with record.figures=true.",
    )
    return drawing, rows
