"""Rows of a task from a file instead of the Hub: a task file that includes lm-eval's own.

The rows are copied as JSON lines, so that a task may be given in any format that pairkit reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import yaml

from pairkit.errors import InputError
from pairkit.evaluation.rows import DataFile, Row, read_rows
from pairkit.files import write_text

# The fields that the tasks of StaPO's table read. Of other tasks lm-eval alone knows them.
FIELDS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("arc_challenge", "arc_easy"), ("question", "choices", "answerKey")),
    "medmcqa": ("question", "opa", "opb", "opc", "opd", "cop"),
    "piqa": ("goal", "sol1", "sol2", "label"),
    "webqs": ("question", "answers"),
    "gsm8k": ("question", "answer"),
}


# The label of the right answer, where it is a position: its field, and the number of answers.
LABELS: Mapping[str, tuple[str, int]] = {"piqa": ("label", 2), "medmcqa": ("cop", 4)}


def read_local(task: str, path: Path) -> tuple[str, DataFile]:
    """Return the rows of a file as JSON lines.

    Raises `InputError` for a row without a field of the task, or with a label of no answer.
    """
    rows, file = read_rows(path)
    for number, row in rows:
        for name in FIELDS.get(task, ()):
            if row.get(name) is None:
                raise InputError.at(f"is missing: {task} reads it", file=path, row=number, field=name)
        _check_label(task, row, path, number)
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for _, row in rows), file


def _check_label(task: str, row: Row, path: Path, number: int) -> None:
    """Raise `InputError` for a label of no answer, which lm-eval finds without naming the row."""
    field, labels = "answerKey", None
    if task in LABELS:
        field, count = LABELS[task]
        labels = list(range(count))
    elif task in ("arc_challenge", "arc_easy"):
        choices = row["choices"]
        labels = choices.get("label") if isinstance(choices, Mapping) else None
    if isinstance(labels, list) and row[field] not in labels:
        names = ", ".join(map(str, labels))
        raise InputError.at(
            f"is {row[field]!r}, the label of no answer: {names}", file=path, row=number, field=field
        )


def write_local(folder: Path, task: str, rows: str, original: Path) -> None:
    """Write the task file to `folder`: the one in `original`, but with `rows` as its test set."""
    data = folder / f"{task}.jsonl"
    write_text(data, rows)
    content = {
        "include": str(original),
        "task": task,
        "tag": None,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
        # The file is a test set alone; few-shot examples, which would need more, are refused.
        "training_split": None,
        "validation_split": None,
        "test_split": "test",
    }
    write_text(folder / f"{task}.yaml", yaml.safe_dump(content, sort_keys=False))
