"""The scores of MT-Bench from ratings: the average over turns, each turn, and each category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairkit.evaluation.answers import Question
from pairkit.evaluation.measures import Measured
from pairkit.evaluation.mt_bench.questions import TURNS
from pairkit.evaluation.mt_bench.rating import LOWEST
from pairkit.evaluation.results import Verdict
from pairkit.intervals import Floats


def ratings_of(questions: Sequence[Question], verdicts: Sequence[Verdict]) -> Floats:
    """Return the ratings `[questions, turns]`, NaN for a missing one."""
    places = {question.prompt_id: place for place, question in enumerate(questions)}
    ratings = np.full((len(questions), TURNS), np.nan)
    for verdict in verdicts:
        if verdict.points is not None:
            ratings[places[verdict.prompt_id], verdict.turn - 1] = verdict.points
    return ratings


def measured(questions: Sequence[Question], ratings: Floats) -> list[Measured]:
    """Return the metrics of ratings `[questions, turns]`, the headline first.

    average: the mean over all ratings, which is not the mean of the turns' where ratings are missing; both
    turns of a question are one score.
    average_missing_as_1: the average if each missing rating counts 1.
    """
    keys = [question.prompt_id for question in questions]
    categories = [question.category for question in questions]
    average = _average("average", keys, ratings, categories)
    turns = [
        Measured(f"turn_{turn}", keys, column.copy(), categories=categories)
        for turn, column in enumerate(ratings.T, start=1)
    ]
    filled_ratings = np.where(np.isnan(ratings), LOWEST, ratings)
    with_missing = _average("average_missing_as_1", keys, filled_ratings, categories)
    return [average, *turns, with_missing, *_parts(keys, ratings, categories)]


def _average(name: str, keys: Sequence[str], ratings: Floats, categories: Sequence[str | None]) -> Measured:
    mask = ~np.isnan(ratings)
    # A score's weight is its number of ratings, so that the metric is the mean over all of them.
    count = mask.sum(axis=1).astype(np.float64)
    total = np.where(mask, ratings, 0.0).sum(axis=1)
    scores = np.divide(total, count, out=np.full(len(keys), np.nan), where=count > 0)
    return Measured(name, keys, scores, count, categories=categories)


def _parts(keys: Sequence[str], ratings: Floats, categories: Sequence[str | None]) -> list[Measured]:
    parts = []
    for category in dict.fromkeys(categories):
        rows = [place for place, of in enumerate(categories) if of == category]
        part_keys = [keys[place] for place in rows]
        parts.append(_average(f"average/{category}", part_keys, ratings[rows], [category] * len(rows)))
    return parts
