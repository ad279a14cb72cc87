"""`pairkit eval gsm8k`: answers, then scores; the answers are generated or read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pairkit.errors import RecipeError
from pairkit.evaluation.answers import (
    ANSWERS,
    Answers,
    generate_answers,
    questions_sha256,
    read_own,
    unanswered,
    write_answers,
)
from pairkit.evaluation.gsm8k.questions import QUESTIONS, Problems, read_problems
from pairkit.evaluation.gsm8k.recipe import Gsm8kRecipe
from pairkit.evaluation.gsm8k.scoring import Scored, measured, score
from pairkit.evaluation.plan import Planned, Rehearsal, planned
from pairkit.evaluation.results import Outcome, write_outcome
from pairkit.evaluation.rows import DataFile
from pairkit.evaluation.session import session
from pairkit.evaluation.versions import check_version

Until = Literal["answers", "scores"]


class Inputs(NamedTuple):
    """What was read of the files; `answers` is None where the model has to be asked."""

    model: str
    problems: Problems
    answers: Answers | None
    data: dict[str, DataFile]


def read_inputs(
    recipe: Gsm8kRecipe,
    questions: Path,
    answers: Path | None,
    limit: int | None = None,
    *,
    other_version: bool = False,
) -> Inputs:
    """Read all files before anything is asked.

    Raises `InputError` for files that cannot be used, and for other questions than the benchmark's unless
    `other_version`, `RecipeError` for a model that is needed and missing.
    """
    problems = read_problems(questions, recipe.prompt, limit)
    count, known = problems.file.rows, problems.known
    check_version(questions, count, QUESTIONS, "GSM8K's test set", known=known, other_version=other_version)
    data = {"questions": problems.file}
    if answers is not None:
        model, stored_answers, data["answers"] = read_own(answers, problems.questions)
        return Inputs(recipe.name or model, problems, stored_answers, data)
    if not recipe.model:
        raise RecipeError("no answers: give --model, or stored answers with --answers FILE")
    return Inputs(recipe.shown_name, problems, None, data)


def plan_gsm8k(recipe: Gsm8kRecipe, inputs: Inputs, running: Rehearsal) -> dict[str, Planned]:
    """Return the calls of each step."""
    if inputs.answers is not None:
        return {}
    engine = running.answering(recipe)
    generate_answers(
        running, engine, inputs.problems.questions, recipe.decoding, seed=recipe.seed, system=recipe.system
    )
    return {"answers": planned(engine)}


def run_gsm8k(
    recipe: Gsm8kRecipe, inputs: Inputs, out: Path, *, until: Until = "scores", retry_failed: bool = False
) -> dict[str, Any] | None:
    """Evaluate a model into `out`; return the content of results.json, None if it ended before scores.

    Writes answers.jsonl, then scores.parquet and results.json.
    """
    with session(out, recipe.calls, retry_failed=retry_failed) as running:
        questions, answers, chat = inputs.problems.questions, inputs.answers, None
        if answers is None:
            engine = running.engine(recipe)
            chat = engine.identity.get("chat")
            answers = generate_answers(
                running, engine, questions, recipe.decoding, seed=recipe.seed, system=recipe.system
            )
        write_answers(out / ANSWERS, inputs.model, questions, answers)
        if until == "answers":
            return None
        scores = score(inputs.problems, answers, recipe.thoughts)
        return write_outcome(out, _outcome(recipe, inputs, answers, scores, chat), recipe.seed)


def _outcome(recipe: Gsm8kRecipe, inputs: Inputs, answers: Answers, scores: Scored, chat: Any) -> Outcome:
    problems = inputs.problems
    details = {
        key: {"number": number, "right": problems.numbers[key], "truncated": scores.truncated[key]}
        for key, number in scores.number.items()
    }
    own_answers = inputs.answers is None
    about = {
        "decoding": {**recipe.decoding()._asdict(), "chat_template": chat} if own_answers else None,
        "instruction": {"text": recipe.instruction, "in": recipe.instruction_in} if own_answers else None,
        "data": {name: file._asdict() for name, file in inputs.data.items()},
        "questions_sha256": questions_sha256(problems.questions),
    }
    return Outcome(
        "gsm8k",
        None,
        inputs.model,
        measured(problems, scores),
        unanswered(answers),
        details,
        about,
        notes=_notes(problems),
    )


def _notes(problems: Problems) -> list[str]:
    count = len(problems.questions)
    if not problems.known:
        return [f"{count:,} problems; not GSM8K's whole test set: no number for a published table"]
    if count < QUESTIONS:
        return [f"{count:,} of GSM8K's {QUESTIONS:,} problems: no number for a published table"]
    return []
