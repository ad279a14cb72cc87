"""Math problems with the numbers that answer them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from pairkit.errors import InputError
from pairkit.evaluation.answers import Question, questions_sha256
from pairkit.evaluation.rows import DataFile, read_rows, text_field
from pairkit.rankers.verifier import final_number

# Of GSM8K's test set with the questions alone as turns.
QUESTIONS = 1319
KNOWN_SHA256 = "c4d0375da70acaa081ccf7a5f923ba2d5762348235c6c6d8d13206eb5bbce5f0"


class Problems(NamedTuple):
    """The problems of a file; `numbers` are the right answers in one spelling, by prompt_id."""

    questions: tuple[Question, ...]
    numbers: dict[str, str]
    file: DataFile
    known: bool  # whether they are GSM8K's test set


def read_problems(path: Path, prompt: Callable[[str], str], limit: int | None = None) -> Problems:
    """Read the first `limit` problems of a file with the fields `question` and `answer`.

    Their prompt_id is `id` where the rows have it, else the place in the file. Raises `InputError` for a
    file that cannot be read, a row without text in these fields, an answer without a number, an id or a
    question twice: as two prompts the same one would count as two independent ones.
    """
    rows, file = read_rows(path)
    problems: list[tuple[str, str, str]] = []
    for place, (number, row) in enumerate(rows):
        question, answer = (text_field(row, name, path, number) for name in ("question", "answer"))
        problems.append((str(row.get("id", place)), question, answer))
    keys = [key for key, _, _ in problems]
    if len(set(keys)) < len(keys):
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise InputError(f"{path}: two problems have the id {twice!r}")
    first: dict[str, int] = {}
    for (number, _), (_, question, _) in zip(rows, problems, strict=True):
        if (before := first.setdefault(question, number)) != number:
            raise InputError.at(
                f"the same question as row {before}: keep one, or it counts twice", file=path, row=number
            )
    right: dict[str, str] = {}
    answers = final_numbers([answer for _, _, answer in problems])
    for key, (number, _), right_number in zip(keys, rows, answers, strict=True):
        if right_number is None:
            raise InputError.at("field 'answer' has no number", file=path, row=number)
        right[key] = right_number
    plain = [Question(key, (question,)) for key, question, _ in problems]
    questions = tuple(Question(key, (prompt(question),)) for key, question, _ in problems[:limit])
    return Problems(questions, right, file, questions_sha256(plain) == KNOWN_SHA256)


def final_numbers(texts: Sequence[str]) -> list[str | None]:
    """Return the final number of each text in one spelling, None where there is none: see the verifier."""
    frame = pl.DataFrame({"text": list(texts)}, schema={"text": pl.String})
    return frame.select(final_number(pl.col("text")))["text"].to_list()
