"""Verdicts in AlpacaEval's own format, `annotations.json`: read and written.

A `preference` is 1 + the probability that the model (output_2) wins, so that 1.5 is a draw, for which older
files have 0; null is not a verdict.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.alpaca_eval.questions import Reference, prompt_id
from pairkit.evaluation.results import check_public
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field
from pairkit.files import write_text

ANNOTATIONS = "annotations.json"
# The judge of the published leaderboard, and the model that it is.
PUBLIC_JUDGE, PUBLIC_JUDGE_MODEL = "weighted_alpaca_eval_gpt4_turbo", "gpt-4-1106-preview"
# Why an instruction has no score whose row the file does not have.
NO_ANNOTATION = "no_annotation"
_NAMES = {
    "generator_1": "a file holds verdicts against one reference",
    "generator_2": "a file holds verdicts on one model",
    "annotator": "a file holds the verdicts of one judge",
}


class Annotations(NamedTuple):
    """Stored verdicts on one model.

    Attributes:
        model: `generator_2`, which need not be the name that the model has elsewhere.
        judge: `annotator`, "" if the file has none.
        points: prompt_id -> probability that the model wins; None: no verdict.
        answers: prompt_id -> the answer of the model that was judged.
    """

    model: str
    judge: str
    points: Mapping[str, float | None]
    answers: Mapping[str, str]
    file: DataFile


def read_annotations(path: Path, reference: Reference) -> Annotations:
    """Read verdicts on one model against `reference`; those on other instructions are left out.

    Raises `InputError` for several models, references or judges, for another reference's answers, two
    verdicts on one instruction, and values that are no preference.
    """
    rows, file = read_rows(path)
    check_public(rows[0][1], path, ANNOTATIONS)
    points: dict[str, float | None] = {}
    answers: dict[str, str] = {}
    prompt_ids = {question.prompt_id for question in reference.questions}
    others: list[str] = []
    names: dict[str, set[str]] = {name: set() for name in _NAMES}
    for number, row in rows:
        _one_each(row, names, path, number)
        instruction = text_field(row, "instruction", path, number)
        key = prompt_id(instruction)
        if key not in prompt_ids:
            others.append(instruction)
        if key in points:
            raise InputError.at("a second verdict on the same instruction: keep one", file=path, row=number)
        reference_text = text_field(row, "output_1", path, number)
        if reference.answers.get(key, reference_text) != reference_text:
            raise InputError.at(
                f"output_1 is not the answer of the reference {reference.generator!r}: these verdicts are "
                f"against another reference ({row.get('generator_1')!r})",
                file=path,
                row=number,
            )
        points[key] = _points(row, path, number)
        answers[key] = text_field(row, "output_2", path, number)
    if not prompt_ids & points.keys():
        raise InputError(
            f"{path}: none of its {len(points):,} verdicts is on one of the {len(prompt_ids):,} instructions"
        )
    model, judge = ("".join(names[name]) for name in ("generator_2", "annotator"))
    return Annotations(
        model,
        judge,
        {key: value for key, value in points.items() if key in prompt_ids},
        {key: text for key, text in answers.items() if key in prompt_ids},
        file.leaving_out(others),
    )


def write_annotations(
    path: Path,
    judge: str,
    model: str,
    reference: Reference,
    answers: Mapping[str, str],
    points: Mapping[str, float | None],
) -> None:
    """Write a row per question that `points` has; `answers` are those of the model."""
    rows = []
    for question in reference.questions:
        key = question.prompt_id
        if key not in points:
            continue
        value = points[key]
        # AlpacaEval counts the answers: 1 is the reference, 2 the model, and what is between is uncertain.
        row = {
            "instruction": question.turns[0],
            "output_1": reference.answers[key],
            "generator_1": reference.generator,
            "output_2": answers[key],
            "generator_2": model,
            "annotator": judge,
            "preference": None if value is None else 1 + value,
        }
        rows.append({"dataset": question.category, **row} if question.category else row)
    write_text(path, json.dumps(rows, ensure_ascii=False, indent=2) + "\n")


def _one_each(row: Row, names: Mapping[str, set[str]], path: Path, number: int) -> None:
    for name, why in _NAMES.items():
        if name == "annotator" and row.get(name) is None:
            continue
        value = text_field(row, name, path, number)
        if value not in names[name] and names[name]:
            (other,) = names[name]
            raise InputError.at(f"{name} {value!r} after {other!r}: {why}", file=path, row=number)
        names[name].add(value)


def _points(row: Row, path: Path, number: int) -> float | None:
    value = row.get("preference")
    # Readers of tables write a missing number as NaN.
    if value is None or value != value:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value == 0 or 1 <= value <= 2):
        raise InputError.at(
            f"field 'preference' is {value!r}; it is 1 + the probability that output_2 wins, so from 1 to 2, "
            "or 0 for a draw, or null",
            file=path,
            row=number,
        )
    return 0.5 if value == 0 else float(value) - 1
