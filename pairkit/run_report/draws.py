"""Figure 16: which negatives were drawn, and how many candidates there were in effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from pairkit.reports.canvas import MORE
from pairkit.reports.grids import Curves, Shares, grid, in_rows
from pairkit.run_report.drawn import WEIGHTS, Counts, by_kind, by_weight
from pairkit.run_report.find import Setting
from pairkit.run_report.series import (
    KINDS,
    Colors,
    Drawing,
    Figure,
    Row,
    Rows,
    Table,
    caption,
    kind_of,
    legend,
    series,
)

PARTS = len(MORE)  # as many as there are colors that are not those of the first settings
OTHERS = "others"
TITLE, MCPO = "Negatives drawn", "MC-PO, section 5.4"


class Part(NamedTuple):
    """A setting with the counts of what it drew."""

    setting: Setting
    counts: Counts


def drawn_negatives(settings: Sequence[Setting], colors: Colors) -> Figure:
    """Draw figure 16: shares of the drawn negatives by origin and rank, and the effective candidates."""
    missing: dict[str, str] = {}
    parts = []
    for setting in settings:
        if counts := by_kind(setting):
            parts.append(Part(setting, counts))
        else:
            missing[setting.name] = f"{setting.loss['name']} draws no negatives"
    shares, rows = _shares(
        TITLE,
        parts,
        _names(parts),
        "By origin and rank between evaluations, of the recorded training sets (record.pairs=true); without "
        "them by origin, of all sets.",
    )
    weighted = [Part(part.setting, counts) for part in parts if (counts := by_weight(part.setting))]
    weights, weight_rows = _shares(
        "By the weight of what was drawn",
        weighted,
        WEIGHTS,
        "The probability that MC-PO's kernel gave a drawn negative at the evaluation before, over that of "
        "equally likely candidates; also where something else draws.",
    )
    effective, more = _effective(settings, colors)
    tables: dict[str, Table] = {"shares": rows, "weights": weight_rows, "effective candidates": more}
    drawings = [shares, *([weights] if weighted else []), effective]
    return Figure(16, TITLE, MCPO, tables, drawings, missing)


def _names(parts: Sequence[Part]) -> Sequence[str]:
    """Return the parts that have colors; of more than there are colors the largest, and the others as one."""
    every: Counter[str] = Counter()
    for part in parts:
        for by_part in part.counts.values():
            every.update(by_part)
    if len(every) <= PARTS:
        return sorted(every)
    return [*sorted(name for name, _ in every.most_common(PARTS - 1)), OTHERS]


def _shares(title: str, parts: Sequence[Part], names: Sequence[str], note: str) -> tuple[Drawing, list[Row]]:
    """Draw the shares of parts between steps, and return them as rows too."""
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
    drawing = partial(
        grid,
        caption(16, title, MCPO),
        in_rows(panels),
        ylabel="% of the negatives",
        share=("none", "all"),
        legend=[(name, colors[name], False) for name in names],
        note=note,
    )
    return drawing, rows


def _effective(settings: Sequence[Setting], colors: Colors) -> tuple[Drawing, Rows]:
    key = "effective_candidates"
    kind = kind_of(settings, key)
    by_setting = {setting.name: each for setting in settings if (each := series(setting, kind, key))}
    rows = Rows()
    for name, each in by_setting.items():
        rows += each.rows(name, key, sets=KINDS[kind])
    shown_settings = [setting for setting in settings if setting.name in by_setting]
    drawing = partial(
        grid,
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
