"""Pairs of answers with a preference: files of known layouts, or any file whose columns are mapped.

A label is stored as the first answer's points: 1 if it is better, 0 if the second is, 1/2 for neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.evaluation.judge.answers import Unusable, read_answers
from pairkit.evaluation.judge.layouts import Layout, find_layout
from pairkit.evaluation.rows import numbered_rows
from pairkit.intervals import Floats

# With "1.0" and the like, because a column with missing values is read as floats.
_LABELS = {
    **dict.fromkeys(("1", "1.0", "first", "a", "model_a", "response_a", "assistant_a", "a>b"), 1.0),
    **dict.fromkeys(("2", "2.0", "second", "b", "model_b", "response_b", "assistant_b", "b>a"), 0.0),
    **dict.fromkeys(
        ("0", "0.0", "1.5", "tie", "tie (bothbad)", "both_bad", "bothbad", "neither", "a=b"), 0.5
    ),
}
_KNOWN = "labels are 1, 2 and 0 (neither); A, B and tie; or model_a, model_b, tie and tie (bothbad)"


class Pairs(NamedTuple):
    """N labeled pairs from a file of `rows` rows; `left_out` counts the unusable rows.

    A row has one pair, or one for each chosen and rejected answer of its lists.
    """

    prompts: list[list[dict[str, str]]]
    first: list[str]
    second: list[str]
    labels: Floats  # [N, annotators], NaN for an annotator without a label
    subsets: list[str | None]
    rows: int
    left_out: Counter[str]  # by reason
    details: list[str]  # one per unusable row: where and why


def read_pairs(path: Path, mapped: Mapping[str, str] | None = None, limit: int | None = None) -> Pairs:
    """Read the pairs in a file of any format that pairkit reads, from at most `limit` rows.

    `Layout` names what columns may hold. Raises `InputError` for a file that cannot be read, has other
    columns or contains no labeled pair; `RecipeError` for a field in `mapped` that is unknown or missing.
    """
    layout: Layout | None = None
    pairs = Pairs([], [], [], np.empty((0, 0)), [], 0, Counter(), [])
    labels: list[list[float]] = []
    count = 0
    for number, row, problem in numbered_rows(path):
        if count == limit:
            break
        count += 1
        if row is not None:
            # The first row that can be read decides, because a file has one layout.
            layout = layout or find_layout(path, list(row), mapped or {})
            problem = _add_pairs(pairs, labels, row, layout)
        if problem is not None:
            reason, detail = problem
            pairs.left_out[reason] += 1
            pairs.details.append(str(InputError.at(detail, file=path, row=number)))
    if not labels:
        why = f": {pairs.details[0]}" if pairs.details else ""
        raise InputError(f"{path}: none of its {count} rows is a labeled pair{why}")
    return pairs._replace(labels=np.array(labels), rows=count)


def majority(labels: Floats) -> Floats:
    """Return the label `[N]` that more than half of a pair's annotators gave; NaN if there is none.

    >>> majority(np.array([[1, 1, 0], [1, 0.5, 0], [0.5, np.nan, np.nan]]))
    array([1. , nan, 0.5])
    """
    counts = (~np.isnan(labels)).sum(axis=1)
    majorities = np.full(len(labels), np.nan)
    for label in (0.0, 0.5, 1.0):
        # Twice the votes for it, so that a half is not a majority and nothing is divided.
        majorities[2 * (labels == label).sum(axis=1) > counts] = label
    return majorities


def _add_pairs(
    pairs: Pairs, labels: list[list[float]], row: Mapping[str, Any], layout: Layout
) -> tuple[str, str] | None:
    """Add the row's pairs, or return its problem (reason, detail)."""
    try:
        read = list(read_answers(row, layout))
        points = _points(row, layout)
    except Unusable as problem:
        return problem.reason, problem.detail
    subset = row.get(layout.subset) if layout.subset else None
    for prompt, first, second in read:
        pairs.prompts.append(prompt)
        pairs.first.append(first)
        pairs.second.append(second)
        pairs.subsets.append(None if subset is None else str(subset))
        labels.append(points)
    return None


def _points(row: Mapping[str, Any], layout: Layout) -> list[float]:
    """Return each annotator's label as the first answer's points. Raises `Unusable`."""
    if layout.label is None:
        return [1.0]
    names = layout.label.split("+")
    if layout.one_of:
        flags = [str(row.get(name)).strip().lower() in ("1", "1.0", "true") for name in names]
        if sum(flags) != 1:
            raise Unusable("unknown_label", f"not one of {', '.join(names)} is 1")
        return [(1.0, 0.0, 0.5)[flags.index(True)]]
    points = []
    for name in names:
        value = row.get(name)
        label = np.nan if value is None else _LABELS.get(str(value).strip().lower())
        if label is None or isinstance(value, bool):
            raise Unusable("unknown_label", f"field {name!r} is {value!r}; {_KNOWN}")
        points.append(label)
    if np.isnan(points).all():
        raise Unusable("no_label", "no annotator gave a label")
    return points
