"""Pairs of answers with human labels: files of LLMBar or PandaLM, or any file whose columns are mapped.

A label is stored as the first answer's points: 1 if it is better, 0 if the second is, 1/2 for neither.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pairkit.errors import InputError, RecipeError, unknown
from pairkit.intervals import Floats

FIELDS = ("prompt", "first", "second", "label", "subset")
# Field -> column, or columns joined with +. The first layout whose columns all exist is used.
LAYOUTS: Mapping[str, Mapping[str, str]] = {
    "pandalm": {
        "prompt": "instruction+input",
        "first": "response1",
        "second": "response2",
        "label": "annotator1+annotator2+annotator3",
    },
    "llmbar": {"prompt": "input", "first": "output_1", "second": "output_2", "label": "label"},
    "plain": {"prompt": "prompt", "first": "first", "second": "second", "label": "label"},
}
# With "1.0" and the like, because a column with missing values is read as floats.
_LABELS = {
    **dict.fromkeys(("1", "1.0", "first", "a"), 1.0),
    **dict.fromkeys(("2", "2.0", "second", "b"), 0.0),
    **dict.fromkeys(("0", "0.0", "1.5", "tie"), 0.5),
}
# Rows in memory at a time.
_ROWS = 1000


class Pairs(NamedTuple):
    """N labeled pairs from a file of `rows` rows; `left_out` counts the unusable rows."""

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

    Several columns for `label` are several annotators; several for `prompt` are joined by a blank line.
    Raises `InputError` for a file that cannot be read, has other columns or contains no labeled pair;
    `RecipeError` for an unknown field in `mapped`.
    """
    layout: Mapping[str, str] | None = None
    pairs = Pairs([], [], [], np.empty((0, 0)), [], 0, Counter(), [])
    labels: list[list[float]] = []
    count = 0
    for number, row, problem in _rows(path):
        if count == limit:
            break
        count += 1
        if row is not None:
            # The first row that can be read decides, because a file has one layout.
            layout = layout or _layout(path, row, mapped or {})
            problem = _add_pair(pairs, labels, row, layout)
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
        # Twice the votes for it, so that a half is no majority and nothing is divided.
        majorities[2 * (labels == label).sum(axis=1) > counts] = label
    return majorities


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | None, tuple[str, str] | None]]:
    """Yield number, row and problem (reason, detail) of each row, in the order of the file."""
    from pairkit.readers.formats import blocks

    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with closing(blocks(path, _ROWS)) as reader:
        for block in reader:
            raw = block.load()
            numbered: list[tuple[int, Mapping[str, Any] | None, tuple[str, str] | None]] = [
                (bad.number, None, (bad.reason, bad.detail)) for bad in raw.bad
            ]
            for part in raw.tables:
                rows = part.table.to_pylist()
                numbered += [(int(n), row, None) for n, row in zip(part.numbers, rows, strict=True)]
            # Bad rows and tables come apart; `limit` counts in the order of the file.
            yield from sorted(numbered, key=lambda entry: entry[0])


def _layout(path: Path, row: Mapping[str, Any], mapped: Mapping[str, str]) -> Mapping[str, str]:
    for field in mapped:
        if field not in FIELDS:
            raise unknown("field of --map", field, FIELDS)
    subset = {"subset": "subset"} if "subset" in row else {}
    if mapped:
        missing = [field for field in FIELDS[:4] if field not in mapped]
        if missing:
            raise RecipeError(f"--map is missing {missing[0]}: map prompt, first, second and label")
        absent = [name for names in mapped.values() for name in names.split("+") if name not in row]
        if absent:
            raise InputError.at(
                f"no such column; the columns are {', '.join(row)}", file=path, field=absent[0]
            )
        return {**subset, **mapped}
    for layout in LAYOUTS.values():
        if all(name in row for names in layout.values() for name in names.split("+")):
            return {**subset, **layout}
    raise InputError(
        f"{path}: the columns {', '.join(row)} are neither LLMBar's nor PandaLM's nor prompt, first, second, "
        "label; map them with --map prompt=COLUMN,first=COLUMN,second=COLUMN,label=COLUMN"
    )


def _add_pair(
    pairs: Pairs, labels: list[list[float]], row: Mapping[str, Any], layout: Mapping[str, str]
) -> tuple[str, str] | None:
    """Add the row's pair, or return its problem (reason, detail)."""
    prompt = _prompt(row, layout["prompt"].split("+"))
    if prompt is None:
        return "invalid_prompt", "the prompt is neither a text nor messages that end in a user turn"
    texts = [row.get(layout[side]) for side in ("first", "second")]
    for side, text in zip(("first", "second"), texts, strict=True):
        if not isinstance(text, str):
            return "not_text", f"field {layout[side]!r} is not a text"
    points = []
    for name in layout["label"].split("+"):
        value = row.get(name)
        label = np.nan if value is None else _LABELS.get(str(value).strip().lower())
        if label is None or isinstance(value, bool):
            return "unknown_label", f"field {name!r} is {value!r}; labels are 1, 2 and 0 (neither)"
        points.append(label)
    if np.isnan(points).all():
        return "no_label", "no annotator gave a label"
    pairs.prompts.append(prompt)
    pairs.first.append(str(texts[0]))
    pairs.second.append(str(texts[1]))
    subset = row.get(layout.get("subset", ""))
    pairs.subsets.append(None if subset is None else str(subset))
    labels.append(points)
    return None


def _prompt(row: Mapping[str, Any], columns: Sequence[str]) -> list[dict[str, str]] | None:
    value = row.get(columns[0])
    if isinstance(value, list) and len(columns) == 1:
        return value if _are_messages(value) else None
    parts = [row.get(name) for name in columns]
    if not isinstance(value, str) or not all(part is None or isinstance(part, str) for part in parts):
        return None
    text = "\n\n".join(part for part in parts if part)
    return [{"role": "user", "content": text}] if text else None


def _are_messages(value: Sequence[Any]) -> bool:
    well_formed = all(
        isinstance(turn, dict) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in value
    )
    return bool(value) and well_formed and value[-1]["role"] == "user"
