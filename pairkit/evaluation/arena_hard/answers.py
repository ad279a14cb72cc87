"""Answers in Arena-Hard's own formats, `model_answer/MODEL.jsonl`: read and written.

Since 2025 a row has `messages`, whose assistant content is a text or `{"answer": text}`, and `metadata` with
the style; before, `choices[0].turns[0].content` and `conv_metadata`. Rows with a plain `answer` are read too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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
    only_text,
    read_own,
)
from pairkit.evaluation.arena_hard.questions import id_of
from pairkit.evaluation.arena_hard.style import markdown
from pairkit.evaluation.rows import DataFile, Row, read_rows
from pairkit.files import write_text
from pairkit.rankers.thoughts import Thoughts


class Given(NamedTuple):
    """The answers of a model; `tokens` are stored lengths, by prompt_id, as far as there are some."""

    model: str
    answers: Answers
    tokens: Mapping[str, int]
    file: DataFile


def read_answers(path: Path, questions: Sequence[Question]) -> Given:
    """Read answers in a public format or pairkit's.

    Raises `InputError` for answers to other questions, two answers to one, answers of two models, or rows
    that hold no answer.
    """
    rows, file = read_rows(path)
    if is_own(rows):
        model, answers, file = read_own(path, questions)
        return Given(model, answers, {}, file)
    texts = {question.prompt_id: question.turns[0] for question in questions}
    by_prompt: dict[str, Answer | Problem] = {}
    tokens: dict[str, int] = {}
    models: dict[str, int] = {}
    for number, row in rows:
        key = id_of(row, path, number)
        question, text, token_count = _read(row, path, number)
        if question is not None and texts.get(key, question) != question:
            raise InputError.at(
                f"prompt {key!r} has another text than the benchmark's: these answers are to other questions",
                file=path,
                row=number,
            )
        if name := row.get("model") or row.get("model_id"):
            models.setdefault(str(name), number)
        problem = Problem("no_answer", "the answer is null")
        add_answer(by_prompt, key, problem if text is None else Answer((text,)), path, number)
        if token_count is not None:
            tokens[key] = token_count
    answers = matched(by_prompt, questions, path)
    return Given(one_name(models, path), answers, tokens, leaving_out(file, by_prompt, questions))


def write_public(
    path: Path,
    model: str,
    questions: Sequence[Question],
    answers: Answers,
    thoughts: Thoughts,
    tokens: Mapping[str, int],
) -> None:
    """Write answers, as they are judged, in the format of 2025; questions without one are left out."""
    lines = []
    for question in questions:
        text = only_text(answers[question.prompt_id], thoughts)
        if text is None:
            continue
        metadata: dict[str, Any] = dict(markdown(text).public())
        if question.prompt_id in tokens:
            metadata = {"token_len": tokens[question.prompt_id], **metadata}
        line = {
            "uid": question.prompt_id,
            "model": model,
            "messages": [
                {"role": "user", "content": question.turns[0]},
                {"role": "assistant", "content": {"answer": text}},
            ],
            "metadata": metadata,
        }
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    write_text(path, "".join(lines))


def public_name(model: str) -> str:
    """Return the name of a model's file in the public layout; names of models hold slashes."""
    return f"{model.replace('/', '_')}.jsonl"


def _read(row: Row, path: Path, number: int) -> tuple[str | None, str | None, int | None]:
    """Return the question where the row has it, the answer (None: null), and the stored number of tokens."""
    metadata = row.get("metadata") or row.get("conv_metadata") or {}
    length = metadata.get("token_len") if isinstance(metadata, Mapping) else None
    question: Any = None
    messages, choices = row.get("messages"), row.get("choices")
    if messages:
        first, last = (_object(messages, place, "messages", path, number) for place in (0, -1))
        question, content = first.get("content"), last.get("content")
    elif choices:
        choice = _object(choices, 0, "choices", path, number)
        turn = _object(choice.get("turns"), 0, "choices.turns", path, number)
        content = turn.get("content")
        length = turn.get("token_len") if length is None else length
    elif "answer" in row:
        content = row["answer"]
    else:
        raise InputError.at(
            "has neither 'messages', nor 'choices', nor 'answer': it holds no answer", file=path, row=number
        )
    text, question = _text(content), _text(question)
    if text is not None and not isinstance(text, str):
        raise InputError.at(f"the answer is {type(text).__name__}, not a text", file=path, row=number)
    token_count = length if isinstance(length, int) and length >= 0 else None
    return question if isinstance(question, str) else None, text, token_count


def _object(value: Any, place: int, field: str, path: Path, number: int) -> Mapping[str, Any]:
    """Return an entry of a list. Raises `InputError` if there is none or it has no fields."""
    if not isinstance(value, list) or not value or not isinstance(value[place], Mapping):
        raise InputError.at(f"field {field!r} is not a list of objects", file=path, row=number)
    entry: Mapping[str, Any] = value[place]
    return entry


def _text(content: Any) -> Any:
    """Return the text in a content, None for null; whatever it is if it holds none.

    The reader of files turns a column of texts and of `{"answer": text}` into lists of parts.
    """
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        return _text(content[0].get("text"))
    if isinstance(content, Mapping):
        # `value` is where the reader puts the plain texts of such a column.
        return content.get("answer") if content.get("answer") is not None else content.get("value")
    return content
