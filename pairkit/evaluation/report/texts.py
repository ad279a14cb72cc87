"""The texts that a page shows: prompts and answers, from the files that an evaluation wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pairkit.evaluation.answers import Answer
from pairkit.files import read_json_lines, undamaged
from pairkit.rankers.thoughts import Thoughts


class Prompt(NamedTuple):
    """What the user says, turn by turn, and (role, text) of the messages in front of it."""

    turns: tuple[str, ...] = ()
    before: tuple[tuple[str, str], ...] = ()


class Text(NamedTuple):
    """A prompt and its answer, turn by turn; without answers if there were none, for the reason `problem`."""

    model: str
    prompt: Prompt
    answers: tuple[str, ...]  # as judged
    truncated: bool = False
    problem: str = ""

    @property
    def length(self) -> int:
        """The characters of all turns of the answer."""
        return sum(map(len, self.answers))


def read_texts(file: Path, thoughts: Thoughts = "strip", *, model: str | None = None) -> dict[str, Text]:
    """Read answers that `write_answers` wrote, by prompt; only those of `model` if it is given.

    Nothing if there is no file, since answers may have been judged elsewhere. Raises `InputError` for a file
    that is damaged.
    """
    if not file.is_file():
        return {}
    texts: dict[str, Text] = {}
    with undamaged(file, "evaluate again"):
        for row in read_json_lines(file, "evaluate again"):
            if model is None or row["model"] == model:
                texts[row["prompt_id"]] = _text(row, thoughts)
    return texts


def read_prompts(file: Path) -> dict[str, Prompt]:
    """Read prompts that `write_prompts` wrote, by prompt; nothing if there is no file."""
    if not file.is_file():
        return {}
    with undamaged(file, "evaluate again"):
        rows = read_json_lines(file, "evaluate again")
        return {row["prompt_id"]: _prompt(row) for row in rows}


def _text(row: dict[str, Any], thoughts: Thoughts) -> Text:
    model, prompt = str(row["model"]), _prompt(row)
    if problem := row.get("problem"):
        return Text(model, prompt, (), problem=str(problem))
    answer = Answer(_texts(row["answers"]), tuple(row.get("finish_reasons") or ()))
    return Text(model, prompt, answer.shown(thoughts), answer.truncated)


def _prompt(row: dict[str, Any]) -> Prompt:
    messages = row.get("before", [])
    _texts([message[name] for message in messages for name in ("role", "content")])
    before = tuple((message["role"], message["content"]) for message in messages)
    return Prompt(_texts(row["prompt"]), before)


def _texts(value: Any) -> tuple[str, ...]:
    """Return a list of texts. Raises `TypeError` for anything else, of which no page can be made."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError(f"{value!r:.80} is not a list of texts")
    return tuple(value)
