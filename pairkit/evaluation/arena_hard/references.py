"""Whose answers the model's are compared with: each category of v2.0 has a reference of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.engines.base import Problem
from pairkit.errors import InputError
from pairkit.evaluation.answers import Question, only_text
from pairkit.evaluation.arena_hard.answers import Given, read_answers
from pairkit.evaluation.arena_hard.labels import Version
from pairkit.evaluation.arena_hard.versions import BENCHMARKS
from pairkit.evaluation.rows import DataFile
from pairkit.rankers.thoughts import Thoughts


class References(NamedTuple):
    """The reference's side of the questions.

    Attributes:
        names: prompt_id -> the reference's name, also where its answers are not at hand.
        texts: prompt_id -> its answer, as it is judged.
        tokens: prompt_id -> the stored length of the answer.
    """

    names: Mapping[str, str]
    texts: Mapping[str, str]
    tokens: Mapping[str, int]
    files: Sequence[DataFile]

    def by_category(self, questions: Sequence[Question]) -> dict[str | None, str]:
        """Return the name of each category's reference."""
        return {question.category: self.names[question.prompt_id] for question in questions}


def read_references(
    paths: Sequence[Path],
    questions: Sequence[Question],
    version: Version,
    judged_against: Mapping[str, str],
    thoughts: Thoughts,
) -> References:
    """Read the answers of one reference, or of one per category.

    Args:
        judged_against: prompt_id -> the reference that stored verdicts name.

    Raises `InputError` for files that cannot be used, several references for one category, or verdicts
    against another reference.
    """
    given = [_read(path, questions) for path in paths]
    public = BENCHMARKS[version].categories
    names: dict[str, str] = {}
    texts: dict[str, str] = {}
    tokens: dict[str, int] = {}
    chosen = {category: _of_category(category, given, version) for category in public}
    for question in questions:
        key = question.prompt_id
        found = chosen[question.category]
        if found is None:
            names[key] = judged_against.get(key, public[question.category])
            continue
        names[key] = found.model
        if judged_against.get(key, found.model) != found.model:
            raise InputError(
                f"{found.file.file}: the verdicts are against another reference, {judged_against[key]!r}, "
                f"than {found.model!r}: give the answers of {judged_against[key]!r}"
            )
        answer = found.answers[key]
        if not isinstance(answer, Problem):
            texts[key] = only_text(answer, thoughts) or ""
        if key in found.tokens:
            tokens[key] = found.tokens[key]
    return References(names, texts, tokens, [found.file for found in given])


def _read(path: Path, questions: Sequence[Question]) -> Given:
    given = read_answers(path, questions)
    return (
        given if given.model else given._replace(model=path.name.removesuffix(".gz").removesuffix(".jsonl"))
    )


def _of_category(category: str | None, given: Sequence[Given], version: Version) -> Given | None:
    """Return the answers of the benchmark's reference for a category, else of one that is none of its own."""
    public = BENCHMARKS[version].categories
    own = [found for found in given if found.model == public[category]]
    # o3-mini's file has answers to the prompts of creative writing, too, for which it is not a reference.
    found = own or [found for found in given if found.model not in public.values()]
    if len(found) > 1:
        raise InputError(
            f"two references for {category or 'the prompts'}, {found[0].model!r} ({found[0].file.file}) and "
            f"{found[1].model!r} ({found[1].file.file}): give one"
        )
    return found[0] if found else None
