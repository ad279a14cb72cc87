"""Blocks of a report on preference training besides its plots: differences and candidate sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairkit.intervals import Interval
from pairkit.reports.html import Html, badge, join, table, text


class Difference(NamedTuple):
    """The difference `first` minus `second` of two shares (0 to 1) on the same problems."""

    first: str
    second: str
    interval: Interval


def describe_difference(difference: Difference) -> tuple[str, str]:
    """Describe in words what the interval shows, and choose the kind of badge for it."""
    first, second, interval = difference
    # First, because a mean without a shown difference must not be called better.
    if interval.includes_zero:
        return "interval includes zero: no difference shown", "flat"
    better, worse = (first, second) if interval.mean > 0 else (second, first)
    return f"{better} is better than {worse}", "good" if interval.mean > 0 else "bad"


def differences(rows: Sequence[Difference], *, level: float = 0.95) -> Html:
    """Show paired differences in percentage points, each with its interval and its conclusion."""
    cells = []
    for row in rows:
        # A typographic minus is as wide as the plus.
        points = [f"{100 * value:+.1f}".replace("-", "−") for value in row.interval]
        conclusion, kind = describe_difference(row)
        cells.append(
            [
                text(f"{row.first} − {row.second}"),
                text(points[0]),
                text(f"{points[1]} to {points[2]}"),
                badge(conclusion, kind),
            ]
        )
    headers = ["difference", "points", f"{100 * level:.0f} % interval", "what it says"]
    return table(headers, cells, numeric=(1, 2))


def candidate_sets(rows: Sequence[Mapping[str, Any]]) -> Html:
    """Show rows of a table of candidate sets: prompt, completions best first, provenance."""
    return join([_candidate_set(row) for row in rows])


def _candidate_set(row: Mapping[str, Any]) -> Html:
    turns = "".join(
        f'<div><b>{text(turn["role"])}</b><span class="text">{text(turn["content"])}</span></div>'
        for turn in row["prompt"]
    )
    cells = [_completion(completion) for completion in row["completions"]]
    headers = ["rank", "completion", "score", "from", "temperature"]
    completions = table(headers, cells, numeric=(2, 4))
    return Html(f'<div class="set"><div class="prompt">{turns}</div>{completions}</div>')


def _completion(completion: Mapping[str, Any]) -> list[Html]:
    rank, score, sampling = completion["rank"], completion["score"], completion["sampling"]
    # The name of the generating model is the same in every row, so it would only fill the column.
    origin = completion["model"] if completion["origin"] != "generated" else "generated"
    return [
        badge("–" if rank is None else f"{rank}", "good" if rank == 1 else "plain"),
        Html(f'<span class="text">{text(completion["text"])}</span>'),
        text("" if score is None else score),
        text(origin or completion["origin"]),
        text("" if sampling is None else sampling["temperature"]),
    ]
