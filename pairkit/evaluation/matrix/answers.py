"""The answers of one model, from files of several layouts, joined to prompts by their texts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pairkit.engines.base import Problem
from pairkit.errors import InputError
from pairkit.evaluation.answers import Answer, Answers, add_answer, is_own, matched, one_name, own_answer
from pairkit.evaluation.matrix.prompts import Prompts, dialogue_of, text_of
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field

_MODELS = ("model", "generator", "model_id")


def read_answers(path: Path, prompts: Prompts) -> tuple[str, Answers, DataFile]:
    """Read a model's answers: its name ("" if the file has none), the answers, the file.

    Layouts: pairkit's own, AlpacaEval's (`instruction`, `output`, `generator`), Arena-Hard's (`messages`,
    `model`). Raises `InputError` for another one, answers to other prompts, two answers to one, or answers of
    two models.
    """
    rows, file = read_rows(path)
    # By the first row, because a file has one layout.
    read = _own if is_own(rows) else _output if "output" in rows[0][1] else _messages
    ids = prompts.by_dialogue
    by_prompt: dict[str, Answer | Problem] = {}
    models: dict[str, int] = {}
    others: list[str] = []
    for number, row in rows:
        if (field := next((name for name in _MODELS if row.get(name) is not None), None)) is not None:
            models.setdefault(text_field(row, field, path, number), number)
        dialogue = dialogue_of(row, path, number)
        key = ids.get(dialogue)
        if key is not None:
            add_answer(by_prompt, key, read(row, path, number), path, number)
        else:
            others.append(dialogue[-1][1])
    if not by_prompt:
        raise InputError(
            f"{path}: none of its {len(rows):,} answers is to one of the {len(ids):,} prompts: give the "
            "answers to these, or another file of prompts"
        )
    return one_name(models, path), matched(by_prompt, prompts.questions, path), file.leaving_out(others)


def _own(row: Row, path: Path, number: int) -> Answer | Problem:
    return own_answer(row, 1, path, number)


def _output(row: Row, path: Path, number: int) -> Answer | Problem:
    if row.get("output", "") is None:
        return Problem("no_answer", "output is null")
    return Answer((text_field(row, "output", path, number),))


def _messages(row: Row, path: Path, number: int) -> Answer | Problem:
    messages = row.get("messages")
    reply = messages[-1] if isinstance(messages, list) and messages else None
    content = None
    if isinstance(reply, Mapping) and reply.get("role") == "assistant":
        content = text_of(reply.get("content"))
    if content is None:
        raise InputError.at(
            "no answer: neither pairkit's own fields (prompt, answers), nor output, nor messages that end "
            "with an assistant's",
            file=path,
            row=number,
        )
    return Answer((content,))
