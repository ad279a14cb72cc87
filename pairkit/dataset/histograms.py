"""The distributions of the data card, counted unit by unit as histograms that add up.

Lengths are counted exactly, scores to three significant digits, so that a histogram stays small however many
rows there are, and the sum does not depend on how the rows were divided into units.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Histograms = dict[str, Counter[Any]]


def of_sets(sets: pa.Table) -> Histograms:
    """Count set sizes, lengths in characters, scores, ranks, models and origins of a `SETS` table."""
    completions = pc.list_flatten(sets["completions"])
    field = {
        name: pc.struct_field(completions, name) for name in ("text", "model", "rank", "score", "origin")
    }
    return {
        "completions_a_set": _count(pc.list_value_length(sets["completions"])),
        "prompt_characters": _count(_message_characters(sets["prompt"])),
        "completion_characters": _count(pc.utf8_length(field["text"])),
        "score": _count(field["score"]),
        "rank": _count(field["rank"]),
        "model": _count(field["model"]),
        "origin": _count(field["origin"]),
    }


def of_pairs(pairs: pa.Table) -> Histograms:
    """Count the lengths in characters of chosen and rejected completions of a `views.FULL_PAIRS` table."""
    return {f"{side}_characters": _count(_message_characters(pairs[side])) for side in ("chosen", "rejected")}


def add(total: Histograms, more: Mapping[str, Mapping[Any, int]]) -> None:
    """Add histograms to `total` in place."""
    for name, counts in more.items():
        total.setdefault(name, Counter()).update(counts)


def to_json(histograms: Histograms) -> dict[str, list[list[Any]]]:
    """Make lists of [value, count] sorted by value, because keys of JSON are texts."""
    # Sorted, because the order in which values came depends on the units.
    return {name: [[v, counts[v]] for v in sorted(counts)] for name, counts in sorted(histograms.items())}


def from_json(lists: Mapping[str, list[list[Any]]]) -> Histograms:
    """Read the histograms that `to_json` wrote."""
    return {name: Counter(dict(pairs)) for name, pairs in lists.items()}


def summary(counts: Mapping[float, int]) -> dict[str, float]:
    """Compute count, mean and quantiles (inverted CDF) of a histogram."""
    # `[distinct values]`, like `numbers`: the rows themselves are gone.
    values = np.array(sorted(counts))
    numbers = np.array([counts[value] for value in values.tolist()])
    cumulative = np.cumsum(numbers)
    total = int(cumulative[-1])

    def quantile(share: float) -> float:
        return float(values[np.searchsorted(cumulative, share * total)])

    middle = {f"{share:.0%}": quantile(share) for share in (0.05, 0.25, 0.5, 0.75, 0.95)}
    mean = float((values * numbers).sum() / total)
    return {"count": total, "mean": mean, "min": float(values[0]), **middle, "max": float(values[-1])}


def _count(column: pa.ChunkedArray) -> Counter[Any]:
    """Count each value, without nulls."""
    if pa.types.is_floating(column.type):
        return _count_scores(column.drop_null().to_numpy())
    counts = pc.value_counts(column.drop_null())
    # One entry per distinct value, so the loop below is short even for a large unit.
    values, numbers = counts.field("values"), counts.field("counts").to_numpy().tolist()
    plain = values.to_pylist() if pa.types.is_string(values.type) else values.to_numpy().tolist()
    return Counter(dict(zip(plain, numbers, strict=True)))


def _count_scores(scores: np.ndarray[Any, np.dtype[np.float64]]) -> Counter[Any]:
    # Distinct ones first, because scores repeat and formatting each is slow.
    values, numbers = np.unique(scores, return_counts=True)
    counts: Counter[Any] = Counter()
    for value, number in zip(values.tolist(), numbers.tolist(), strict=True):
        counts[float(f"{value:.3g}")] += number
    return counts


def _message_characters(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Sum the characters of all messages of each row."""
    # One length per message; `rows` gives the row of each, also of a row with several.
    lengths = pc.utf8_length(pc.struct_field(pc.list_flatten(column), "content"))
    rows = pc.list_parent_indices(column)
    table = pa.table({"row": rows, "characters": lengths})
    return table.group_by("row", use_threads=False).aggregate([("characters", "sum")])["characters_sum"]
