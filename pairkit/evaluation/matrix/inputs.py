"""The files of a matrix: read, and checked against each other, before anything is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pairkit.errors import InputError, RecipeError
from pairkit.evaluation.answers import Answers
from pairkit.evaluation.files import file_name
from pairkit.evaluation.matrix.answers import read_answers
from pairkit.evaluation.matrix.prompts import Prompts, read_prompts
from pairkit.evaluation.matrix.recipe import MatrixRecipe, judge_prompt
from pairkit.evaluation.matrix.stored import Stored, read_verdicts
from pairkit.evaluation.rows import DataFile
from pairkit.rankers.judge.prompt import Prompt

Until = Literal["answers", "verdicts", "scores"]


class Files(NamedTuple):
    """The files that a matrix was given; `answers` are (name, file), the name "" for that in the file."""

    prompts: Path
    answers: Sequence[tuple[str, Path]] = ()
    annotations: Path | None = None


class Inputs(NamedTuple):
    """What was read of the files.

    Attributes:
        models: the names of all models, in the order of the matrix.
        answers: of the models whose answers are in a file.
        stored: verdicts; None where a judge has to be asked.
    """

    models: tuple[str, ...]
    prompts: Prompts
    prompt: Prompt
    answers: Mapping[str, Answers]
    stored: Stored | None
    data: Mapping[str, DataFile]


def read_inputs(recipe: MatrixRecipe, files: Files, until: Until, limit: int | None = None) -> Inputs:
    """Read all files before anything is asked.

    Raises `InputError` for files that do not belong together, `RecipeError` for fewer than two models, a name
    twice, or a judge that is needed and missing.
    """
    if until != "answers" and not (recipe.judge or files.annotations):
        raise RecipeError("no verdicts: give --judge, stored verdicts with --annotations, or --until answers")
    prompts = read_prompts(files.prompts).first(limit)
    data = {"prompts": prompts.file}
    verdicts = None
    if files.annotations is not None:
        verdicts = read_verdicts(files.annotations, [question.prompt_id for question in prompts.questions])
        data["annotations"] = verdicts.file
    names: list[str] = list(recipe.models)
    answers: dict[str, Answers] = {}
    for name, path in files.answers:
        stored_name, model_answers, file = read_answers(path, prompts)
        name = name or stored_name
        if not name:
            raise InputError(f"{path}: the answers do not name their model: give --answers NAME={path}")
        names.append(name)
        answers[name], data[f"answers/{name}"] = model_answers, file
    models = _checked(names or list(verdicts.models if verdicts else ()))
    if verdicts is not None and (absent := [name for name in models if name not in verdicts.models]):
        raise InputError(
            f"{verdicts.file.file}: no verdict on {absent[0]!r}; it has those on {', '.join(verdicts.models)}"
        )
    return Inputs(models, prompts, judge_prompt(recipe.prompt), answers, verdicts, data)


def _checked(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise RecipeError(
                f"two models are named {name!r}: give each its own, as --models NAME=MODEL or --answers "
                "NAME=FILE"
            )
    # Names are those of directories, in which some characters are replaced.
    if len(set(map(file_name, names))) < len(names):
        raise RecipeError(f"two of the names {', '.join(names)} would be one directory: change one of them")
    if len(names) < 2:
        raise RecipeError(
            f"a matrix compares two models or more, got {len(names)}: give --models NAME=MODEL or "
            "--answers FILE several times"
        )
    return tuple(names)
