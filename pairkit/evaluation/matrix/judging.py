"""The games of all pairs of models: asked in both orders, or taken from stored verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from pairkit.engines.asking import Ask
from pairkit.engines.base import Problem
from pairkit.evaluation.answers import Answer, Answers, Question
from pairkit.evaluation.matrix.stored import Stored
from pairkit.evaluation.results import Verdict
from pairkit.evaluation.win_rates import three_valued
from pairkit.intervals import Floats
from pairkit.rankers.judge.prompt import Prompt
from pairkit.rankers.judge.recipe import JudgeRecipe
from pairkit.rankers.judge.rounds import Question as Asked
from pairkit.rankers.judge.rounds import Rounds
from pairkit.rankers.judge.texts import Case, case_of
from pairkit.rankers.thoughts import Thoughts
from pairkit.schema import short_hash

EQUAL = "equal"
# Model -> prompt_id -> the text that is judged, of the prompts that the model has answered.
Texts = Mapping[str, Mapping[str, str]]
_WORDS = {1.0: "win", 0.5: "tie", 0.0: "loss"}
# Texts 0 and 1 of a case are the answers of the pair's first and second model: in which order they are shown,
# by the number of the game.
_SHOWN = {0: (1, 0), 1: (0, 1)}


class Game(NamedTuple):
    """A question to the judge about two answers."""

    prompt_id: str
    model: str
    reference: str
    number: int  # as in `VERDICTS`
    case: Case


def pairs_of(models: Sequence[str]) -> list[tuple[str, str]]:
    """Return all pairs of models, each in the order of the matrix."""
    return list(combinations(models, 2))


def texts_of(answers: Mapping[str, Answers], thoughts: Thoughts) -> dict[str, dict[str, str]]:
    """Return the texts that are judged."""
    return {
        model: {
            key: answer.shown(thoughts)[0] for key, answer in of_model.items() if isinstance(answer, Answer)
        }
        for model, of_model in answers.items()
    }


def games_of(
    questions: Sequence[Question], models: Sequence[str], texts: Texts, prompt: Prompt, seed: int
) -> list[Game]:
    """Return the questions to the judge, both orders of each pair; equal and missing answers need none."""
    boxed = prompt.header.verdict == "boxed"
    games = []
    for model, reference in pairs_of(models):
        for question in questions:
            key = question.prompt_id
            both = [texts[name].get(key) for name in (model, reference)]
            pair = [text for text in both if text is not None]
            if len(pair) < 2 or pair[0] == pair[1]:
                continue
            set_ = {
                # A hash, because names may hold any separator.
                "set_id": short_hash([key, model, reference]),
                "prompt": question.messages,
                "completions": [{"text": text, "tool_calls": None, "origin": "source"} for text in pair],
            }
            case = case_of(0, set_, pair, seed, boxed=boxed)
            games += [Game(key, model, reference, number, case) for number in _SHOWN]
    return games


def ask_judge(
    games: Sequence[Game], recipe: JudgeRecipe, prompt: Prompt, ask: Ask, seed: int
) -> tuple[list[Verdict], Counter[str]]:
    """Ask all questions; return a verdict for each, and the counts of answers.

    Each game counts alone: one that stays without a verdict takes nothing from the other order.
    """
    rounds = Rounds([game.case for game in games], {prompt.name: prompt}, recipe, ask, seed, lambda _: None)
    questions = [Asked(place, _SHOWN[game.number], prompt.name) for place, game in enumerate(games)]
    read = rounds.ask(questions)
    words = {
        (row["set_id"], tuple(row["shown"])): row["answer"]
        # Attempts come in their order, so that the last one stays.
        for row in rounds.verdicts().select(["set_id", "shown", "answer"]).to_pylist()
    }
    verdicts = []
    for place, (game, points) in enumerate(zip(games, read, strict=True)):
        order = _SHOWN[game.number]
        verdict = Verdict(
            game.prompt_id,
            game.model,
            game.reference,
            game.number,
            answer=words.get((game.case.set_id, order)),
        )
        if points is None:
            verdicts.append(verdict._replace(reason=rounds.failed[place].reason))
        else:
            won = float(three_valued(np.array(points[order.index(0)])))
            verdicts.append(verdict._replace(verdict=_WORDS[won], points=won))
    names = ("answers", "unparsable")
    return verdicts, Counter({name: rounds.counts[name] for name in names})


def judged(
    questions: Sequence[Question],
    models: Sequence[str],
    answers: Mapping[str, Answers],
    judge_verdicts: Sequence[Verdict],
) -> list[Verdict]:
    """Return the verdicts on all pairs and prompts: asked ones, ties of equal answers, missing ones."""
    by_pair: dict[tuple[str, str, str | None], list[Verdict]] = {}
    for verdict in judge_verdicts:
        by_pair.setdefault((verdict.prompt_id, verdict.model, verdict.reference), []).append(verdict)
    verdicts = []
    for model, reference in pairs_of(models):
        for question in questions:
            key = question.prompt_id
            if (key, model, reference) in by_pair:
                verdicts += by_pair[key, model, reference]
                continue
            pair = [answers[name][key] for name in (model, reference)]
            verdict = Verdict(key, model, reference)
            missing = [answer.reason for answer in pair if isinstance(answer, Problem)]
            if missing:
                verdicts.append(verdict._replace(reason=missing[0]))
            else:
                verdicts.append(verdict._replace(verdict=EQUAL, points=0.5))
    return verdicts


def stored_verdicts(questions: Sequence[Question], models: Sequence[str], store: Stored) -> list[Verdict]:
    """Return stored verdicts on all pairs and prompts, in three values; one without is missing."""
    verdicts = []
    for model, reference in pairs_of(models):
        for question in questions:
            matches = store.of(question.prompt_id, model, reference)
            for verdict in matches or [Verdict(question.prompt_id, model, reference, reason="no_verdict")]:
                points = verdict.points
                won = None if points is None else float(three_valued(np.array(points)))
                verdicts.append(verdict._replace(points=won))
    return verdicts


def points_of(questions: Sequence[Question], models: Sequence[str], verdicts: Sequence[Verdict]) -> Floats:
    """Return the points of each pair's first model in both games, `[pairs, prompts, 2]`, NaN for none.

    Equal answers tie in both.
    """
    rows = {pair: row for row, pair in enumerate(pairs_of(models))}
    columns = {question.prompt_id: column for column, question in enumerate(questions)}
    points = np.full((len(rows), len(columns), 2), np.nan)
    for verdict in verdicts:
        if verdict.points is not None:
            place = rows[verdict.model, verdict.reference or ""], columns[verdict.prompt_id]
            games = slice(None) if verdict.verdict == EQUAL else verdict.game or 0
            points[place][games] = verdict.points
    return points
