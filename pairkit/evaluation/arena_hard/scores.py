"""The third step: scores of a category, plain, as Elo, and at controlled style."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pairkit.evaluation.answers import Question
from pairkit.evaluation.arena_hard.fit import NoMaximumError
from pairkit.evaluation.arena_hard.games import Battles, Game, Scored, battles_of, scored
from pairkit.evaluation.arena_hard.labels import Version
from pairkit.evaluation.arena_hard.pool import PoolRun, Styles
from pairkit.evaluation.arena_hard.style import CONTROLS
from pairkit.evaluation.arena_hard.style_control import (
    ESTIMATORS,
    PUBLIC_RESAMPLES,
    Controlled,
    Public,
    StyleControl,
    controlled,
    published_control,
)
from pairkit.evaluation.arena_hard.style_control import Battles as StyledBattles
from pairkit.evaluation.measures import Measured, measure

# Elo of the reference, and of a model that wins ten times as often as it loses, more.
_ELO, _DECADE = 1000.0, 400.0


class CategoryScores(NamedTuple):
    """The scores of the questions of one category.

    Attributes:
        controls: style, length, markdown -> the score with it controlled.
        published: score and controls as the public code gives them.
        why_not: control -> why it is not there.
        pool: the models that style was pooled over.
    """

    questions: Sequence[Question]
    scored: Scored
    battles: Battles
    controls: Mapping[str, Controlled]
    published: Mapping[str, Public]
    why_not: Mapping[str, str]
    pool: Sequence[str]


def category_scores(
    questions: Sequence[Question],
    games: Sequence[Game],
    styles: Styles,
    model: str,
    pool: Sequence[PoolRun],
    version: Version,
    style: StyleControl,
    seed: int,
) -> CategoryScores:
    """Score the games about these questions."""
    prompt_scores = scored(questions, games, version)
    battles = battles_of(prompt_scores.games)
    controls: dict[str, Controlled] = {}
    public_scores: dict[str, Public] = {}
    why_not: dict[str, str] = {}
    if battles.total:
        public_scores["score"] = published_score(battles, version, seed)
        styled_battles, why = _styled(questions, prompt_scores, styles, pool, version)
        for name, columns in CONTROLS.items():
            reason = why or _needs_lengths(name, styles, version)
            if styled_battles is None or reason is not None:
                why_not[name] = reason or "no battles"
                continue
            try:
                controls[name] = controlled(
                    styled_battles, columns, version, style, prompts=len(questions), seed=seed
                )
                public_scores[name] = published_control(styled_battles, columns, version, seed=seed)
            except NoMaximumError:
                why_not[name] = "the battles do not determine it: they are too few, or all ended alike"
    models = [model, *(run.model for run in pool)]
    return CategoryScores(questions, prompt_scores, battles, controls, public_scores, why_not, models)


def published_score(battles: Battles, version: Version, seed: int) -> Public:
    """Return score and interval as the public code gives them, which takes battles for independent.

    v0.1: the score, 95 % of 100 resamples; v2.0: the mean of 100 resamples, 90 %.
    """
    counts = np.array(battles, dtype=np.float64)
    points = np.array([1.0, 0.5, 0.0])
    random = np.random.default_rng(seed)
    scores = random.multinomial(battles.total, counts / counts.sum(), PUBLIC_RESAMPLES) @ points
    scores = scores / battles.total
    if version == "0.1":
        low, high = np.quantile(scores, [0.025, 0.975])
        return Public(float(counts @ points) / battles.total, float(low), float(high))
    low, high = np.quantile(scores, [0.05, 0.95])
    return Public(float(scores.mean()), float(low), float(high))


def error_by_battle(battles: Battles) -> float | None:
    """Return the standard error of the score if all battles were independent, which they are not."""
    count = battles.total
    if count < 2:
        return None
    mean = (battles.wins + battles.ties / 2) / count
    squares = battles.wins * (1 - mean) ** 2 + battles.ties * (0.5 - mean) ** 2 + battles.losses * mean**2
    return math.sqrt(squares / (count - 1) / count)


def elo_of(score: float) -> float:
    """Return the Elo of a score between 0 and 1, both excluded, against the reference's 1000.

    >>> round(elo_of(0.5)), round(elo_of(10 / 11))
    (1000, 1400)
    """
    return _ELO + _DECADE * math.log10(score / (1 - score))


def measured(scores: CategoryScores, suffix: str, seed: int) -> list[Measured]:
    """Return the metrics, the score first; Elo only where it is finite."""
    keys = [question.prompt_id for question in scores.questions]
    categories = [question.category for question in scores.questions]
    score = Measured(
        f"score{suffix}",
        keys,
        scores.scored.points,
        scores.scored.battles,
        share=True,
        categories=categories,
    )
    metrics = [score]
    for name, control in scores.controls.items():
        metrics.append(
            Measured(
                f"{name}_controlled{suffix}",
                keys,
                scores.scored.points,
                scores.scored.battles,
                share=True,
                value=control.value,
                influence=control.influence,
                categories=categories,
                interval=control.interval,
            )
        )
    return [*metrics, *_elo(score, suffix, seed)]


def _elo(score: Measured, suffix: str, seed: int) -> list[Measured]:
    metric = measure(score, seed=seed)
    if metric.value is None or metric.low is None or metric.high is None:
        return []
    value, low, high = metric.value / 100, metric.low / 100, metric.high / 100
    if low <= 0 or high >= 1:
        return []
    mask = ~np.isnan(score.scores)
    assert score.weights is not None
    weights = score.weights[mask]
    n = int(mask.sum())
    influence = np.zeros(len(mask))
    factor = math.sqrt(n / (n - 1)) if n > 1 else math.nan
    # The delta method: the influence on the share, times the slope of Elo in it.
    slope = _DECADE / math.log(10) / (value * (1 - value))
    influence[mask] = slope * factor * (score.scores[mask] - value) * weights / weights.sum()
    return [
        Measured(
            f"elo{suffix}",
            score.prompt_ids,
            score.scores,
            score.weights,
            value=elo_of(value),
            influence=influence,
            categories=score.categories,
            interval=(elo_of(low), elo_of(high)),
        )
    ]


def _needs_lengths(control: str, styles: Styles, version: Version) -> str | None:
    """Return why a control cannot be had without lengths; v0.1's markdown needs none."""
    if styles.lengths is not None or (control == "markdown" and not ESTIMATORS[version].density):
        return None
    return "no token lengths: the files store none, so give tokenizer=NAME"


def _styled(
    questions: Sequence[Question],
    scores: Scored,
    styles: Styles,
    pool: Sequence[PoolRun],
    version: Version,
) -> tuple[StyledBattles | None, str | None]:
    """Return the battles of all models with their features, or why there are none."""
    absent = {game.prompt_id for game in scores.games} - (styles.own.keys() & styles.base.keys())
    if absent:
        return None, (
            f"both answers to {len(absent):,} of the judged prompts are not at hand: give --answers and "
            "--reference"
        )
    place = {question.prompt_id: number for number, question in enumerate(questions)}
    sides = [(scores.games, styles)]
    for run in pool:
        if run.styles.lengths != styles.lengths:
            return (
                None,
                f"the lengths of {run.model} were counted with another tokenizer: {run.styles.lengths}",
            )
        theirs = scored(questions, run.games, version).games
        styled_games = [game for game in theirs if game.prompt_id in run.styles.own]
        # A model without a game would have a weight that nothing determines.
        sides += [(styled_games, run.styles)] if styled_games else []
    features = [of.rows(games) for games, of in sides]
    flat = [(number, game) for number, (games, _) in enumerate(sides) for game in games]
    return (
        StyledBattles(
            np.array([number for number, _ in flat]),
            np.array([place[game.prompt_id] for _, game in flat]),
            np.array([game.points for _, game in flat], dtype=np.float64),
            np.array([game.battles for _, game in flat], dtype=np.float64),
            np.concatenate([own for own, _ in features]),
            np.concatenate([base for _, base in features]),
        ),
        None,
    )


def describe(scores: CategoryScores) -> dict[str, Any]:
    """Return what results.json holds of a category besides its metrics, in percent."""
    error = error_by_battle(scores.battles)
    return {
        "battles": scores.battles._asdict(),
        "as_published": {
            name: {key: 100 * value for key, value in public._asdict().items()}
            for name, public in scores.published.items()
        }
        | {"se_by_battle": None if error is None else 100 * error},
        "style_control": {
            name: {"coefficients": control.coefficients, "constant": control.constant}
            for name, control in scores.controls.items()
        },
        "pool": list(scores.pool),
    }
