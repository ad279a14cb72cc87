"""What is written of a matrix: the outcome of all models, and of each model against the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pairkit.evaluation.answers import Question
from pairkit.evaluation.matrix.about import judge_statistics
from pairkit.evaluation.matrix.judging import Texts
from pairkit.evaluation.matrix.stored import turned
from pairkit.evaluation.matrix.table import Cell, scores_over
from pairkit.evaluation.measures import Measured, weighted_mean
from pairkit.evaluation.names import MEAN_WIN_RATE, WIN_RATE_OVER
from pairkit.evaluation.results import Outcome, Verdict, verdicts_table
from pairkit.intervals import Floats

BENCHMARK = "matrix"


def outcome_of(
    model: str,
    questions: Sequence[Question],
    cells: Sequence[Cell],
    verdicts: Sequence[Verdict],
    texts: Texts,
    about: Mapping[str, Any],
) -> Outcome:
    """Return the outcome of one model: its win rate over the others, and over each of them."""
    over = scores_over(model, cells)
    own = [
        verdict if verdict.model == model else turned(verdict)
        for verdict in verdicts
        if model in (verdict.model, verdict.reference)
    ]
    measurements = [mean_win_rate("win_rate", questions, over)]
    if len(over) > 1:
        measurements += [
            _measured(f"{WIN_RATE_OVER}{other}", questions, scores) for other, scores in over.items()
        ]
    return Outcome(
        BENCHMARK,
        None,
        model,
        measurements,
        _missing(own),
        _details(model, questions, over, texts),
        {"reference": ", ".join(over), "judge_statistics": judge_statistics(own, Counter(), texts), **about},
        verdicts_table(own),
    )


def outcome_of_all(
    models: Sequence[str],
    questions: Sequence[Question],
    cells: Sequence[Cell],
    verdicts: Sequence[Verdict],
    about: Mapping[str, Any],
    notes: Sequence[str],
) -> Outcome:
    """Return the outcome of the matrix: the mean win rate of each model over the others."""
    measurements = [
        mean_win_rate(f"{MEAN_WIN_RATE}{model}", questions, scores_over(model, cells)) for model in models
    ]
    return Outcome(
        BENCHMARK,
        None,
        ", ".join(models),
        measurements,
        _missing(verdicts),
        {},
        about,
        verdicts_table(verdicts),
        notes,
    )


def mean_win_rate(name: str, questions: Sequence[Question], over: Mapping[str, Floats]) -> Measured:
    """Return the mean of a model's win rates over each other one, from its scores `[n]` against each.

    Where scores are missing, prompts have influence through the cells that they have a score in.
    """
    scores = np.array(list(over.values()))  # [K - 1, n]
    mask = ~np.isnan(scores)
    if mask.all():
        return _measured(name, questions, scores.mean(axis=0))
    count = mask.sum(axis=0)
    each = np.divide(
        np.where(mask, scores, 0.0).sum(axis=0), count, out=np.full(len(questions), np.nan), where=count > 0
    )
    rows = [row for row in range(len(scores)) if mask[row].any()]
    if len(scores) == 1 or not rows:
        return _measured(name, questions, each)
    influence = np.zeros(len(questions))
    values = []
    for row in rows:
        # Each model counts the same, however many of its scores are missing.
        value, of_cell = weighted_mean(scores[row][mask[row]], np.ones(mask[row].sum()))
        influence[mask[row]] += of_cell / len(rows)
        values.append(value)
    return _measured(name, questions, each, value=float(np.mean(values)), influence=influence)


def _measured(name: str, questions: Sequence[Question], scores: Floats, **estimate: Any) -> Measured:
    keys = [question.prompt_id for question in questions]
    categories = [question.category for question in questions]
    return Measured(
        name,
        keys,
        scores,
        share=True,
        categories=categories if any(category is not None for category in categories) else None,
        **estimate,
    )


def _missing(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """Return why a prompt lacks a score against some model, by prompt_id."""
    keys = {(v.prompt_id, v.model, v.reference) for v in verdicts if v.points is not None}
    reasons: dict[str, str] = {}
    for verdict in verdicts:
        if (verdict.prompt_id, verdict.model, verdict.reference) not in keys:
            reasons.setdefault(verdict.prompt_id, verdict.reason or "no_verdict")
    return reasons


def _details(
    model: str, questions: Sequence[Question], over: Mapping[str, Floats], texts: Texts
) -> dict[str, dict[str, Any]]:
    """Return what scores.parquet holds of a prompt: lengths in characters."""
    details: dict[str, dict[str, Any]] = {}
    for question in questions:
        key = question.prompt_id
        lengths = {name: len(texts[name][key]) for name in [model, *over] if key in texts.get(name, {})}
        if lengths:
            details[key] = {"lengths": lengths}
    return details
