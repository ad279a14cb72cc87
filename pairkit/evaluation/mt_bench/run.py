"""`pairkit eval mt_bench`: answers, verdicts and scores, each asked or read from a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pairkit.evaluation.answers import (
    ANSWERS,
    PROMPTS,
    Answers,
    generate_answers,
    questions_sha256,
    write_answers,
    write_prompts,
)
from pairkit.evaluation.files import file_name
from pairkit.evaluation.mt_bench.about import details, missing, notes, statistics
from pairkit.evaluation.mt_bench.agreement import agreement
from pairkit.evaluation.mt_bench.answers import write_model_answers
from pairkit.evaluation.mt_bench.inputs import Inputs, Until
from pairkit.evaluation.mt_bench.judgments import write_judgments
from pairkit.evaluation.mt_bench.recipe import MtBenchRecipe, judge_decoding
from pairkit.evaluation.mt_bench.scores import measured, ratings_of
from pairkit.evaluation.mt_bench.verdicts import Judged, ask_judge, games_of, judged, stored, texts_of
from pairkit.evaluation.results import Outcome, verdicts_table, write_outcome
from pairkit.evaluation.session import Session, session
from pairkit.files import replacing


def run_mt_bench(
    recipe: MtBenchRecipe,
    inputs: Inputs,
    out: Path,
    *,
    until: Until = "scores",
    retry_failed: bool = False,
) -> dict[str, Any] | None:
    """Evaluate a model into `out`; return the content of results.json, None if it ended before scores.

    Writes answers.jsonl and model_answer/MODEL.jsonl, then verdicts.parquet and
    model_judgment/JUDGE_single.jsonl, then scores.parquet and results.json.
    """
    questions = inputs.questions.listed
    with session(out, recipe.calls, retry_failed=retry_failed) as running:
        engine, answers = _answers(recipe, inputs, running)
        if answers is None:
            write_prompts(out / PROMPTS, questions)
        else:
            write_answers(out / ANSWERS, inputs.model, questions, answers)
            public = out / "model_answer" / f"{file_name(inputs.model)}.jsonl"
            write_model_answers(public, inputs.model, questions, answers, recipe.thoughts)
        if until == "answers":
            return None
        judging, judge = _verdicts(recipe, inputs, answers, running)
        verdicts = verdicts_table(judging.verdicts)
        with replacing(out / "verdicts.parquet") as temporary:
            pq.write_table(verdicts, temporary, compression="zstd")
        name = str(judge["name"])
        public = out / "model_judgment" / f"{file_name(name)}_single.jsonl"
        write_judgments(public, name, questions, inputs.prompts, judging.verdicts)
        if until == "verdicts":
            return None
        return write_outcome(out, _outcome(recipe, inputs, answers, judging, judge, engine), recipe.seed)


def _answers(
    recipe: MtBenchRecipe, inputs: Inputs, running: Session
) -> tuple[Mapping[str, Any] | None, Answers | None]:
    """Return the identity of the engine, None if nothing was asked, and the answers, None if unknown."""
    if inputs.answers is not None or (inputs.judgments is not None and not recipe.model):
        return None, inputs.answers
    engine = running.engine(recipe)
    answers = generate_answers(running, engine, inputs.questions.listed, recipe.decoding, seed=recipe.seed)
    return engine.identity, answers


def _verdicts(
    recipe: MtBenchRecipe, inputs: Inputs, answers: Answers | None, running: Session
) -> tuple[Judged, dict[str, Any]]:
    """Return the verdicts, and what results.json holds of their judge."""
    questions = inputs.questions.listed
    texts = {} if answers is None else texts_of(answers, recipe.thoughts)
    if inputs.judgments is not None:
        judging = stored(questions, inputs.judgments, texts)
        verdicts = [verdict._replace(model=inputs.model) for verdict in judging.verdicts]
        return judging._replace(verdicts=verdicts), {"name": inputs.judgments.judge, "stored": True}
    assert recipe.judge is not None  # `read_inputs` refuses that
    assert answers is not None
    engine = running.engine(recipe.judge)
    games = games_of(questions, texts, inputs.prompts, inputs.references)
    readings, counts = ask_judge(running, engine, recipe.judge, games, recipe.seed)
    judging = judged(questions, inputs.model, answers, texts, games, readings)
    about_judge = {
        "name": engine.name,
        "engine": recipe.judge.engine,
        "prompt": inputs.prompts.file,
        "prompt_sha256": inputs.prompts.sha256,
        "decoding": judge_decoding(recipe.judge)._asdict(),
        "chat_template": engine.identity.get("chat"),
    }
    return judging._replace(counts=Counter(judging.counts) + counts), about_judge


def _outcome(
    recipe: MtBenchRecipe,
    inputs: Inputs,
    answers: Answers | None,
    judging: Judged,
    judge: Mapping[str, Any],
    engine: Mapping[str, Any] | None,
) -> Outcome:
    """Score, and describe the result in full. `engine` is the identity of the one that answered."""
    questions, references = inputs.questions.listed, inputs.references
    texts = {} if answers is None else texts_of(answers, recipe.thoughts)
    decodings = {str(question.category): recipe.decoding(question)._asdict() for question in questions}
    entries: dict[str, Any] = {
        "reference_answers": None if references is None else references.model,
        "judge": judge,
        "thoughts": recipe.thoughts,
        "decoding": None
        if engine is None
        else {"by_category": decodings, "chat_template": engine.get("chat")},
        "data": {name: file._asdict() for name, file in inputs.data.items()},
        "questions_sha256": questions_sha256(questions),
        **statistics(questions, texts, judging),
    }
    if inputs.other_judge is not None:
        entries["agreement"] = agreement(judging.verdicts, inputs.other_judge)
    return Outcome(
        "mt_bench",
        None,
        inputs.model,
        measured(questions, ratings_of(questions, judging.verdicts)),
        missing(judging),
        details(questions, texts, judging),
        entries,
        verdicts_table(judging.verdicts),
        notes(
            inputs.questions,
            judging,
            str(judge["name"]),
            None if references is None else references.model,
            inputs.judgments,
        ),
    )
