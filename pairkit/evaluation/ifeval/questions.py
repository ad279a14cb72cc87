"""IFEval's prompts with the instructions that are verified."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.answers import Question, questions_sha256
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field

# Of the file of 540 prompts; the one that google-research has today has one more.
QUESTIONS = 540
KNOWN_SHA256 = "ffe09031e20ef99d1199e2cef85f4b8425beae122f9168d11f08b19ed4259bc7"

# The verifier counts letters, and replaces anything else by a letter that it draws.
_LETTERS = "keywords:letter_frequency"


class Instruction(NamedTuple):
    """An instruction of a prompt: its kind, such as `keywords:existence`, and its arguments."""

    kind: str
    arguments: Mapping[str, Any]

    @property
    def group(self) -> str:
        """The first part of the kind, such as `keywords`."""
        return self.kind.partition(":")[0]

    @property
    def is_random(self) -> bool:
        """Whether the verifier counts a letter that it draws instead of the character that was given."""
        letter = self.arguments.get("letter")
        plain = isinstance(letter, str) and len(letter) == 1 and "a" <= letter.lower() <= "z"
        return self.kind == _LETTERS and not plain


class Prompts(NamedTuple):
    """The prompts of a file; `instructions` are those of each, by prompt_id, which is IFEval's key."""

    questions: tuple[Question, ...]
    instructions: dict[str, tuple[Instruction, ...]]
    file: DataFile
    known: bool  # whether the file has the 540 known prompts

    @property
    def random(self) -> list[str]:
        """The prompt_ids whose verdict depends on a letter that the verifier draws."""
        keys = [question.prompt_id for question in self.questions]
        return [key for key in keys if any(each.is_random for each in self.instructions[key])]


def read_prompts(path: Path, limit: int | None = None) -> Prompts:
    """Read the first `limit` prompts of a file in the layout of IFEval's `input_data.jsonl`.

    Raises `InputError` for a file that cannot be read, a row that lacks `key`, `prompt`,
    `instruction_id_list` or `kwargs`, instructions without arguments of their own, or a key or prompt twice.
    """
    rows, file = read_rows(path)
    instructions: dict[str, tuple[Instruction, ...]] = {}
    prompts: dict[str, str] = {}
    for number, row in rows:
        if not isinstance(row.get("key"), (int, str)):
            raise InputError.at("has no number or text 'key'", file=path, row=number)
        key, prompt = str(row["key"]), text_field(row, "prompt", path, number)
        if key in instructions or prompt in prompts:
            what = f"the key {key}" if key in instructions else f"the prompt of key {prompts[prompt]}"
            raise InputError.at(f"repeats {what}", file=path, row=number)
        prompts[prompt] = key
        instructions[key] = _instructions(row, path, number)
    questions = tuple(Question(key, (prompt,)) for prompt, key in prompts.items())
    known = questions_sha256(questions) == KNOWN_SHA256
    return Prompts(questions[:limit], instructions, file, known)


def _instructions(row: Row, path: Path, number: int) -> tuple[Instruction, ...]:
    kinds, arguments = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise InputError.at(
            "must be a list of kinds of instructions", file=path, row=number, field="instruction_id_list"
        )
    if not isinstance(arguments, list) or len(arguments) != len(kinds):
        raise InputError.at(
            f"must be a list with the arguments of each of the {len(kinds)} instructions",
            file=path, row=number, field="kwargs",
        )  # fmt: skip
    # Columnar files have every argument in every row, null where it is not meant.
    return tuple(
        Instruction(kind, {name: value for name, value in (given or {}).items() if value is not None})
        for kind, given in zip(kinds, arguments, strict=True)
    )
