"""`pairkit eval matrix`: answers, verdicts and scores, each asked or read from a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from pairkit.engines.pool import EnginePool
from pairkit.evaluation.answers import (
    ANSWERS,
    PROMPTS,
    REFERENCE_ANSWERS,
    Answers,
    generate_answers,
    questions_sha256,
    write_answers,
    write_prompts,
)
from pairkit.evaluation.files import file_name
from pairkit.evaluation.matrix.about import judge_statistics, lengths, matrix_entry, notes
from pairkit.evaluation.matrix.inputs import Inputs, Until
from pairkit.evaluation.matrix.judging import (
    ask_judge,
    games_of,
    judged,
    points_of,
    stored_verdicts,
    texts_of,
)
from pairkit.evaluation.matrix.outcomes import outcome_of, outcome_of_all
from pairkit.evaluation.matrix.recipe import MatrixRecipe, judge_recipe
from pairkit.evaluation.matrix.strengths import strengths_of
from pairkit.evaluation.matrix.table import cells_of
from pairkit.evaluation.measures import measure
from pairkit.evaluation.results import Verdict, verdicts_table, write_outcome
from pairkit.evaluation.session import Session, session
from pairkit.files import replacing


class Verdicts(NamedTuple):
    """The verdicts on all pairs, counts of the judge's answers, and what results.json holds of the judge."""

    verdicts: Sequence[Verdict]
    answered: Counter[str]
    judge: Mapping[str, Any]


def run_matrix(
    recipe: MatrixRecipe,
    inputs: Inputs,
    out: Path,
    *,
    until: Until = "scores",
    retry_failed: bool = False,
) -> dict[str, Any] | None:
    """Compare models into `out`; return the content of results.json, None if it ended before scores.

    Writes the answers, then verdicts.parquet, then matrix.png, scores.parquet and results.json. Of two
    models, results are those of the first one against the second; of more, those of the matrix, and
    models/NAME has those of each model.
    """
    with session(out, recipe.calls, retry_failed=retry_failed) as running:
        templates, answers = _answers(recipe, inputs, running)
        _write_answers(inputs, answers, out)
        if until == "answers":
            return None
        judging = _verdicts(recipe, inputs, answers, running)
        with replacing(out / "verdicts.parquet") as temporary:
            pq.write_table(verdicts_table(judging.verdicts), temporary, compression="zstd")
        if until == "verdicts":
            return None
        return _write_scores(recipe, inputs, answers, judging, templates, out)


def model_folder(out: Path, model: str) -> Path:
    """Return the directory of a model's own results."""
    return out / "models" / file_name(model)


def _answers(
    recipe: MatrixRecipe, inputs: Inputs, running: Session
) -> tuple[dict[str, Any], dict[str, Answers]]:
    """Return the chat template of each model that was asked, and the answers of all that have some."""
    templates: dict[str, Any] = {}
    answers = dict(inputs.answers)
    for name, model in recipe.models.items():
        with ExitStack() as stack:
            # Closed before the next one is opened, because two models may not fit into memory.
            alone = Session(
                running.out, EnginePool(recipe.calls, running.pool.cache, stack, budget=running.pool.shared)
            )
            engine = alone.engine(recipe.model_copy(update={"model": model}))
            answers[name] = generate_answers(
                alone, engine, inputs.prompts.questions, recipe.decoding, seed=recipe.seed
            )
            templates[name] = engine.identity.get("chat")
    return templates, answers


def _write_answers(inputs: Inputs, answers: Mapping[str, Answers], out: Path) -> None:
    questions = inputs.prompts.questions
    for place, name in enumerate(inputs.models):
        if name not in answers:
            continue
        path = model_folder(out, name) / ANSWERS
        if len(inputs.models) == 2:
            path = out / (REFERENCE_ANSWERS if place else ANSWERS)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_answers(path, name, questions, answers[name])


def _verdicts(
    recipe: MatrixRecipe, inputs: Inputs, answers: Mapping[str, Answers], running: Session
) -> Verdicts:
    questions, models = inputs.prompts.questions, inputs.models
    if inputs.stored is not None:
        verdicts = stored_verdicts(questions, models, inputs.stored)
        return Verdicts(verdicts, Counter(), dict(inputs.stored.judge))
    assert recipe.judge is not None  # `read_inputs` refuses that
    judge, prompt = judge_recipe(recipe.judge, recipe.prompt, recipe.thoughts), inputs.prompt
    engine = running.engine(recipe.judge)
    games = games_of(questions, models, texts_of(answers, recipe.thoughts), prompt, recipe.seed)
    game_verdicts, counts = ask_judge(
        games, judge, prompt, lambda requests: running.ask(engine, requests, "Judging"), recipe.seed
    )
    about_judge = {
        "name": engine.name,
        "engine": judge.engine,
        "prompt": prompt.name,
        "prompt_version": prompt.header.version,
        "prompt_sha256": prompt.sha256,
        "decoding": {"temperature": judge.temperature, "top_p": 1.0, "max_tokens": judge.max_tokens},
        "chat_template": engine.identity.get("chat"),
    }
    return Verdicts(judged(questions, models, answers, game_verdicts), counts, about_judge)


def _write_scores(
    recipe: MatrixRecipe,
    inputs: Inputs,
    answers: Mapping[str, Answers],
    judging: Verdicts,
    templates: Mapping[str, Any],
    out: Path,
) -> dict[str, Any]:
    # Here, because matplotlib is slow to import and only a finished evaluation is plotted.
    from pairkit.evaluation.matrix.page import matrix_sections
    from pairkit.evaluation.matrix.plot import plot_matrix

    questions, models = inputs.prompts.questions, inputs.models
    points = points_of(questions, models, judging.verdicts)
    cells = cells_of(models, [question.prompt_id for question in questions], points, recipe.seed)
    strengths = strengths_of(np.array([cell.scores for cell in cells]), len(models), recipe.seed)
    texts = texts_of(answers, recipe.thoughts)
    about = _about(recipe, inputs, judging, templates)
    outcomes = [outcome_of(model, questions, cells, judging.verdicts, texts, about) for model in models]
    means = [measure(outcome.measured[0], seed=recipe.seed) for outcome in outcomes]
    entry = matrix_entry(models, cells, means, strengths)
    whole = {
        **about,
        "matrix": entry,
        "answers": lengths(answers, texts),
        "judge_statistics": judge_statistics(judging.verdicts, judging.answered, texts),
    }
    for folder in (out, *(model_folder(out, model) for model in models if len(models) > 2)):
        folder.mkdir(parents=True, exist_ok=True)
        write_prompts(folder / PROMPTS, questions)
    with replacing(out / "matrix.png") as temporary:
        plot_matrix(models, cells, temporary)
    sentences = notes(inputs.prompts, cells, judging.verdicts, entry)
    sections = partial(matrix_sections, entry)
    if len(models) == 2:
        first = outcomes[0]._replace(about={**outcomes[0].about, **whole}, notes=sentences, sections=sections)
        return write_outcome(out, first, recipe.seed)
    for outcome in outcomes:
        write_outcome(model_folder(out, outcome.model), outcome, recipe.seed)
    everything = outcome_of_all(models, questions, cells, judging.verdicts, whole, sentences)
    return write_outcome(out, everything._replace(sections=sections), recipe.seed)


def _about(
    recipe: MatrixRecipe, inputs: Inputs, judging: Verdicts, templates: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "judge": dict(judging.judge),
        "thoughts": recipe.thoughts,
        "decoding": {**recipe.decoding()._asdict(), "chat_templates": dict(templates)} if templates else None,
        "data": {name: file._asdict() for name, file in inputs.data.items()},
        "questions_sha256": questions_sha256(inputs.prompts.questions),
    }
