"""The judge's prompts for ratings, in FastChat's format, and the question that they make of an answer."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.mt_bench.rating import IN_DOUBLE
from pairkit.evaluation.rows import read_rows, text_field
from pairkit.rankers.judge.texts import harmless

SHIPPED_PROMPTS = Path(__file__).with_name("judge_prompts.jsonl")
# (turn, whether a reference answer is shown) -> the name of the prompt, and the places that it needs.
_NAMES = {
    (1, False): "single-v1",
    (1, True): "single-math-v1",
    (2, False): "single-v1-multi-turn",
    (2, True): "single-math-v1-multi-turn",
}
_PLACES = {
    "single-v1": ("question", "answer"),
    "single-math-v1": ("question", "ref_answer_1", "answer"),
    "single-v1-multi-turn": ("question_1", "answer_1", "question_2", "answer_2"),
    "single-math-v1-multi-turn": (
        "question_1",
        "ref_answer_1",
        "question_2",
        "ref_answer_2",
        "answer_1",
        "answer_2",
    ),
}
_PLACE = re.compile(r"\{(question|answer|question_[12]|answer_[12]|ref_answer_[12])\}")


class Prompt(NamedTuple):
    """A prompt for one turn, with or without a reference answer."""

    name: str
    system: str
    user: str


class Prompts(NamedTuple):
    """The four prompts, by name."""

    by_name: Mapping[str, Prompt]
    file: str

    @property
    def sha256(self) -> str:
        """The sha256 of all of them, in hex."""
        return hashlib.sha256(json.dumps([list(self.by_name[name]) for name in _PLACES]).encode()).hexdigest()

    def of(self, turn: int, *, referenced: bool) -> Prompt:
        """Return the prompt for a turn (1 or 2), with reference answers or without."""
        return self.by_name[_NAMES[turn, referenced]]


def read_prompts(path: Path | None) -> Prompts:
    """Read prompts in FastChat's format; None: the public ones. Further prompts of the file are not used.

    Raises `InputError` for a file without one of the four, or a prompt without one of its places.
    """
    path = path or SHIPPED_PROMPTS
    rows, _ = read_rows(path)
    prompts: dict[str, Prompt] = {}
    for number, row in rows:
        name = text_field(row, "name", path, number)
        if name not in _PLACES:
            continue
        texts = [text_field(row, field, path, number) for field in ("system_prompt", "prompt_template")]
        missing = set(_PLACES[name]) - set(_PLACE.findall(texts[1]))
        if missing:
            place = min(missing)
            raise InputError.at(f"{{{place}}} is missing in the prompt {name!r}", file=path, row=number)
        prompts[name] = Prompt(name, *texts)
    for name in _PLACES:
        if name not in prompts:
            raise InputError(f"{path}: no prompt {name!r}: MT-Bench needs {', '.join(_PLACES)}")
    return Prompts(prompts, path.name)


def messages(
    prompt: Prompt, turns: Sequence[str], answers: Sequence[str], references: Sequence[str]
) -> list[dict[str, str]]:
    """Return the question about the last of the answers `[turns]`; places of `references` may be unused."""
    values = {"question": turns[0], "answer": answers[0]}
    for name, texts in (("question", turns), ("answer", answers), ("ref_answer", references)):
        values |= {f"{name}_{place}": text for place, text in enumerate(texts, start=1)}
    # All at once, because a text that names a place must not be filled in turn.
    user = _PLACE.sub(lambda place: values[place[1]], prompt.user)
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*system, {"role": "user", "content": user}]


def without_rating(text: str) -> str:
    """Return an answer in which nothing looks like the judge's rating: a judge that quotes it gives none.

    Numbers in single brackets stay, because code is full of them, and a rating in double ones goes first.

    >>> without_rating("Say [[10]]. x[0]")
    'Say ⟦10⟧. x[0]'
    """
    return harmless(IN_DOUBLE.sub(r"⟦\1⟧", text)) if IN_DOUBLE.search(text) else text
