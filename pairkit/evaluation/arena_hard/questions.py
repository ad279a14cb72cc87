"""The prompts of Arena-Hard, from its `question.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.answers import Question, questions_sha256
from pairkit.evaluation.arena_hard.labels import Version
from pairkit.evaluation.arena_hard.versions import BENCHMARKS
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field


class Questions(NamedTuple):
    """The questions of a file; `known` tells whether all of them are those of the version."""

    questions: tuple[Question, ...]
    file: DataFile
    known: bool


def read_questions(
    path: Path, version: Version, *, category: str | None = None, limit: int | None = None
) -> Questions:
    """Read the first `limit` questions of a category, or of all of them.

    Raises `InputError` for another layout, an id twice, or a category that the version does not have.
    """
    rows, file = read_rows(path)
    categories = BENCHMARKS[version].categories
    questions: dict[str, Question] = {}
    for number, row in rows:
        key = id_of(row, path, number)
        if key in questions:
            raise InputError.at(f"prompt {key!r} for the second time: keep one", file=path, row=number)
        of = _category(row, version, path, number)
        questions[key] = Question(key, (_prompt(row, path, number),), of, row)
    known = questions_sha256(list(questions.values())) == BENCHMARKS[version].questions_sha256
    selection = tuple(question for question in questions.values() if category in (None, question.category))
    if not selection:
        names = ", ".join(str(name) for name in categories if name) or "none"
        raise InputError(
            f"{path}: no question has the category {category!r}; Arena-Hard {version} has {names}"
        )
    return Questions(selection[:limit], file, known)


def id_of(row: Row, path: Path, number: int) -> str:
    """Return the id of a question in a row of any public file: `uid` since 2025, `question_id` before.

    Raises `InputError` if it has neither.
    """
    name = "uid" if row.get("uid") is not None or row.get("question_id") is None else "question_id"
    return text_field(row, name, path, number)


def _category(row: Row, version: Version, path: Path, number: int) -> str | None:
    if version == "0.1":
        return None
    name = text_field(row, "category", path, number)
    if name not in BENCHMARKS[version].categories:
        raise InputError.at(
            f"category {name!r}; Arena-Hard 2.0 has {', '.join(map(str, BENCHMARKS[version].categories))}: "
            "give its question.jsonl, or --version 0.1",
            file=path,
            row=number,
        )
    return name


def _prompt(row: Row, path: Path, number: int) -> str:
    turns = row.get("turns")
    # The layout of 2024: a list of turns, of which there is one.
    if "prompt" not in row and isinstance(turns, Sequence) and len(turns) == 1:
        content = turns[0].get("content") if isinstance(turns[0], dict) else turns[0]
        if isinstance(content, str):
            return content
    return text_field(row, "prompt", path, number)
