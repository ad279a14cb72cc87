"""The second step: a judge's verdicts on a model's answers, asked or read from stored annotations."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pairkit.engines.base import Engine, Problem, Request, Result, Sampling, sample_seed
from pairkit.errors import EngineError
from pairkit.evaluation.alpaca_eval.annotations import PUBLIC_JUDGE, Annotations
from pairkit.evaluation.alpaca_eval.judging import (
    TOP_LOGPROBS,
    Protocol,
    model_first,
    read_letter,
    second_wins,
)
from pairkit.evaluation.alpaca_eval.questions import Reference
from pairkit.evaluation.answers import Decoding
from pairkit.evaluation.prompts import Prompt
from pairkit.evaluation.recipe import JudgeModel
from pairkit.evaluation.results import Verdict
from pairkit.evaluation.session import Session
from pairkit.rankers.thoughts import answer_of

# One token, whose log-probs are the verdict; or a few, which hold its letter.
_DECODING = {"logprobs": Decoding(1.0, 1.0, 1), "both_orders": Decoding(0.0, 1.0, 8)}

# Letter of the preferred answer -> the count of `rankers.judge.statistics.COUNTS`.
_PLACES = {"m": "first_wins", "M": "second_wins", "tie": "ties"}


class Judged(NamedTuple):
    """Verdicts on a model.

    Attributes:
        points: prompt_id -> probability that the model wins, or mean of its points; None: no verdict.
        missing: prompt_id -> why there is no verdict, for each None of `points`.
        verdicts: one per question to the judge, and one per pair of equal texts.
        counts: of `rankers.judge.statistics.COUNTS`.
    """

    points: Mapping[str, float | None]
    missing: Mapping[str, str]
    verdicts: Sequence[Verdict]
    counts: Mapping[str, int]


class Game(NamedTuple):
    """A question to the judge about one instruction."""

    prompt_id: str
    model_first: bool
    messages: list[dict[str, str]]


class Reading(NamedTuple):
    """What was read from an answer of the judge: `second` is what the text shown second has of the point."""

    answer: str | None
    verdict: str | None
    second: float | None
    reason: str | None


def decoding_of(judge: JudgeModel, protocol: Protocol) -> Decoding:
    """Return how a judge answers at first."""
    default = _DECODING[protocol]
    temperature = default.temperature if judge.temperature is None else judge.temperature
    return Decoding(temperature, default.top_p, judge.max_tokens or default.max_tokens)


def games_of(
    reference: Reference, texts: Mapping[str, str], prompt: Prompt, protocol: Protocol
) -> list[Game]:
    """Return the questions about the model's `texts` (by prompt_id); equal texts need none."""
    games = []
    for question in reference.questions:
        key, instruction = question.prompt_id, question.turns[0]
        base = reference.answers[key]
        if key not in texts or texts[key] == base:
            continue
        for first in [False, True] if protocol == "both_orders" else [model_first(instruction)]:
            pair = (texts[key], base) if first else (base, texts[key])
            games.append(Game(key, first, prompt.messages(instruction, *pair)))
    return games


def ask_judge(
    session: Session, engine: Engine, judge: JudgeModel, games: Sequence[Game], protocol: Protocol, seed: int
) -> tuple[list[Reading], Counter[str]]:
    """Ask all questions, and again those whose answer cannot be read.

    Returns what was read, in order, and the counts of answers and of those that hold no verdict.

    Raises `EngineError` for a judge that gives no log-probs where the protocol needs them.
    """
    if protocol == "logprobs":
        # One question first, because a judge without log-probs would be paid for all of them.
        first = [_request(game, judge, protocol, seed, 0) for game in games[:1]]
        _check_logprobs(session.ask(engine, first, "Judging"), engine)
    readings: dict[int, Reading] = {}
    counts: Counter[str] = Counter()
    pending = list(range(len(games)))
    # Its log-probs do not depend on the seed, so that asking for them again is in vain.
    attempts = 1 if protocol == "logprobs" else judge.attempts
    for attempt in range(attempts):
        requests = [_request(games[place], judge, protocol, seed, attempt) for place in pending]
        results = session.ask(engine, requests, "Judging")
        if protocol == "logprobs":
            _check_logprobs(results, engine)
        for place, result in zip(pending, results, strict=True):
            readings[place] = _read(result, protocol)
            counts["answers"] += not isinstance(result, Problem)
        pending = [place for place in pending if readings[place].reason == "no_verdict"]
        counts["unparsable"] += len(pending)
        if not pending:
            break
    return [readings[place] for place in range(len(games))], counts


def judged(
    reference: Reference,
    model: str,
    texts: Mapping[str, str],
    games: Sequence[Game],
    readings: Sequence[Reading],
) -> Judged:
    """Return the verdicts on the model's `texts`: of equal ones, and what was read of `games`."""
    verdicts: list[Verdict] = []
    counts: Counter[str] = Counter()
    by_prompt: dict[str, list[Verdict]] = defaultdict(list)
    for question in reference.questions:
        key = question.prompt_id
        if texts.get(key) == reference.answers[key]:
            by_prompt[key] = [Verdict(key, model, reference.generator, verdict="equal", points=0.5)]
    for game, reading in zip(games, readings, strict=True):
        points = reading.second
        if points is not None:
            counts[_PLACES[_letter(points)]] += 1
            points = 1 - points if game.model_first else points
        verdict = Verdict(game.prompt_id, model, reference.generator, int(game.model_first))
        by_prompt[game.prompt_id].append(
            verdict._replace(
                answer=reading.answer, verdict=reading.verdict, points=points, reason=reading.reason
            )
        )
        counts["questions"] += 1
        counts["unanswered"] += points is None
    for group in by_prompt.values():
        verdicts += group
        if len(group) == 2 and None not in {verdict.points for verdict in group}:
            counts["swapped"] += 1
            counts["same" if group[0].points == group[1].points else "flips"] += 1
    return Judged(*_points(by_prompt), verdicts, counts)


def stored(annotations: Annotations, reference: Reference, model: str) -> Judged:
    """Return the verdicts of stored annotations.

    The order in which the public judge was shown two answers is known, and with it the letter that it
    preferred; of another judge neither is.
    """
    verdicts, counts = [], Counter[str]()
    for question in reference.questions:
        key, instruction = question.prompt_id, question.turns[0]
        if key not in annotations.points:
            continue
        points = annotations.points[key]
        verdict = Verdict(key, model, reference.generator, points=points)
        if annotations.answers[key] == reference.answers[key]:
            verdicts.append(verdict._replace(verdict="equal"))
            continue
        counts["questions"] += 1
        if points is None:
            counts["unanswered"] += 1
            verdict = verdict._replace(reason="no_verdict")
        elif annotations.judge == PUBLIC_JUDGE:
            first = model_first(instruction)
            letter = _letter(1 - points if first else points)
            counts[_PLACES[letter]] += 1
            verdict = verdict._replace(game=int(first), verdict=letter)
        verdicts.append(verdict)
    return Judged(*_points({verdict.prompt_id: [verdict] for verdict in verdicts}), verdicts, counts)


def _letter(second: float) -> str:
    """Return the answer that is preferred, m shown first or M; tie: neither."""
    return "tie" if second == 0.5 else "M" if second > 0.5 else "m"


def _points(
    by_prompt: Mapping[str, Sequence[Verdict]],
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Return the points of each prompt, the mean of its games that have some, and why there are none."""
    points: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    for key, group in by_prompt.items():
        values = [verdict.points for verdict in group if verdict.points is not None]
        points[key] = sum(values) / len(values) if values else None
        if not values:
            missing[key] = group[0].reason or "no_verdict"
    return points, missing


def _request(game: Game, judge: JudgeModel, protocol: Protocol, seed: int, attempt: int) -> Request:
    temperature, top_p, max_tokens = decoding_of(judge, protocol)
    sampling = Sampling(
        temperature if attempt == 0 else judge.retry_temperature,
        top_p,
        sample_seed(seed, f"{game.prompt_id}/{int(game.model_first)}", attempt),
        max_tokens,
    )
    top = TOP_LOGPROBS if protocol == "logprobs" else None
    return Request(game.messages, (sampling,), top_logprobs=top)


def _read(result: Result, protocol: Protocol) -> Reading:
    if isinstance(result, Problem):
        return Reading(None, None, None, result.reason)
    (completion,) = result
    if protocol == "logprobs":
        second = second_wins(completion.logprobs or ())
        letter = None if second is None else _letter(second)
    else:
        letter = read_letter(answer_of(completion.text) or "")
        second = None if letter is None else float(letter == "M")
    return Reading(completion.text, letter, second, "no_verdict" if second is None else None)


def _check_logprobs(results: Sequence[Result], engine: Engine) -> None:
    """Raise `EngineError` if no answer has log-probs, or the server refuses to give them."""
    instead = "use another judge, or ask this one in both orders with --verdict both_orders"
    answers = [result[0] for result in results if not isinstance(result, Problem)]
    if answers and all(answer.logprobs is None for answer in answers):
        raise EngineError(
            f"the judge {engine.name!r} answers without log-probs of its first token, which --verdict "
            f"logprobs needs: {instead}"
        )
    refusals = [result.detail for result in results if isinstance(result, Problem)]
    if not answers and (about := [detail for detail in refusals if "logprob" in detail]):
        raise EngineError(
            f"the judge {engine.name!r} gives no log-probs, which --verdict logprobs needs "
            f"({about[0]}): {instead}"
        )
