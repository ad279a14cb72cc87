"""`pairkit eval alpaca_eval`: answers, verdicts and scores, each asked or read from a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairkit.engines.base import Problem
from pairkit.evaluation.alpaca_eval.about import annotator, details, notes, statistics
from pairkit.evaluation.alpaca_eval.agreement import agreement
from pairkit.evaluation.alpaca_eval.annotations import ANNOTATIONS, NO_ANNOTATION, write_annotations
from pairkit.evaluation.alpaca_eval.answers import MODEL_OUTPUTS, write_model_outputs
from pairkit.evaluation.alpaca_eval.head_to_head import predictions
from pairkit.evaluation.alpaca_eval.inputs import Inputs, Until
from pairkit.evaluation.alpaca_eval.recipe import AlpacaEvalRecipe
from pairkit.evaluation.alpaca_eval.scores import difficulty_of, measured, scores
from pairkit.evaluation.alpaca_eval.verdicts import Judged, ask_judge, decoding_of, games_of, judged, stored
from pairkit.evaluation.answers import (
    ANSWERS,
    REFERENCE_ANSWERS,
    Answer,
    Answers,
    generate_answers,
    only_text,
    questions_sha256,
    write_answers,
)
from pairkit.evaluation.results import Outcome, verdicts_table, write_outcome
from pairkit.evaluation.session import Session, session
from pairkit.files import replacing

VERSION = "2"


def run_alpaca_eval(
    recipe: AlpacaEvalRecipe,
    inputs: Inputs,
    out: Path,
    *,
    until: Until = "scores",
    retry_failed: bool = False,
) -> dict[str, Any] | None:
    """Evaluate a model into `out`; return the content of results.json, None if it ended before scores.

    Writes answers.jsonl, reference_answers.jsonl and model_outputs.json, then annotations.json and
    verdicts.parquet, then scores.parquet and results.json.
    """
    with session(out, recipe.calls, retry_failed=retry_failed) as running:
        identity, answers = _answers(recipe, inputs, running)
        texts = _write_answers(inputs, answers, out)
        if until == "answers":
            return None
        judging, judge = _verdicts(recipe, inputs, texts, running)
        with replacing(out / "verdicts.parquet") as temporary:
            pq.write_table(verdicts_table(judging.verdicts), temporary, compression="zstd")
        write_annotations(
            out / ANNOTATIONS, annotator(judge), inputs.model, inputs.reference, texts, judging.points
        )
        if until == "verdicts":
            return None
        outcome = _outcome(recipe, inputs, answers, texts, judging, judge, identity)
        return write_outcome(out, outcome, recipe.seed)


def _answers(
    recipe: AlpacaEvalRecipe, inputs: Inputs, running: Session
) -> tuple[Mapping[str, Any] | None, Answers]:
    """Return the identity of the engine, None if nothing was asked, and the answers."""
    if inputs.answers is not None:
        return None, inputs.answers
    engine = running.engine(recipe)
    answers = generate_answers(running, engine, inputs.reference.questions, recipe.decoding, seed=recipe.seed)
    return engine.identity, answers


def _write_answers(inputs: Inputs, answers: Answers, out: Path) -> dict[str, str]:
    """Write the answers of the model and the reference; return the texts of the model that are judged."""
    reference, thoughts = inputs.reference, inputs.thoughts
    base: Answers = {
        question.prompt_id: Answer((reference.answers[question.prompt_id],))
        for question in reference.questions
    }
    write_answers(out / ANSWERS, inputs.model, reference.questions, answers)
    write_answers(out / REFERENCE_ANSWERS, reference.generator, reference.questions, base)
    write_model_outputs(out / MODEL_OUTPUTS, inputs.model, reference.questions, answers, thoughts)
    texts = {key: only_text(answer, thoughts) for key, answer in answers.items()}
    return {key: text for key, text in texts.items() if text is not None}


def _verdicts(
    recipe: AlpacaEvalRecipe, inputs: Inputs, texts: Mapping[str, str], running: Session
) -> tuple[Judged, dict[str, Any]]:
    """Return the verdicts, and what results.json holds of their judge."""
    if inputs.annotations is not None:
        judging = stored(inputs.annotations, inputs.reference, inputs.model)
        return judging, {"name": inputs.annotations.judge or "unknown", "stored": True}
    assert recipe.judge is not None  # `read_inputs` refuses that
    engine = running.engine(recipe.judge)
    games = games_of(inputs.reference, texts, inputs.prompt, recipe.verdict)
    readings, counts = ask_judge(running, engine, recipe.judge, games, recipe.verdict, recipe.seed)
    judging = judged(inputs.reference, inputs.model, texts, games, readings)
    about_judge = {
        "name": engine.name,
        "engine": recipe.judge.engine,
        "verdict": recipe.verdict,
        "prompt": inputs.prompt.file,
        "prompt_sha256": inputs.prompt.sha256,
        "decoding": decoding_of(recipe.judge, recipe.verdict)._asdict(),
        "chat_template": engine.identity.get("chat"),
    }
    return judging._replace(counts=Counter(judging.counts) + counts), about_judge


def _outcome(
    recipe: AlpacaEvalRecipe,
    inputs: Inputs,
    answers: Answers,
    texts: Mapping[str, str],
    judging: Judged,
    judge: Mapping[str, Any],
    engine: Mapping[str, Any] | None,
) -> Outcome:
    """Score, and describe the result in full. `engine` is the identity of the one that answered."""
    reference = inputs.reference
    win_rates = scores(reference, texts, judging.points, inputs.gamed)
    missing = {key: answer.reason for key, answer in answers.items() if isinstance(answer, Problem)}
    reason = "no_verdict" if inputs.annotations is None else NO_ANNOTATION
    unjudged = {key: reason for key in texts if judging.points.get(key) is None}
    entries: dict[str, Any] = {
        "reference": reference.generator,
        "judge": judge,
        "decoding": None
        if engine is None
        else {**recipe.decoding()._asdict(), "chat_template": engine.get("chat")},
        "data": {name: file._asdict() for name, file in inputs.data.items()},
        "thoughts": inputs.thoughts,
        "questions_sha256": questions_sha256(reference.questions),
        **statistics(reference, texts, win_rates, judging),
    }
    if inputs.other_judge is not None:
        entries["agreement"] = agreement(judging.points, texts, inputs.other_judge)
    if inputs.published is not None and win_rates.controlled is not None and inputs.gamed is not None:
        difficulty = difficulty_of(reference, inputs.gamed)
        weights = win_rates.controlled.weights
        entries["predicted_win_rates"] = predictions(weights, inputs.published.weights, difficulty)
    return Outcome(
        "alpaca_eval",
        VERSION,
        inputs.model,
        measured(reference, win_rates),
        {**unjudged, **judging.missing, **missing},
        details(reference, texts, win_rates),
        entries,
        verdicts_table(judging.verdicts),
        notes(reference, texts, win_rates, judge, inputs.gamed),
    )
