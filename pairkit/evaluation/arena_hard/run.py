"""`pairkit eval arena_hard`: answers, verdicts and scores, each asked or read from a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq

from pairkit.engines.base import Problem
from pairkit.evaluation.answers import (
    ANSWERS,
    PROMPTS,
    REFERENCE_ANSWERS,
    Answer,
    Answers,
    Question,
    generate_answers,
    only_text,
    questions_sha256,
    write_answers,
    write_prompts,
)
from pairkit.evaluation.arena_hard.about import notes, statistics
from pairkit.evaluation.arena_hard.agreement import agreement
from pairkit.evaluation.arena_hard.answers import public_name, write_public
from pairkit.evaluation.arena_hard.games import Game, games_table, judge_counts
from pairkit.evaluation.arena_hard.inputs import Inputs, Until
from pairkit.evaluation.arena_hard.judging import ask_judge, decoding_of, questions_to_judge
from pairkit.evaluation.arena_hard.judgments import JUDGMENTS, UNKNOWN, write_judgments
from pairkit.evaluation.arena_hard.pool import Styles, write_styles
from pairkit.evaluation.arena_hard.recipe import ArenaHardRecipe
from pairkit.evaluation.arena_hard.scores import CategoryScores, category_scores, describe, measured
from pairkit.evaluation.arena_hard.style import CountTokens, style_of
from pairkit.evaluation.results import Outcome, write_outcome
from pairkit.evaluation.session import Session, session
from pairkit.files import replacing


class Judged(NamedTuple):
    """The games, their judge's entry of results.json, the judge's counts, and texts that held a verdict."""

    games: Sequence[Game]
    judge: Mapping[str, Any]
    counts: Mapping[str, int]
    quoted: int


def run_arena_hard(
    recipe: ArenaHardRecipe,
    inputs: Inputs,
    out: Path,
    *,
    until: Until = "scores",
    retry_failed: bool = False,
) -> dict[str, Any] | None:
    """Evaluate a model into `out`; return the content of results.json, None if it ended before scores.

    Writes answers.jsonl, reference_answers.jsonl and model_answer/MODEL.jsonl, then judgments.jsonl and
    verdicts.parquet, then style.parquet, scores.parquet and results.json.
    """
    with session(out, recipe.calls, retry_failed=retry_failed) as running:
        chat, answers = _answers(recipe, inputs, running)
        texts = _texts(recipe, answers)
        if answers is None:
            write_prompts(out / PROMPTS, inputs.questions.questions)
        else:
            _write_answers(recipe, inputs, answers, texts, out)
        if until == "answers":
            return None
        judging = _judged(recipe, inputs, texts, running)
        table = games_table(judging.games, inputs.model, inputs.references.names)
        with replacing(out / "verdicts.parquet") as temporary:
            pq.write_table(table, temporary, compression="zstd")
        name = str(judging.judge["name"])
        write_judgments(out / JUDGMENTS, name, inputs.model, inputs.references.names, judging.games)
        if until == "verdicts":
            return None
        styles = _styles(recipe, inputs, texts)
        write_styles(out, styles)
        outcome = _outcome(recipe, inputs, answers, texts, judging, styles, chat)
        return write_outcome(out, outcome._replace(verdicts=table), recipe.seed)


def _answers(recipe: ArenaHardRecipe, inputs: Inputs, running: Session) -> tuple[Any, Answers | None]:
    """Return the chat template of the engine that was asked, and the answers.

    There are none with stored verdicts alone.
    """
    if inputs.answers is not None or inputs.judgments is not None:
        return None, inputs.answers
    engine = running.engine(recipe)
    questions = inputs.questions.questions
    answers = generate_answers(running, engine, questions, recipe.decoding, seed=recipe.seed)
    return engine.identity.get("chat"), answers


def _texts(recipe: ArenaHardRecipe, answers: Answers | None) -> dict[str, str]:
    texts = {key: only_text(answer, recipe.thoughts) for key, answer in (answers or {}).items()}
    return {key: text for key, text in texts.items() if text is not None}


def _write_answers(
    recipe: ArenaHardRecipe, inputs: Inputs, answers: Answers, texts: Mapping[str, str], out: Path
) -> None:
    questions, references = inputs.questions.questions, inputs.references
    write_answers(out / ANSWERS, inputs.model, questions, answers)
    answered_questions = [question for question in questions if question.prompt_id in references.texts]
    if answered_questions:
        base: Answers = {key: Answer((text,)) for key, text in references.texts.items()}
        write_answers(out / REFERENCE_ANSWERS, references.names, answered_questions, base)
    lengths = _lengths(inputs.count_tokens, texts, inputs.tokens)
    folder = out / "model_answer"
    folder.mkdir(exist_ok=True)
    write_public(
        folder / public_name(inputs.model), inputs.model, questions, answers, recipe.thoughts, lengths
    )


def _lengths(
    count: CountTokens | None, texts: Mapping[str, str], token_counts: Mapping[str, int]
) -> dict[str, int]:
    """Return lengths in tokens by prompt_id: counted if a tokenizer was asked for, else as stored."""
    if count is not None:
        return {key: count(text) for key, text in texts.items()}
    return {key: token_counts[key] for key in texts if key in token_counts}


def _styles(recipe: ArenaHardRecipe, inputs: Inputs, texts: Mapping[str, str]) -> Styles:
    references = inputs.references
    lengths = [
        _lengths(inputs.count_tokens, of, token_counts)
        for of, token_counts in ((texts, inputs.tokens), (references.texts, references.tokens))
    ]
    both = [key for key in texts if key in references.texts]
    # Lengths of some prompts alone would be a control on other prompts.
    complete = bool(both) and all(key in side for key in both for side in lengths)
    length_source = (recipe.counted_with or "stored") if complete else None
    own, base = (
        {key: style_of(of[key], side[key] if complete else None) for key in both}
        for of, side in zip((texts, references.texts), lengths, strict=True)
    )
    return Styles(own, base, length_source)


def _judged(recipe: ArenaHardRecipe, inputs: Inputs, texts: Mapping[str, str], running: Session) -> Judged:
    if inputs.judgments is not None:
        games = inputs.judgments.games
        judge = {"name": inputs.judgments.judge or UNKNOWN, "stored": True}
        return Judged(games, judge, judge_counts(games), 0)
    assert recipe.judge is not None  # `read_inputs` refuses that
    engine = running.engine(recipe.judge)
    questions = questions_to_judge(inputs.questions.questions, texts, inputs.references.texts, inputs.prompts)
    games, counts = ask_judge(running, engine, recipe.judge, questions.asked, recipe.version, recipe.seed)
    # Of the categories that are asked about, since one file may be the prompt of several.
    prompts = {inputs.prompts[question.category] for question in inputs.questions.questions}
    about = {
        "name": engine.name,
        "engine": recipe.judge.engine,
        "prompt_sha256": {prompt.file: prompt.sha256 for prompt in sorted(prompts)},
        "decoding": decoding_of(recipe.judge, recipe.version)._asdict(),
        "attempts": recipe.judge.attempts,
        "chat_template": engine.identity.get("chat"),
    }
    return Judged(games, about, judge_counts(games) + Counter(counts), questions.quoted)


def _outcome(
    recipe: ArenaHardRecipe,
    inputs: Inputs,
    answers: Answers | None,
    texts: Mapping[str, str],
    judging: Judged,
    styles: Styles,
    chat: Any,
) -> Outcome:
    questions, references = inputs.questions.questions, inputs.references
    by_category = {
        category: category_scores(
            [question for question in questions if question.category == category],
            judging.games,
            styles,
            inputs.model,
            inputs.pool,
            recipe.version,
            recipe.style_control,
            recipe.seed,
        )
        for category in dict.fromkeys(question.category for question in questions)
    }
    scores = list(by_category.values())
    behavior = statistics(scores, texts, references.texts, judging.counts)
    own_answers = inputs.answers is None and inputs.judgments is None
    names = references.by_category(questions)
    about: dict[str, Any] = {
        "reference": names.get(None, names),
        "judge": judging.judge,
        "decoding": {**recipe.decoding()._asdict(), "chat_template": chat} if own_answers else None,
        "thoughts": recipe.thoughts,
        "data": {name: file._asdict() for name, file in inputs.data.items()},
        "questions_sha256": questions_sha256(questions),
        "style": {"control": recipe.style_control, "lengths": styles.lengths},
        "quoted_verdicts": judging.quoted,
        "scores": {category or "all": describe(of) for category, of in by_category.items()},
        **behavior,
    }
    if inputs.other_judge is not None:
        about["agreement"] = agreement(questions, judging.games, inputs.other_judge, recipe.version)
    return Outcome(
        "arena_hard",
        recipe.version,
        inputs.model,
        [
            metric
            for category, of in by_category.items()
            for metric in measured(of, f"/{category}" if category else "", recipe.seed)
        ],
        _missing(inputs, answers, scores, questions),
        _details(styles, texts, references.texts),
        about,
        notes=notes(recipe, inputs, scores, str(judging.judge["name"]), judging.quoted, behavior["answers"]),
    )


def _missing(
    inputs: Inputs, answers: Answers | None, scores: Sequence[CategoryScores], questions: Sequence[Question]
) -> dict[str, str]:
    """Return why prompts have no score, by prompt_id: no answer, reference, or verdict."""
    missing: dict[str, str] = {}
    judged_ids = {game.prompt_id for of in scores for game in of.scored.games}
    unread = {key: reason for of in scores for key, reason in of.scored.missing.items()}
    for question in questions:
        key = question.prompt_id
        if key in judged_ids:
            continue
        answer = None if answers is None else answers[key]
        if isinstance(answer, Problem):
            missing[key] = answer.reason
        elif inputs.judgments is None and key not in inputs.references.texts:
            missing[key] = "no_reference"
        else:
            missing[key] = unread.get(key, "no_verdict" if inputs.judgments is None else "no_judgment")
    return missing


def _details(styles: Styles, own: Mapping[str, str], base: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return what scores.parquet holds of a prompt: lengths in characters, and the style of both answers."""
    return {
        key: {
            "length": len(own[key]),
            "reference_length": len(base[key]),
            "style": styles.own[key]._asdict(),
            "reference_style": styles.base[key]._asdict(),
        }
        for key in styles.own
    }
