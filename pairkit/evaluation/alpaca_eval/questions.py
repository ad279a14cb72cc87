"""AlpacaEval's instructions and the reference's answers to them.

They are read from any of: annotations of the reference against some model, the reference's
`model_outputs.json`, answers that pairkit wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.answers import Answer, Question, is_own, own_answer, questions_sha256
from pairkit.evaluation.results import check_public
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field, texts_of
from pairkit.schema import short_hash

# AlpacaEval 2: its 805 instructions.
QUESTIONS = 805
QUESTIONS_SHA256 = "2a7acd5534a1ac17ef3841990bf356c97c2ab8e9e7ac7f576120c1acbf03e6e1"
REFERENCE = "gpt4_1106_preview"


class Reference(NamedTuple):
    """The instructions and the reference's answers.

    Attributes:
        questions: in the order of the file.
        answers: prompt_id -> text.
        generator: the name of the reference.
        positions: prompt_id -> position in AlpacaEval's evaluation set, of those instructions that are in it.
    """

    questions: tuple[Question, ...]
    answers: Mapping[str, str]
    generator: str
    positions: Mapping[str, int]
    file: DataFile

    @property
    def known(self) -> bool:
        """Whether the questions are those of AlpacaEval 2, all of them."""
        return questions_sha256(self.questions) == QUESTIONS_SHA256

    def first(self, limit: int | None) -> Reference:
        """Return the first questions alone."""
        return self if limit is None else self._replace(questions=self.questions[:limit])


def prompt_id(instruction: str) -> str:
    """Return the id of an instruction, a hash of its text: files of AlpacaEval have none."""
    return short_hash(instruction)


def read_reference(path: Path) -> Reference:
    """Read instructions and the reference's answers.

    Raises `InputError` for a file of another layout, answers of several references, or two answers to one
    instruction that differ.
    """
    rows, file = read_rows(path)
    check_public(rows[0][1], path, "annotations.json")
    read = _own_row if is_own(rows) else _annotation if "output_1" in rows[0][1] else _output
    questions: dict[str, Question] = {}
    answers: dict[str, str] = {}
    generators: dict[str, int] = {}
    for number, row in rows:
        instruction, answer, generator = read(row, path, number)
        generators.setdefault(generator, number)
        key = prompt_id(instruction)
        # Annotations of several models repeat the reference's answers.
        if answers.setdefault(key, answer) != answer:
            raise InputError.at(
                "a second answer of the reference to the same instruction, another than the first: keep one",
                file=path,
                row=number,
            )
        questions.setdefault(key, Question(key, (instruction,), _category(row), row))
    if len(generators) > 1:
        first, second = list(generators)[:2]
        raise InputError.at(
            f"answers of {second!r} after those of {first!r}: a reference is one model",
            file=path,
            row=generators[second],
        )
    ordered_questions = tuple(questions.values())
    return Reference(
        ordered_questions, answers, next(iter(generators)), positions_of(ordered_questions), file
    )


def positions_of(questions: Sequence[Question]) -> dict[str, int]:
    """Return the position in AlpacaEval's evaluation set of the questions that are in it, by their text."""
    places = evaluation_set()
    keys = [question.prompt_id for question in questions]
    return {key: places[key] for key in keys if key in places}


@cache
def evaluation_set() -> Mapping[str, int]:
    """Return the position of each instruction of AlpacaEval's evaluation set, by prompt_id.

    The texts are not shipped, but their hashes in that order are.
    """
    prompt_ids = Path(__file__).with_name("prompt_ids.txt").read_text(encoding="ascii").split()
    return {key: place for place, key in enumerate(prompt_ids)}


def _category(row: Row) -> str | None:
    dataset = row.get("dataset") or row.get("category")
    return dataset if isinstance(dataset, str) else None


def _annotation(row: Row, path: Path, number: int) -> tuple[str, str, str]:
    instruction, answer, generator = (
        text_field(row, name, path, number) for name in ("instruction", "output_1", "generator_1")
    )
    return instruction, answer, generator


def _output(row: Row, path: Path, number: int) -> tuple[str, str, str]:
    instruction, answer, generator = (
        text_field(row, name, path, number) for name in ("instruction", "output", "generator")
    )
    return instruction, answer, generator


def _own_row(row: Row, path: Path, number: int) -> tuple[str, str, str]:
    turns = texts_of(row.get("prompt"), path, number, "prompt")
    answer = own_answer(row, len(turns), path, number)
    if len(turns) != 1 or not isinstance(answer, Answer):
        raise InputError.at("the reference has no answer to one instruction here", file=path, row=number)
    return turns[0], answer.texts[0], text_field(row, "model", path, number)
