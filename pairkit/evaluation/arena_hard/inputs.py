"""The files of an evaluation: read, and checked against each other, before anything is asked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.answers import Answers
from pairkit.evaluation.arena_hard.answers import read_answers
from pairkit.evaluation.arena_hard.judging import read_prompts
from pairkit.evaluation.arena_hard.judgments import Judgments, read_judgments
from pairkit.evaluation.arena_hard.pool import PoolRun, read_pool
from pairkit.evaluation.arena_hard.questions import Questions, read_questions
from pairkit.evaluation.arena_hard.recipe import ArenaHardRecipe
from pairkit.evaluation.arena_hard.references import References, read_references
from pairkit.evaluation.arena_hard.style import CountTokens
from pairkit.evaluation.arena_hard.tokens import token_counter
from pairkit.evaluation.arena_hard.versions import BENCHMARKS
from pairkit.evaluation.prompts import Prompt
from pairkit.evaluation.recipe import check_given
from pairkit.evaluation.rows import DataFile
from pairkit.evaluation.versions import check_version

Until = Literal["answers", "verdicts", "scores"]


class Files(NamedTuple):
    """The files that an evaluation was given; None or empty: asked, or not needed."""

    questions: Path
    references: Sequence[Path] = ()
    answers: Path | None = None
    annotations: Path | None = None
    pool: Sequence[Path] = ()
    agreement: Path | None = None


class Inputs(NamedTuple):
    """What was read of the files.

    Attributes:
        answers: of the model; None where it has to be asked, or where stored verdicts are all there is.
        tokens: prompt_id -> stored length of the model's answer.
        count_tokens: the tokenizer that was asked for; None: stored lengths are used.
        other_judge: verdicts whose agreement with the judge's is computed.
        pool: further models for the public style control.
    """

    model: str
    questions: Questions
    references: References
    answers: Answers | None
    tokens: Mapping[str, int]
    judgments: Judgments | None
    other_judge: Judgments | None
    prompts: Mapping[str | None, Prompt]
    count_tokens: CountTokens | None
    pool: Sequence[PoolRun]
    data: Mapping[str, DataFile]


def read_inputs(
    recipe: ArenaHardRecipe,
    files: Files,
    until: Until,
    limit: int | None = None,
    *,
    other_version: bool = False,
) -> Inputs:
    """Read all files before anything is asked.

    Raises `InputError` for files that do not belong together, and for other questions than the benchmark's
    unless `other_version`, `RecipeError` for a model, judge or reference that is needed and missing,
    `ModelError` for a tokenizer that cannot be loaded.
    """
    _check_given(recipe, files, until)
    read = read_questions(files.questions, recipe.version, category=recipe.category, limit=limit)
    size, name = BENCHMARKS[recipe.version].questions, f"Arena-Hard {recipe.version}"
    check_version(files.questions, read.file.rows, size, name, known=read.known, other_version=other_version)
    questions = read.questions
    data = {"questions": read.file}
    judgments, other_judge = (
        None if path is None else read_judgments(path, questions, recipe.version)
        for path in (files.annotations, files.agreement)
    )
    by_role = {"annotations": judgments, "agreement": other_judge}
    data |= {role: content.file for role, content in by_role.items() if content is not None}
    against = {} if judgments is None else judgments.references
    references = read_references(files.references, questions, recipe.version, against, recipe.thoughts)
    for place, file in enumerate(references.files):
        data["reference" if not place else f"reference_{place + 1}"] = file
    stored_answers = None
    if files.answers is not None:
        stored_answers = read_answers(files.answers, questions)
        data["answers"] = stored_answers.file
    names = [
        content.model for content in (stored_answers, judgments) if content is not None and content.model
    ]
    if len(set(names)) > 1 and not recipe.name:
        raise InputError(
            f"the answers are {names[0]!r}'s and the verdicts are on {names[1]!r}: give those of one "
            "model, or --name if both are its names"
        )
    model = recipe.shown_name or (names[0] if names else "")
    if other_judge is not None:
        _check_same(other_judge, {*names, model}, references.names)
    if not model:
        raise RecipeError("the answers do not name their model: give --name")
    pool = read_pool(files.pool, recipe.version, references.by_category(questions))
    return Inputs(
        model,
        read,
        references,
        None if stored_answers is None else stored_answers.answers,
        {} if stored_answers is None else stored_answers.tokens,
        judgments,
        other_judge,
        read_prompts(recipe.judge_prompt),
        None if recipe.tokenizer is None else token_counter(recipe.tokenizer),
        pool,
        data,
    )


def _check_same(other: Judgments, models: Collection[str], references: Mapping[str, str]) -> None:
    """Raise `InputError` for another judge's verdicts on other answers than those that are judged."""
    if other.model not in models:
        raise InputError(
            f"{other.file.file}: verdicts on {other.model!r}, but the answers are those of "
            f"{' or '.join(map(repr, sorted(models)))}: give --agreement the verdicts on the same answers"
        )
    for key, name in other.references.items():
        if references.get(key, name) != name:
            raise InputError(
                f"{other.file.file}: its verdicts are against {name!r}, these are against "
                f"{references[key]!r}: give --agreement verdicts against the same reference"
            )


def _check_given(recipe: ArenaHardRecipe, files: Files, until: Until) -> None:
    check_given(recipe, files.answers, files.annotations, until)
    if until != "answers" and recipe.judge and not files.references:
        raise RecipeError("no reference to compare with: give its answers with --reference FILE")
    if files.pool and recipe.style_control != "pool":
        raise RecipeError("--pool needs --style-control pool: equal style depends on no other models")
