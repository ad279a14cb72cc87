"""The prompts of a matrix: any file with a user's message, or a dialogue that ends with one, per row."""

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

# (role, text) of each message; the last one is the user's.
Dialogue = tuple[tuple[str, str], ...]


class Prompts(NamedTuple):
    """The prompts of a file, and the id of each."""

    questions: tuple[Question, ...]
    file: DataFile

    @property
    def by_dialogue(self) -> dict[Dialogue, str]:
        """The prompt_id of each dialogue."""
        return {
            (*question.before, ("user", question.turns[0])): question.prompt_id for question in self.questions
        }

    def first(self, limit: int | None) -> Prompts:
        """Return the first prompts alone."""
        return self if limit is None else self._replace(questions=self.questions[:limit])


def read_prompts(path: Path) -> Prompts:
    """Read prompts: a text, or a list of one text or of messages, in the first field there is of `_TEXTS`.

    The prompt_id is that of the row, else a hash of the texts. Raises `InputError` for a row without a
    prompt, one of several turns that are no messages, or a prompt or an id twice.
    """
    rows, file = read_rows(path)
    questions: dict[str, Question] = {}
    numbers: dict[Dialogue, int] = {}
    for number, row in rows:
        dialogue = dialogue_of(row, path, number)
        if dialogue in numbers:
            raise InputError.at(
                f"the same prompt as in row {numbers[dialogue]}: a prompt counts once, so keep one of them",
                file=path,
                row=number,
            )
        numbers[dialogue] = number
        *before, (_, text) = dialogue
        key = next((str(row[name]) for name in _IDS if row.get(name) is not None), None)
        key = key or short_hash(dialogue if before else text)
        if key in questions:
            raise InputError.at(f"id {key!r} a second time: give each prompt its own", file=path, row=number)
        category = next((row[name] for name in _CATEGORIES if isinstance(row.get(name), str)), None)
        questions[key] = Question(key, (text,), category, row, tuple(before))
    return Prompts(tuple(questions.values()), file)


def dialogue_of(row: Row, path: Path, number: int) -> Dialogue:
    """Return the messages of a row's prompt, without the answer that `messages` may end with.

    Raises `InputError` for none, several texts without roles, or messages that no user ends.
    """
    name = next((name for name in _TEXTS if row.get(name) is not None), None)
    if name is None:
        raise InputError.at(f"no prompt: none of the fields {', '.join(_TEXTS)}", file=path, row=number)
    value = row[name] if isinstance(row[name], list) else [row[name]]
    if name == "messages" and len(value) > 1 and _role(value[-1]) == "assistant":
        value = value[:-1]  # the prompt of a stored answer
    # What `write_answers` keeps apart.
    before = row.get("before") or []
    if not isinstance(before, list):
        raise InputError.at("field 'before' is not a list of messages", file=path, row=number)
    messages = [*before, *value]
    if (wrong := _why_no_dialogue(value, messages)) is not None:
        raise InputError.at(f"field {name!r} {wrong}", file=path, row=number)
    return tuple((_role(message) or "user", _text(message) or "") for message in messages)


def _why_no_dialogue(value: list[Any], messages: list[Any]) -> str | None:
    """Describe what is wrong with the messages, the last of which are `value`; None for a dialogue."""
    if len(value) > 1 and not all(map(_role, value)):
        return (
            f"has {len(value)} texts without roles: models are compared on one answer per prompt; give a "
            "dialogue as messages (role, content), the last of them the user's"
        )
    texts = list(map(_text, messages))
    if (
        not messages
        or _role(messages[-1]) not in (None, "user")
        or None in texts
        or not (texts[-1] or "").strip()
    ):
        return "is not a prompt of a user"
    for place, message in enumerate(messages):
        role = _role(message)
        if role not in (None, "user", "assistant") and (role, place) != ("system", 0):
            return (
                f"has a message of {role!r} in place {place + 1}: a dialogue is of user and assistant, after "
                "at most one message of the system"
            )
    return None


def text_of(content: Any) -> str | None:
    """Return the text of a message's content: a text, or Arena-Hard's `{"answer": TEXT}`; None for another.

    A file in which both occur is read as lists of one part, whose texts are under `value` or `answer`.
    """
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        content = content[0].get("text")
    if isinstance(content, Mapping):
        content = content.get("value") if content.get("answer") is None else content["answer"]
    return content if isinstance(content, str) else None


def _text(message: Any) -> str | None:
    if _role(message):
        return text_of(message["content"])
    return message if isinstance(message, str) else None


def _role(message: object) -> str | None:
    if isinstance(message, Mapping) and isinstance(message.get("role"), str) and "content" in message:
        return str(message["role"])
    return None
