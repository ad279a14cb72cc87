"""The third step: win rates, plain and length-controlled, from points per instruction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from pairkit.evaluation.alpaca_eval.gamed import Gamed
from pairkit.evaluation.alpaca_eval.length_control import (
    LengthControlled,
    Rows,
    Weights,
    length_controlled,
    length_term,
)
from pairkit.evaluation.alpaca_eval.questions import Reference
from pairkit.evaluation.alpaca_eval.win_rate import PublicRow, discrete, public_row
from pairkit.evaluation.measures import Measured, alike
from pairkit.intervals import Floats, wilson_share


class Scores(NamedTuple):
    """The scores of a model.

    Attributes:
        points: `[n]` over the reference's questions, NaN where there is no verdict.
        public: the leaderboard's row; None without any verdict.
        controlled: the LC win rate; None where it cannot be had.
        why_not: why there is no LC win rate.
        length: of the LC model's rows, the mean length term.
    """

    points: Floats
    public: PublicRow | None
    controlled: LengthControlled | None
    why_not: str | None
    length: float | None


def scores(
    reference: Reference, texts: Mapping[str, str], points: Mapping[str, float | None], gamed: Gamed | None
) -> Scores:
    """Compute the scores of the model with these texts and points, by prompt_id."""
    keys = [question.prompt_id for question in reference.questions]
    values = np.array([_or_nan(points.get(key)) for key in keys])
    mask = ~np.isnan(values)
    if not mask.any():
        return Scores(values, None, None, "no answer has a verdict", None)
    answers = [texts[key] for key in keys if key in texts]
    public = public_row(values[mask], answers)
    why = _why_not(reference, gamed)
    if why is not None or gamed is None:
        return Scores(values, public, None, why, None)
    judged_keys = [key for key, has_points in zip(keys, mask, strict=True) if has_points]
    lengths, base = (
        np.array([len(of[key]) for key in judged_keys], dtype=np.float64) for of in (texts, reference.answers)
    )
    term = length_term(lengths, base)
    if all(texts[key] == reference.answers[key] for key in judged_keys):
        control = _reference_itself(len(judged_keys))
    else:
        difficulty = difficulty_of(reference, gamed)[mask]
        control = length_controlled(Rows(values[mask], term, difficulty), gamed.rows)
    return Scores(values, public, control, None, float(term.mean()))


def difficulty_of(reference: Reference, gamed: Gamed) -> Floats:
    """Return the difficulty of each question, `[n]`, joined by instruction and never by row."""
    keys = [question.prompt_id for question in reference.questions]
    return np.array([gamed.difficulty[reference.positions[key]] for key in keys])


def measured(reference: Reference, scores: Scores) -> list[Measured]:
    """Return the metrics, the headline first: LC where there is one, win rate, discrete, by dataset."""
    keys = [question.prompt_id for question in reference.questions]
    categories = [question.category for question in reference.questions]
    plain = Measured("win_rate", keys, scores.points, share=True, categories=categories)
    discrete_rate = Measured(
        "discrete_win_rate", keys, discrete(scores.points), share=True, categories=categories
    )
    parts = []
    for category in sorted({category for category in categories if category is not None}):
        part = plain.rows([of == category for of in categories])
        parts.append(_named(part, f"win_rate/{category}", category))
    return [*_controlled(keys, categories, scores), plain, discrete_rate, *parts]


def _controlled(keys: list[str], categories: list[str | None], scores: Scores) -> Iterator[Measured]:
    if scores.controlled is None:
        return
    mask = ~np.isnan(scores.points)
    predictions = np.full(len(keys), np.nan)
    predictions[mask] = scores.controlled.predicted
    # Zero where there is no verdict: the estimate does not depend on it.
    influence = np.zeros(len(keys))
    influence[mask] = scores.controlled.influence
    value = scores.controlled.value
    # All wins or all ties vary in difficulty alone, which tells nothing of the next comparison.
    interval = wilson_share(value, int(mask.sum()))[1:] if alike(scores.points[mask]) else None
    yield Measured(
        "lc_win_rate",
        keys,
        predictions,
        share=True,
        value=value,
        influence=influence,
        categories=categories,
        interval=interval,
    )


def public_numbers(scores: Scores) -> dict[str, Any] | None:
    """Return what AlpacaEval's leaderboard shows, under its names, in percent."""
    if scores.public is None:
        return None
    numbers: dict[str, Any] = scores.public._asdict()
    if scores.controlled is not None:
        numbers["length_controlled_winrate"] = 100 * scores.controlled.value
        numbers["lc_se_as_published"] = 100 * scores.controlled.se_as_published
    return numbers


def _named(part: Measured, name: str, category: str) -> Measured:
    return Measured(
        name, part.prompt_ids, part.scores, share=True, categories=[category] * len(part.prompt_ids)
    )


def _why_not(reference: Reference, gamed: Gamed | None) -> str | None:
    if gamed is None:
        return "no table of gamed runs was given (--gamed)"
    unknown = [question for question in reference.questions if question.prompt_id not in reference.positions]
    if unknown:
        return (
            f"{len(unknown):,} of the {len(reference.questions):,} instructions are not in AlpacaEval's "
            "evaluation set, and so have no difficulty: give a --reference with its instructions alone"
        )
    return None


def _reference_itself(count: int) -> LengthControlled:
    """Return the 50 % of the reference against itself, which no verdict was needed for."""
    return LengthControlled(0.5, Weights(0.0, 0.0, 0.0), np.full(count, 0.5), np.zeros(count), 0.0)


def _or_nan(value: float | None) -> float:
    return float("nan") if value is None else value
