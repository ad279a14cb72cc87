"""`pairkit eval ifeval`: answers, then scores; the answers are generated or read from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, NamedTuple

from pairkit.errors import RecipeError
from pairkit.evaluation.answers import (
    ANSWERS,
    Answers,
    generate_answers,
    questions_sha256,
    unanswered,
    write_answers,
)
from pairkit.evaluation.ifeval.questions import QUESTIONS, Prompts, read_prompts
from pairkit.evaluation.ifeval.recipe import IfevalRecipe
from pairkit.evaluation.ifeval.responses import RESPONSES, read_responses, write_responses
from pairkit.evaluation.ifeval.scoring import details, kinds, measured, require_known, verify
from pairkit.evaluation.plan import Planned, Rehearsal, planned
from pairkit.evaluation.results import Outcome, write_outcome
from pairkit.evaluation.rows import DataFile
from pairkit.evaluation.session import session
from pairkit.evaluation.versions import check_version
from pairkit.rankers.ifeval import Verifier, load_verifier

Until = Literal["answers", "scores"]


class Inputs(NamedTuple):
    """What was read of the files; `answers` is None where the model has to be asked."""

    model: str
    prompts: Prompts
    answers: Answers | None
    data: dict[str, DataFile]


def read_inputs(
    recipe: IfevalRecipe,
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
    prompts = read_prompts(questions, limit)
    count, known = prompts.file.rows, prompts.known
    check_version(questions, count, QUESTIONS, "IFEval", known=known, other_version=other_version)
    data = {"questions": prompts.file}
    if answers is not None:
        stored_name, stored_answers, data["answers"] = read_responses(answers, prompts.questions)
        if not (model := recipe.shown_name or stored_name):
            raise RecipeError(f"{answers}: its answers do not name their model: give --name")
        return Inputs(model, prompts, stored_answers, data)
    if not recipe.model:
        raise RecipeError("no answers: give --model, or stored answers with --answers FILE")
    return Inputs(recipe.shown_name, prompts, None, data)


def plan_ifeval(recipe: IfevalRecipe, inputs: Inputs, running: Rehearsal) -> dict[str, Planned]:
    """Return the calls of each step."""
    if inputs.answers is not None:
        return {}
    engine = running.answering(recipe)
    generate_answers(running, engine, inputs.prompts.questions, recipe.decoding, seed=recipe.seed)
    return {"answers": planned(engine)}


def run_ifeval(
    recipe: IfevalRecipe, inputs: Inputs, out: Path, *, until: Until = "scores", retry_failed: bool = False
) -> dict[str, Any] | None:
    """Evaluate a model into `out`; return the content of results.json, None if it ended before scores.

    Writes answers.jsonl and the same in IFEval's format, then scores.parquet and results.json.

    Raises `MissingExtraError` if what verifies the answers is not installed, before anything is asked.
    """
    verifier = None
    if until == "scores":
        verifier = load_verifier()
        require_known(verifier, inputs.prompts)
    with session(out, recipe.calls, retry_failed=retry_failed) as running:
        questions, answers, chat = inputs.prompts.questions, inputs.answers, None
        if answers is None:
            engine = running.engine(recipe)
            chat = engine.identity.get("chat")
            answers = generate_answers(running, engine, questions, recipe.decoding, seed=recipe.seed)
        write_answers(out / ANSWERS, inputs.model, questions, answers)
        write_responses(out / RESPONSES, questions, answers, recipe.thoughts)
        if verifier is None:
            return None
        return write_outcome(out, _outcome(recipe, inputs, answers, verifier, chat), recipe.seed)


def _outcome(
    recipe: IfevalRecipe, inputs: Inputs, answers: Answers, verifier: Verifier, chat: Any
) -> Outcome:
    prompts = inputs.prompts
    verdicts = verify(verifier, prompts, answers, recipe.thoughts)
    own_answers = inputs.answers is None
    about = {
        "decoding": {**recipe.decoding()._asdict(), "chat_template": chat} if own_answers else None,
        "verifier": verifier.versions,
        "kinds": kinds(prompts, verdicts),
        "random_verdicts": prompts.random,
        "data": {name: file._asdict() for name, file in inputs.data.items()},
        "questions_sha256": questions_sha256(prompts.questions),
        "thoughts": recipe.thoughts,
    }
    return Outcome(
        "ifeval",
        None,
        inputs.model,
        measured(prompts, verdicts, answers),
        unanswered(answers),
        details(prompts, verdicts),
        about,
        notes=notes(prompts),
    )


def notes(prompts: Prompts) -> list[str]:
    """Return sentences that qualify the numbers."""
    sentences = []
    count = len(prompts.questions)
    if count < QUESTIONS:
        sentences.append(f"{count:,} of IFEval's {QUESTIONS} prompts: no number for a published table")
    elif not prompts.known:
        sentences.append(f"another version of the prompts than the known {QUESTIONS}")
    if prompts.random:
        sentences.append(
            f"the verdicts of prompts {', '.join(prompts.random)} are random in every public verifier, which "
            "counts a drawn letter instead of the given character; here it is the same letter for every model"
        )
    return sentences
