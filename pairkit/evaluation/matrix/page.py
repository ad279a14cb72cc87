"""The sections of the page of a matrix: the matrix itself, and what its pairs and strengths show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pairkit.reports.html import Html, paragraph, section, table, text


def matrix_sections(entry: Mapping[str, Any]) -> list[Html]:
    """Show the entry `matrix` of results.json: win rates of rows over columns, pairs, strengths."""
    return [
        section(
            "Matrix",
            _win_rates(entry),
            note="Win rate of the row over the column in percent, with its 95 % interval.",
        ),
        section(
            "Pairs",
            _pairs(entry),
            note="From the side of the first model. p is corrected for the number of pairs (Holm).",
        ),
        section("Bradley-Terry strengths", _strengths(entry), paragraph(_gap(entry)), note=_cycles(entry)),
    ]


def _win_rates(entry: Mapping[str, Any]) -> Html:
    models = entry["models"]
    rates = {}
    for cell in entry["cells"]:
        value, low, high = cell["value"], cell["low"], cell["high"]
        rates[cell["row"], cell["column"]] = _rate(value, low, high)
        complement = [None if number is None else 100 - number for number in (value, high, low)]
        rates[cell["column"], cell["row"]] = _rate(*complement)
    rows = [[text(row), *(text(rates.get((row, column), "")) for column in models)] for row in models]
    return table(["", *models], rows, numeric=range(1, 1 + len(models)))


def _rate(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.1f}" if low is None or high is None else f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _pairs(entry: Mapping[str, Any]) -> Html:
    rows = []
    for cell in entry["cells"]:
        games = cell["games"]
        better = cell["row"] if (cell["value"] or 0) > 50 else cell["column"]
        p = "" if cell["p_holm"] is None else f"{cell['p_holm']:.2g}"
        conclusion = f"{better} is better" if cell["significant"] else "no difference shown"
        numbers = f"{games['wins']:,} / {games['ties']:,} / {games['losses']:,}"
        of = (numbers, f"{cell['flips']:,}", f"{cell['n']:,}", p, conclusion)
        rows.append([text(f"{cell['row']} − {cell['column']}"), *map(text, of)])
    headers = ["pair", "games won / tied / lost", "flips", "prompts", "p, corrected", "what it says"]
    return table(headers, rows, numeric=range(1, 5))


def _strengths(entry: Mapping[str, Any]) -> Html:
    rows = []
    for row in entry["rows"]:
        strength = row["strength"]
        interval = f"{strength['value']:.3f} [{strength['low']:.3f}, {strength['high']:.3f}]"
        rows.append([text(row["model"]), text(interval)])
    return table(["model", "log-odds [95 % interval]"], rows, numeric=[1])


def _gap(entry: Mapping[str, Any]) -> str:
    gap = entry["largest_gap_to_bradley_terry"]
    if gap["row_and_column"] is None:
        return ""
    row, column = gap["row_and_column"]
    return (
        "Largest gap between the matrix and what the strengths predict: "
        f"{gap['points']:.2f} points, {row} over {column}."
    )


def _cycles(entry: Mapping[str, Any]) -> str:
    count = entry["cycles"]["count"]
    return f"Circles of models of which each is better than the next: {count:,}."
