"""A model's answers in the format of `model_answer/*.jsonl`: read and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pairkit.engines.base import Problem
from pairkit.errors import InputError
from pairkit.evaluation.answers import (
    Answer,
    Answers,
    Question,
    add_answer,
    is_own,
    leaving_out,
    matched,
    one_name,
    read_own,
)
from pairkit.evaluation.mt_bench.questions import TURNS, choice_of, question_id
from pairkit.evaluation.rows import DataFile, read_rows, text_field
from pairkit.files import write_text
from pairkit.rankers.thoughts import Thoughts
from pairkit.schema import short_hash

# What FastChat writes instead of the answer of a server that failed.
FAILED = "$ERROR$"


def read_model_answers(path: Path, questions: Sequence[Question]) -> tuple[str, Answers, DataFile]:
    """Read a model's answers in FastChat's format or pairkit's: its name, the answers, the file.

    Raises `InputError` for answers to other questions, two answers to one, answers of two models, or of
    another number of turns.
    """
    rows, file = read_rows(path)
    if is_own(rows):
        name, answers, file = read_own(path, questions)
        _check_turns(answers, path)
        return name, answers, file
    by_prompt: dict[str, Answer | Problem] = {}
    models: dict[str, int] = {}
    for number, row in rows:
        models.setdefault(text_field(row, "model_id", path, number), number)
        texts = choice_of(row, path, number)
        answer: Answer | Problem = Answer(texts)
        if FAILED in texts:
            answer = Problem(
                "failed_answer", f"{path.name} has {FAILED} for question {question_id(row, path, number)}"
            )
        add_answer(by_prompt, question_id(row, path, number), answer, path, number)
    answers = matched(by_prompt, questions, path)
    _check_turns(answers, path)
    return one_name(models, path), answers, leaving_out(file, by_prompt, questions)


def write_model_answers(
    path: Path, model: str, questions: Sequence[Question], answers: Answers, thoughts: Thoughts
) -> None:
    """Write answers, as they are judged, in FastChat's format; questions without one are left out.

    Without `tstamp`, which no reader needs, so that the same answers are the same file.
    """
    lines = []
    for question in questions:
        answer = answers[question.prompt_id]
        if isinstance(answer, Problem):
            continue
        turns = list(answer.shown(thoughts))
        line = {
            "question_id": public_id(question),
            "answer_id": short_hash([model, question.prompt_id, turns]),
            "model_id": model,
            "choices": [{"index": 0, "turns": turns}],
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def public_id(question: Question) -> int | str:
    """Return the id of a question as its file has it: a number in MT-Bench's."""
    value: int | str = question.row.get("question_id", question.prompt_id)
    return value


def _check_turns(answers: Answers, path: Path) -> None:
    for key, answer in answers.items():
        if isinstance(answer, Answer) and len(answer.texts) != TURNS:
            raise InputError(
                f"{path}: the answer to question {key} has {len(answer.texts)} turns; MT-Bench's questions "
                f"have {TURNS}"
            )
