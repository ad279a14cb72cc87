"""The two games of a prompt, and the scores that both versions make of them.

In game 0 the reference is assistant A and the model B, in game 1 the other way round. A strong verdict counts
as three battles. v0.1 drops a game without a verdict and keeps the other, v2.0 drops the prompt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.evaluation.answers import Question
from pairkit.evaluation.arena_hard.labels import Version, won_by
from pairkit.evaluation.arena_hard.versions import BENCHMARKS
from pairkit.evaluation.results import Verdict, verdicts_table
from pairkit.intervals import Floats


class Game(NamedTuple):
    """A game that was played.

    Attributes:
        game: 0 or 1; None for a battle of a file that does not state which.
        label: the verdict in the judge's terms, None if there is none.
        answer: the judge's words, None if they were not kept.
        points: of the model, 1, 1/2 or 0; None without a verdict.
        battles: how many it counts.
        reason: why there is no verdict.
    """

    prompt_id: str
    game: int | None
    label: str | None
    answer: str | None = None
    points: float | None = None
    battles: int = 1
    reason: str | None = None


def game_of(
    prompt_id: str, game: int, label: str | None, answer: str | None = None, reason: str = "no_verdict"
) -> Game:
    """Make a game from its label, or from the `reason` why it has none."""
    if label is None:
        return Game(prompt_id, game, None, answer, reason=reason)
    first, battles = won_by(label)
    return Game(prompt_id, game, label, answer, first if game == 1 else 1 - first, battles)


class Scored(NamedTuple):
    """The scores of prompts, in the order of the questions.

    Attributes:
        points: mean points of the battles of each prompt, NaN without, `[n]`.
        battles: how many battles each has, `[n]`.
        games: those that count.
        missing: prompt_id -> why it has no score.
        halves: prompts of which one game counts.
    """

    points: Floats
    battles: Floats
    games: Sequence[Game]
    missing: Mapping[str, str]
    halves: int


def scored(questions: Sequence[Question], games: Sequence[Game], version: Version) -> Scored:
    """Return the scores of prompts from their games; one that has no game is not in `missing`."""
    by_prompt: dict[str, list[Game]] = defaultdict(list)
    for game in games:
        by_prompt[game.prompt_id].append(game)
    points, battles = np.full(len(questions), np.nan), np.zeros(len(questions))
    all_valid_games: list[Game] = []
    missing: dict[str, str] = {}
    halves = 0
    for place, question in enumerate(questions):
        of = by_prompt.get(question.prompt_id, [])
        valid_games = [game for game in of if game.points is not None]
        # Battles of a file that does not state games may be one or several: none of them is missing.
        lacks = len(of) > len(valid_games) or len(of) == 1
        if BENCHMARKS[version].drops_prompts and lacks and not _only_battles(of):
            valid_games = []
        if not valid_games:
            if of:
                missing[question.prompt_id] = next((g.reason for g in of if g.reason), "no_verdict")
            continue
        halves += len(valid_games) == 1 and not _only_battles(of)
        weights = np.array([game.battles for game in valid_games], dtype=np.float64)
        battles[place] = weights.sum()
        points[place] = float(weights @ np.array([game.points for game in valid_games])) / battles[place]
        all_valid_games += valid_games
    return Scored(points, battles, all_valid_games, missing, halves)


def _only_battles(games: Sequence[Game]) -> bool:
    return any(game.game is None for game in games)


class Battles(NamedTuple):
    """How a model's battles ended."""

    wins: int
    ties: int
    losses: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def battles_of(games: Sequence[Game]) -> Battles:
    """Count battles."""
    counts: Counter[float] = Counter()
    for game in games:
        if game.points is not None:
            counts[game.points] += game.battles
    return Battles(counts[1.0], counts[0.5], counts[0.0])


def judge_counts(games: Sequence[Game]) -> Counter[str]:
    """Return counts of `rankers.judge.statistics.COUNTS`; a battle does not tell its order."""
    counts: Counter[str] = Counter()
    pairs: dict[str, dict[int, float]] = defaultdict(dict)
    for game in games:
        if game.game is None:
            continue
        counts["questions"] += 1
        counts["unanswered"] += game.points is None
        if game.points is None:
            continue
        first = game.points if game.game == 1 else 1 - game.points
        counts["first_wins" if first > 0.5 else "second_wins" if first < 0.5 else "ties"] += 1
        pairs[game.prompt_id][game.game] = game.points
    for both in pairs.values():
        if len(both) == 2:
            counts["swapped"] += 1
            counts["same"] += both[0] == both[1]
            counts["flips"] += abs(both[0] - both[1]) == 1
    return counts


def games_table(games: Sequence[Game], model: str, references: Mapping[str, str]) -> pa.Table:
    """Return the rows of verdicts.parquet, with how many battles each counts; references by prompt_id."""
    verdicts = [
        Verdict(
            game.prompt_id,
            model,
            references.get(game.prompt_id),
            game.game,
            answer=game.answer,
            verdict=game.label,
            points=game.points,
            reason=game.reason,
        )
        for game in games
    ]
    return verdicts_table(verdicts).append_column(
        "battles", pa.array([game.battles for game in games], pa.int64())
    )
