"""IFEval's prompts with the instructions that are verified."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError
from pairkit.evaluation.answers import Question, questions_sha256
from pairkit.evaluation.rows import DataFile, Row, read_rows, text_field
from pairkit.rankers.ifeval import Instruction, instructions_of

# Of the file of 540 prompts; the one that google-research has today has one more.
QUESTIONS = 540
KNOWN_SHA256 = "ffe09031e20ef99d1199e2cef85f4b8425beae122f9168d11f08b19ed4259bc7"


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
    try:
        return instructions_of(row)
    except ValueError as error:
        field, problem = error.args
        raise InputError.at(problem, file=path, row=number, field=field) from error
