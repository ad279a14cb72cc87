"""Answers in IFEval's own format, `input_response_data.jsonl` (prompt, response): read and written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pairkit.engines.base import Problem
from pairkit.evaluation.answers import (
    Answer,
    Answers,
    Question,
    add_answer,
    is_own,
    leaving_out,
    matched,
    read_own,
)
from pairkit.evaluation.rows import DataFile, read_rows, text_field
from pairkit.files import write_text
from pairkit.rankers.thoughts import Thoughts

RESPONSES = "input_response_data.jsonl"


def read_responses(path: Path, questions: Sequence[Question]) -> tuple[str, Answers, DataFile]:
    """Read answers in IFEval's format or pairkit's: the model's name, the answers, the file.

    IFEval's format names no model: the name is "" then. Prompts are joined by their text. Raises `InputError`
    for answers to other prompts, or two answers to one.
    """
    rows, file = read_rows(path)
    if is_own(rows):
        return read_own(path, questions)
    keys = {question.turns[0]: question.prompt_id for question in questions}
    by_prompt: dict[str, Answer | Problem] = {}
    for number, row in rows:
        prompt = text_field(row, "prompt", path, number)
        answer = Answer((text_field(row, "response", path, number),))
        # Under its text, a prompt that is not asked can still be seen to be answered twice.
        add_answer(by_prompt, keys.get(prompt, prompt), answer, path, number)
    return "", matched(by_prompt, questions, path), leaving_out(file, by_prompt, questions)


def write_responses(path: Path, questions: Sequence[Question], answers: Answers, thoughts: Thoughts) -> None:
    """Write answers, as they are verified, in IFEval's format; prompts without one are left out."""
    lines = [
        {"prompt": question.turns[0], "response": answer.shown(thoughts)[0]}
        for question in questions
        if isinstance(answer := answers[question.prompt_id], Answer)
    ]
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
