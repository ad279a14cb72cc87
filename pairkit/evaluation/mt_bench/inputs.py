"""The files of an evaluation: read, and checked against each other, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.answers import Answers
from pairkit.evaluation.mt_bench.answers import read_model_answers
from pairkit.evaluation.mt_bench.judgments import Judgments, read_judgments
from pairkit.evaluation.mt_bench.prompts import Prompts, read_prompts
from pairkit.evaluation.mt_bench.questions import (
    QUESTIONS,
    Questions,
    References,
    check_references,
    read_questions,
    read_references,
)
from pairkit.evaluation.mt_bench.recipe import MtBenchRecipe
from pairkit.evaluation.recipe import check_given
from pairkit.evaluation.rows import DataFile
from pairkit.evaluation.versions import check_version

Until = Literal["answers", "verdicts", "scores"]


class Files(NamedTuple):
    """The files that an evaluation was given; None: not given."""

    questions: Path
    references: Path | None = None
    answers: Path | None = None
    annotations: Path | None = None
    agreement: Path | None = None


class Inputs(NamedTuple):
    """What was read of the files.

    Attributes:
        answers: None where the model has to be asked, or where stored verdicts are all there is.
        other_judge: judgments whose agreement with the judge's is computed.
    """

    model: str
    questions: Questions
    references: References | None
    prompts: Prompts
    answers: Answers | None
    judgments: Judgments | None
    other_judge: Judgments | None
    data: Mapping[str, DataFile]


def read_inputs(
    recipe: MtBenchRecipe,
    files: Files,
    until: Until,
    limit: int | None = None,
    *,
    other_version: bool = False,
) -> Inputs:
    """Read all files before anything is asked.

    Raises `InputError` for files that do not belong together, `RecipeError` for a model or judge that is
    needed and missing.
    """
    _check_given(recipe, files, until)
    whole = read_questions(files.questions)
    count, known = len(whole.listed), whole.known
    check_version(files.questions, count, QUESTIONS, "MT-Bench", known=known, other_version=other_version)
    questions = whole.first(limit)
    data = {"questions": questions.file}
    references = None if files.references is None else read_references(files.references)
    if references is not None:
        data["references"] = references.file
    stored_name, answers = "", None
    if files.answers is not None:
        stored_name, answers, data["answers"] = read_model_answers(files.answers, questions.listed)
    model = recipe.shown_name or stored_name
    judgments, other_judge = (
        None
        if path is None
        else read_judgments(path, questions.listed, model or stored_name, recipe.duplicates)
        for path in (files.annotations, files.agreement)
    )
    # A judgment of other answers says nothing about these.
    for content in (judgments, other_judge):
        _check_model(content, stored_name)
    read = {"annotations": judgments, "agreement": other_judge}
    data |= {name: content.file for name, content in read.items() if content is not None}
    model = model or (judgments.model if judgments is not None else "")
    if not model:
        raise RecipeError("the answers do not name their model: give --name")
    if until != "answers" and judgments is None:
        check_references(questions.listed, references)
    prompts = read_prompts(recipe.judge_prompts)
    return Inputs(model, questions, references, prompts, answers, judgments, other_judge, data)


def _check_model(judgments: Judgments | None, model: str) -> None:
    """Raise `InputError` for judgments of another model than the one whose answers were read."""
    if judgments is not None and model and judgments.model != model:
        raise InputError(
            f"{judgments.file.file}: judgments of {judgments.model!r}, but the answers are those of "
            f"{model!r}: give both of one model"
        )


def _check_given(recipe: MtBenchRecipe, files: Files, until: Until) -> None:
    check_given(recipe, files.answers, files.annotations, until)
    if until == "answers" and not (recipe.model or files.answers):
        raise RecipeError("no answers, which --until answers is about: give --model or --answers FILE")
