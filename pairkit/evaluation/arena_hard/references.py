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
    candidates = [_read(path, questions) for path in paths]
    public = BENCHMARKS[version].categories
    names: dict[str, str] = {}
    texts: dict[str, str] = {}
    tokens: dict[str, int] = {}
    by_category = {category: _of_category(category, candidates, version) for category in public}
    for question in questions:
        key = question.prompt_id
        reference = by_category[question.category]
        if reference is None:
            names[key] = judged_against.get(key, public[question.category])
            continue
        names[key] = reference.model
        if judged_against.get(key, reference.model) != reference.model:
            raise InputError(
                f"{reference.file.file}: the verdicts are against another reference, "
                f"{judged_against[key]!r}, than {reference.model!r}: give the answers of "
                f"{judged_against[key]!r}"
            )
        answer = reference.answers[key]
        if not isinstance(answer, Problem):
            texts[key] = only_text(answer, thoughts) or ""
        if key in reference.tokens:
            tokens[key] = reference.tokens[key]
    return References(names, texts, tokens, [reference.file for reference in candidates])


def _read(path: Path, questions: Sequence[Question]) -> Given:
    answers = read_answers(path, questions)
    return (
        answers
        if answers.model
        else answers._replace(model=path.name.removesuffix(".gz").removesuffix(".jsonl"))
    )


def _of_category(category: str | None, candidates: Sequence[Given], version: Version) -> Given | None:
    """Return the answers of the benchmark's reference for a category, else of one that is none of its own."""
    public = BENCHMARKS[version].categories
    own = [answers for answers in candidates if answers.model == public[category]]
    # o3-mini's file has answers to the prompts of creative writing, too, for which it is not a reference.
    matches = own or [answers for answers in candidates if answers.model not in public.values()]
    if len(matches) > 1:
        raise InputError(
            f"two references for {category or 'the prompts'}, {matches[0].model!r} ({matches[0].file.file}) "
            f"and {matches[1].model!r} ({matches[1].file.file}): give one"
        )
    return matches[0] if matches else None
