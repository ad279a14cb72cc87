"""The second step: a judge's ratings of a model's answers, asked or read from stored judgments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pairkit.engines.base import Engine, Problem, Request, Result, Sampling, sample_seed
from pairkit.evaluation.answers import Answer, Answers, Question
from pairkit.evaluation.mt_bench.answers import FAILED
from pairkit.evaluation.mt_bench.judgments import Judgment, Judgments
from pairkit.evaluation.mt_bench.prompts import Prompts, messages, without_rating
from pairkit.evaluation.mt_bench.questions import REFERENCED, TURNS, References
from pairkit.evaluation.mt_bench.rating import LOWEST, read_rating
from pairkit.evaluation.mt_bench.recipe import judge_decoding
from pairkit.evaluation.recipe import JudgeModel
from pairkit.evaluation.results import Verdict
from pairkit.evaluation.session import Session
from pairkit.rankers.thoughts import Thoughts, answer_of

EMPTY, NO_RATING = "empty", "no_rating"
# prompt_id -> the texts that are judged, one per turn.
Texts = Mapping[str, tuple[str, ...]]


class Game(NamedTuple):
    """A question to the judge about one turn, from 1; `quoted`: whether a text was changed (see prompts)."""

    prompt_id: str
    turn: int
    messages: list[dict[str, str]]
    quoted: bool


class Reading(NamedTuple):
    """What was read from an answer of the judge."""

    answer: str | None
    rating: float | None
    reason: str | None


class Judged(NamedTuple):
    """Verdicts on a model, one per question and turn, and counts of `judge.statistics.COUNTS`."""

    verdicts: Sequence[Verdict]
    counts: Mapping[str, int]


def texts_of(answers: Answers, thoughts: Thoughts) -> dict[str, tuple[str, ...]]:
    """Return the texts that are judged, of the questions that have an answer."""
    return {key: answer.shown(thoughts) for key, answer in answers.items() if isinstance(answer, Answer)}


def games_of(
    questions: Sequence[Question], texts: Texts, prompts: Prompts, references: References | None
) -> list[Game]:
    """Return the questions to the judge; an empty answer needs none, since judges refuse to rate it."""
    games = []
    for question in questions:
        key = question.prompt_id
        if key not in texts:
            continue
        referenced = question.category in REFERENCED
        shown_texts = [without_rating(text) for text in texts[key]]
        base = references.answers[key] if referenced and references is not None else ()
        for turn in range(1, TURNS + 1):
            # Rated by `judged`, so that no call is paid for it.
            if not texts[key][turn - 1].strip():
                continue
            conversation = messages(
                prompts.of(turn, referenced=referenced),
                question.turns[:turn],
                shown_texts[:turn],
                base,
            )
            quoted = shown_texts[:turn] != list(texts[key][:turn])
            games.append(Game(key, turn, conversation, quoted))
    return games


def ask_judge(
    session: Session, engine: Engine, judge: JudgeModel, games: Sequence[Game], seed: int
) -> tuple[list[Reading], Counter[str]]:
    """Ask all questions, and again those whose answer has no rating.

    Returns what was read, in order, and the counts of answers and of those without a rating.
    """
    readings: dict[int, Reading] = {}
    counts: Counter[str] = Counter()
    pending = list(range(len(games)))
    for attempt in range(judge.attempts):
        requests = [_request(games[place], judge, seed, attempt) for place in pending]
        for place, result in zip(pending, session.ask(engine, requests, "Judging"), strict=True):
            readings[place] = _read(result)
            counts["answers"] += not isinstance(result, Problem)
        pending = [place for place in pending if readings[place].reason == NO_RATING]
        counts["unparsable"] += len(pending)
        if not pending:
            break
    return [readings[place] for place in range(len(games))], counts


def judged(
    questions: Sequence[Question],
    model: str,
    answers: Answers,
    texts: Texts,
    games: Sequence[Game],
    readings: Sequence[Reading],
) -> Judged:
    """Return the verdicts; an empty answer has the lowest rating, a missing one its reason."""
    read = {(game.prompt_id, game.turn): reading for game, reading in zip(games, readings, strict=True)}
    verdicts = []
    for question in questions:
        for turn in range(1, TURNS + 1):
            verdict = Verdict(question.prompt_id, model, turn=turn)
            answer = answers[question.prompt_id]
            if isinstance(answer, Problem):
                verdicts.append(verdict._replace(reason=answer.reason))
            elif (reading := read.get((question.prompt_id, turn))) is not None:
                verdicts.append(_rated(verdict, *reading))
            else:
                verdicts.append(_empty(verdict))
    unanswered = sum(reading.rating is None for reading in readings)
    counts = Counter({"questions": len(games), "unanswered": unanswered})
    counts["quoted_verdicts"] = sum(game.quoted for game in games)
    return Judged(verdicts, counts)


def stored(questions: Sequence[Question], judgments: Judgments, texts: Texts) -> Judged:
    """Return stored verdicts; an empty answer, where the texts are known, has the lowest rating."""
    verdicts = []
    counts: Counter[str] = Counter()
    for question in questions:
        for turn in range(1, TURNS + 1):
            key = (question.prompt_id, turn)
            verdict = Verdict(question.prompt_id, judgments.model, turn=turn)
            if question.prompt_id in texts and not texts[question.prompt_id][turn - 1].strip():
                verdicts.append(_empty(verdict))
                continue
            judgment = judgments.by_turn.get(key)
            verdicts.append(_rated(verdict, *_reading(judgment)))
            counts["questions"] += judgment is not None
            counts["answers"] += judgment is not None
            unread = judgment is not None and judgment.rating is None
            counts["unanswered"] += unread
            counts["unparsable"] += unread
    return Judged(verdicts, counts)


def _reading(judgment: Judgment | None) -> Reading:
    if judgment is None:
        return Reading(None, None, "no_judgment")
    failure = judgment.words in ("", FAILED)
    reason = None if judgment.rating is not None else "failed_judgment" if failure else NO_RATING
    return Reading(judgment.words or None, judgment.rating, reason)


def _empty(verdict: Verdict) -> Verdict:
    return verdict._replace(verdict=EMPTY, points=LOWEST)


def _rated(verdict: Verdict, answer: str | None, rating: float | None, reason: str | None) -> Verdict:
    text = None if rating is None else f"{rating:g}"
    return verdict._replace(answer=answer, verdict=text, points=rating, reason=reason)


def _request(game: Game, judge: JudgeModel, seed: int, attempt: int) -> Request:
    temperature, top_p, max_tokens = judge_decoding(judge)
    sampling = Sampling(
        temperature if attempt == 0 else judge.retry_temperature,
        top_p,
        sample_seed(seed, f"{game.prompt_id}/{game.turn}", attempt),
        max_tokens,
    )
    return Request(game.messages, (sampling,))


def _read(result: Result) -> Reading:
    if isinstance(result, Problem):
        return Reading(None, None, result.reason)
    (completion,) = result
    rating = read_rating(answer_of(completion.text) or "")
    return Reading(completion.text, rating, NO_RATING if rating is None else None)
