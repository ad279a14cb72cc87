"""MT-Bench's questions, and the reference answers that the judge is shown for some of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.answers import Question, questions_sha256
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field, texts_of

QUESTIONS = 80
QUESTIONS_SHA256 = "35e13f644cc4cca980057164dae056dcdd9eb6288b565446b5fe8881ad710764"
# Of these categories the judge is shown reference answers.
REFERENCED = ("math", "reasoning", "coding")
TURNS = 2


class Questions(NamedTuple):
    """The questions of a file, whose prompt_id is `question_id`."""

    listed: tuple[Question, ...]
    file: DataFile

    @property
    def known(self) -> bool:
        """Whether they are MT-Bench's, all of them."""
        return questions_sha256(self.listed) == QUESTIONS_SHA256

    def first(self, limit: int | None) -> Questions:
        """Return the first questions alone."""
        return self if limit is None else self._replace(listed=self.listed[:limit])


class References(NamedTuple):
    """Reference answers: prompt_id -> one text per turn; and the model whose they are."""

    answers: Mapping[str, tuple[str, ...]]
    model: str
    file: DataFile


def read_questions(path: Path) -> Questions:
    """Read questions with the fields `question_id`, `category` and `turns`.

    Raises `InputError` for a row without them, with other than two turns, or an id twice.
    """
    rows, file = read_rows(path)
    questions: dict[str, Question] = {}
    for number, row in rows:
        key = question_id(row, path, number)
        if key in questions:
            raise InputError.at(f"question {key} a second time: keep one", file=path, row=number)
        turns = texts_of(row.get("turns"), path, number, "turns")
        if len(turns) != TURNS:
            raise InputError.at(
                f"field 'turns' has {len(turns)} texts: a question of MT-Bench has {TURNS}",
                file=path,
                row=number,
            )
        questions[key] = Question(key, turns, text_field(row, "category", path, number), row)
    return Questions(tuple(questions.values()), file)


def read_references(path: Path) -> References:
    """Read reference answers in the format of `model_answer/*.jsonl`.

    Raises `InputError` for a file of another layout, of several models, or an answer twice.
    """
    rows, file = read_rows(path)
    answers: dict[str, tuple[str, ...]] = {}
    models: set[str] = set()
    for number, row in rows:
        key = question_id(row, path, number)
        if key in answers:
            raise InputError.at(f"a second answer to question {key}: keep one", file=path, row=number)
        answers[key] = choice_of(row, path, number)
        models.add(text_field(row, "model_id", path, number))
    if len(models) > 1:
        raise InputError(
            f"{path}: reference answers of {' and '.join(sorted(models))}: give those of one model"
        )
    return References(answers, models.pop(), file)


def check_references(questions: Iterable[Question], references: References | None) -> None:
    """Raise `InputError` if a question whose answer is judged with reference answers has none."""
    prompt_ids = [question.prompt_id for question in questions if question.category in REFERENCED]
    if not prompt_ids:
        return
    if references is None:
        raise InputError(
            f"{len(prompt_ids):,} questions of {', '.join(REFERENCED)} are judged with reference answers: "
            "give them with --references FILE (MT-Bench's reference_answer/gpt-4.jsonl)"
        )
    absent = [key for key in prompt_ids if len(references.answers.get(key, ())) != TURNS]
    if absent:
        raise InputError(
            f"{references.file.file}: no reference answers of {TURNS} turns to {len(absent):,} of "
            f"{len(prompt_ids):,} questions that are judged with them, the first: question {absent[0]}"
        )


def question_id(row: Row, path: Path, number: int) -> str:
    """Return the id of a row. Raises `InputError` if it has none."""
    value = row.get("question_id")
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        kind = "is missing" if "question_id" not in row else f"is {value!r}, not a number or a text"
        raise InputError.at(f"field 'question_id' {kind}", file=path, row=number)
    return str(value)


def choice_of(row: Row, path: Path, number: int) -> tuple[str, ...]:
    """Return the texts of the one choice of an answer. Raises `InputError` for several or none."""
    choices = row.get("choices")
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        raise InputError.at("field 'choices' is not a list of answers", file=path, row=number)
    if len(choices) > 1:
        raise InputError.at(
            f"{len(choices)} answers to one question, of which one can be rated: keep one in 'choices'",
            file=path,
            row=number,
        )
    first = choices[0]
    return texts_of(first.get("turns") if isinstance(first, Mapping) else None, path, number, "choices.turns")
