"""The prompts of a matrix: any file with one user's message per row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.answers import Question
from pairkit.evaluation.rows import DataFile, Row, read_rows
from pairkit.schema import short_hash

_TEXTS = ("prompt", "instruction", "question", "turns", "messages")
_IDS = ("prompt_id", "uid", "question_id", "id")
_CATEGORIES = ("category", "dataset", "subset")


class Prompts(NamedTuple):
    """The prompts of a file, and the id of each text."""

    questions: tuple[Question, ...]
    file: DataFile

    @property
    def by_text(self) -> dict[str, str]:
        """The prompt_id of each text."""
        return {question.turns[0]: question.prompt_id for question in self.questions}

    def first(self, limit: int | None) -> Prompts:
        """Return the first prompts alone."""
        return self if limit is None else self._replace(questions=self.questions[:limit])


def read_prompts(path: Path) -> Prompts:
    """Read prompts: a text, or a list of one text or one message, in the first field there is of `_TEXTS`.

    The prompt_id is that of the row, else a hash of the text. Raises `InputError` for a row without a prompt,
    one of several turns, or a text or an id twice.
    """
    rows, file = read_rows(path)
    found: dict[str, Question] = {}
    numbers: dict[str, int] = {}
    for number, row in rows:
        text = prompt_text(row, path, number)
        if text in numbers:
            raise InputError.at(
                f"the same prompt as in row {numbers[text]}: a prompt counts once, so keep one of them",
                file=path,
                row=number,
            )
        numbers[text] = number
        key = next((str(row[name]) for name in _IDS if row.get(name) is not None), None) or short_hash(text)
        if key in found:
            raise InputError.at(f"id {key!r} a second time: give each prompt its own", file=path, row=number)
        category = next((row[name] for name in _CATEGORIES if isinstance(row.get(name), str)), None)
        found[key] = Question(key, (text,), category, row)
    return Prompts(tuple(found.values()), file)


def prompt_text(row: Row, path: Path, number: int) -> str:
    """Return the one message of a row's prompt. Raises `InputError` for none or several."""
    name = next((name for name in _TEXTS if row.get(name) is not None), None)
    if name is None:
        raise InputError.at(f"no prompt: none of the fields {', '.join(_TEXTS)}", file=path, row=number)
    value = row[name]
    if name == "messages" and isinstance(value, list) and len(value) == 2 and _said(value[1], "assistant"):
        # The prompt of a stored answer.
        value = value[:1]
    if isinstance(value, list):
        if len(value) != 1:
            raise InputError.at(
                f"field {name!r} has {len(value)} messages: models are compared on prompts of one",
                file=path,
                row=number,
            )
        value = text_of(value[0]["content"]) if _said(value[0], "user") else value[0]
    if not isinstance(value, str) or not value.strip():
        raise InputError.at(f"field {name!r} is no prompt of a user", file=path, row=number)
    return value


def text_of(content: Any) -> str | None:
    """Return the text of a message's content: a text, or Arena-Hard's `{"answer": TEXT}`; None for another.

    A file in which both occur is read as lists of one part, whose texts are under `value` or `answer`.
    """
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        content = content[0].get("text")
    if isinstance(content, Mapping):
        content = content.get("value") if content.get("answer") is None else content["answer"]
    return content if isinstance(content, str) else None


def _said(message: object, role: str) -> bool:
    return isinstance(message, Mapping) and message.get("role") == role and "content" in message
