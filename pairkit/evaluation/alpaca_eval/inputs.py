"""The files of an evaluation: read, and checked against each other, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from pairkit.engines.base import Problem
from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.alpaca_eval.annotations import NO_ANNOTATION, Annotations, read_annotations
from pairkit.evaluation.alpaca_eval.answers import read_model_outputs
from pairkit.evaluation.alpaca_eval.gamed import Gamed, read_gamed
from pairkit.evaluation.alpaca_eval.head_to_head import Published, read_weights
from pairkit.evaluation.alpaca_eval.hub import GAMED_FILE, REFERENCE_FILE, hub_file
from pairkit.evaluation.alpaca_eval.judging import read_prompt
from pairkit.evaluation.alpaca_eval.questions import QUESTIONS, Reference, read_reference
from pairkit.evaluation.alpaca_eval.recipe import AlpacaEvalRecipe
from pairkit.evaluation.answers import Answer, Answers, only_text
from pairkit.evaluation.prompts import Prompt
from pairkit.evaluation.recipe import check_given
from pairkit.evaluation.rows import DataFile
from pairkit.evaluation.versions import check_version
from pairkit.rankers.thoughts import Thoughts

Until = Literal["answers", "verdicts", "scores"]


class Files(NamedTuple):
    """The files that an evaluation was given; None: the Hub's for the first two, else asked."""

    reference: Path | None = None
    gamed: Path | Literal["none"] | None = None
    answers: Path | None = None
    annotations: Path | None = None
    agreement: Path | None = None
    weights: Path | None = None


class Inputs(NamedTuple):
    """What was read of the files.

    Attributes:
        answers: None where the model has to be asked.
        other_judge: verdicts whose agreement with the judge's is computed.
        published: weights of other models, for predicted win rates.
        thoughts: how answers are judged; those of annotations were judged as they are.
    """

    model: str
    reference: Reference
    gamed: Gamed | None
    prompt: Prompt
    answers: Answers | None
    annotations: Annotations | None
    other_judge: Annotations | None
    published: Published | None
    thoughts: Thoughts
    data: Mapping[str, DataFile]


def read_inputs(
    recipe: AlpacaEvalRecipe,
    files: Files,
    until: Until,
    limit: int | None = None,
    *,
    other_version: bool = False,
) -> Inputs:
    """Read all files before anything is asked.

    Raises `InputError` for files that do not belong together, and for other questions than the benchmark's
    unless `other_version`, `RecipeError` for a model or judge that is needed and missing, `HubError` for a
    file that only the Hub has.
    """
    check_given(recipe, files.answers, files.annotations, until)
    # Annotations hold the reference's answers, so that they alone are enough.
    source = files.reference or files.annotations or hub_file(REFERENCE_FILE)
    whole = read_reference(source)
    count, known = len(whole.questions), whole.known
    check_version(source, count, QUESTIONS, "AlpacaEval 2", known=known, other_version=other_version)
    reference = whole.first(limit)
    data = {"reference": reference.file}
    gamed = None
    if files.gamed != "none" and until == "scores":
        gamed = read_gamed(files.gamed or hub_file(GAMED_FILE))
        data["gamed"] = gamed.file
    annotations, other_judge = (
        None if path is None else read_annotations(path, reference)
        for path in (files.annotations, files.agreement)
    )
    weights = None if files.weights is None else read_weights(files.weights)
    read = {"annotations": annotations, "agreement": other_judge, "weights": weights}
    data |= {name: content.file for name, content in read.items() if content is not None}
    stored_name, answers, thoughts = "", None, recipe.thoughts
    if files.answers is not None:
        stored_name, answers, data["answers"] = read_model_outputs(files.answers, reference.questions)
    elif annotations is not None:
        # As they are: the judge has seen these texts, with thoughts if they have some.
        stored_name, answers, thoughts = annotations.model, _judged_answers(annotations, reference), "show"
    if annotations is not None and answers is not None:
        _check_same(annotations, answers, thoughts)
    model = recipe.shown_name or stored_name
    if not model:
        raise RecipeError("the answers do not name their model: give --name")
    prompt = read_prompt(recipe.judge_prompt)
    return Inputs(model, reference, gamed, prompt, answers, annotations, other_judge, weights, thoughts, data)


def _judged_answers(annotations: Annotations, reference: Reference) -> Answers:
    """Return the answers that stored verdicts are about."""
    absent = Problem(NO_ANNOTATION, "the annotations have no row for this instruction")
    keys = [question.prompt_id for question in reference.questions]
    return {
        key: Answer((annotations.answers[key],)) if key in annotations.answers else absent for key in keys
    }


def _check_same(annotations: Annotations, answers: Answers, thoughts: Thoughts) -> None:
    """Raise `InputError` for verdicts on other answers than these."""
    others = [key for key, text in annotations.answers.items() if only_text(answers[key], thoughts) != text]
    if others:
        raise InputError(
            f"{annotations.file.file}: {len(others):,} of its {len(annotations.answers):,} verdicts are on "
            "other answers than those of --answers: give the annotations of these answers, or ask a judge"
        )
