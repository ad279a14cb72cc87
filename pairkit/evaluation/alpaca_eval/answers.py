"""A model's answers in AlpacaEval's own format, `model_outputs.json`: read and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pairkit.engines.base import Problem
from pairkit.evaluation.alpaca_eval.questions import prompt_id
from pairkit.evaluation.answers import (
    Answer,
    Answers,
    Question,
    add_answer,
    is_own,
    matched,
    one_name,
    read_own,
)
from pairkit.evaluation.rows import DataFile, read_rows, text_field
from pairkit.files import write_text
from pairkit.rankers.thoughts import Thoughts

MODEL_OUTPUTS = "model_outputs.json"


def read_model_outputs(path: Path, questions: Sequence[Question]) -> tuple[str, Answers, DataFile]:
    """Read a model's answers in AlpacaEval's format or pairkit's: its name, the answers, the file.

    The name is "" where the file has no `generator`; an `output` of null is not an answer.

    Raises `InputError` for answers to other instructions, two answers to one, or answers of two models.
    """
    rows, file = read_rows(path)
    if is_own(rows):
        return read_own(path, questions)
    by_prompt: dict[str, Answer | Problem] = {}
    models: dict[str, int] = {}
    prompt_ids = {question.prompt_id for question in questions}
    others: list[str] = []
    for number, row in rows:
        if row.get("generator") is not None:
            models.setdefault(text_field(row, "generator", path, number), number)
        answer: Answer | Problem = Problem("no_answer", "output is null")
        # Readers of JSON write a field that a row lacks as null, too; one that all rows lack is an error.
        if row.get("output", "") is not None:
            answer = Answer((text_field(row, "output", path, number),))
        instruction = text_field(row, "instruction", path, number)
        add_answer(by_prompt, prompt_id(instruction), answer, path, number)
        if prompt_id(instruction) not in prompt_ids:
            others.append(instruction)
    return one_name(models, path), matched(by_prompt, questions, path), file.leaving_out(others)


def write_model_outputs(
    path: Path, model: str, questions: Sequence[Question], answers: Answers, thoughts: Thoughts
) -> None:
    """Write answers, as they are judged, in AlpacaEval's format; questions without one are left out."""
    rows = []
    for question in questions:
        answer = answers[question.prompt_id]
        if isinstance(answer, Problem):
            continue
        (instruction,), (output,) = question.turns, answer.shown(thoughts)
        row = {"instruction": instruction, "output": output, "generator": model}
        rows.append({"dataset": question.category, **row} if question.category else row)
    write_text(path, json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
