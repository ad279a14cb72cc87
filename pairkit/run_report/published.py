"""Figure 17: what replications measured, next to the papers' numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pairkit.errors import InputError
from pairkit.replication.claims.table import REPLICATIONS
from pairkit.replication.design import Replication
from pairkit.replication.page import read_results
from pairkit.replication.quantities import QUANTITIES
from pairkit.replication.tasks.base import FULL, QUICK
from pairkit.reports.canvas import captioned
from pairkit.reports.html import Html, badge, join, table, text
from pairkit.run_report.series import Row, caption

BADGES = {"held": "good", "did not hold": "bad"}


def replicated(folders: Sequence[Path]) -> tuple[list[Row], Html]:
    """Return the numbers of figure 17, and a table per claim: each arm's mean and deviation over seeds.

    Raises `InputError` for a damaged result, and for a directory without one of today's designs.
    """
    rows: list[Row] = []
    tables = []
    for folder in folders:
        results = {**read_results(folder, QUICK), **read_results(folder, FULL)}
        if not results:
            raise InputError(
                f"{folder}: has no result of a replication as it is designed today; run `pairkit replicate`"
            )
        for name, result in results.items():
            claim_rows = _rows(REPLICATIONS[name], result)
            rows += claim_rows
            tables.append(_table(REPLICATIONS[name], result, claim_rows))
    return rows, join(tables)


def _rows(row: Replication, result: Mapping[str, Any]) -> list[Row]:
    """Return the mean and deviation of each arm and quantity at the last step, as they are shown."""
    rows: list[Row] = []
    for arm in result["arms"]:
        for name in row.shows:
            quantity = QUANTITIES[name]
            values = [quantity.scale * value for value in arm["values"][name][-1]]
            rows.append(
                {
                    "claim": row.id, "arm": arm["name"], "quantity": quantity.title, "unit": quantity.unit,
                    "seeds": len(values), "mean": fmean(values),
                    "deviation": stdev(values) if len(values) > 1 else None,
                }
            )  # fmt: skip
    return rows


def _table(row: Replication, result: Mapping[str, Any], rows: Sequence[Row]) -> Html:
    cells: dict[str, list[Html]] = {}
    for each in rows:
        spread = "" if each["deviation"] is None else f" ({each['deviation']:.2g})"
        cells.setdefault(str(each["arm"]), []).append(text(f"{each['mean']:.3g}{spread}"))
    headers = ["arm"]
    for name in row.shows:
        unit = QUANTITIES[name].unit
        headers.append(f"{QUANTITIES[name].title}, {unit}" if unit else QUANTITIES[name].title)
    verdict = str(result["verdict"])
    quick = "" if result["size"] == FULL.name else f" ({result['size']}: shows nothing)"
    seeds = len(result["seeds"])
    count = f"{seeds} seeds" if seeds > 1 else "one seed"
    body = [[text(arm), *values] for arm, values in cells.items()]
    block = join(
        [
            badge(verdict + quick, BADGES.get(verdict, "flat")),
            table(headers, body, numeric=range(1, len(headers))),
        ]
    )
    note = f"{row.claim} The paper's numbers: {row.published}. Ours: mean (standard deviation) over {count}."
    return captioned(caption(17, f"{row.id}, ours next to the paper's", row.paper), block, [], note=note)
