"""The judge of Arena-Hard: what it is asked, and how its verdicts are asked for again.

v0.1 asks once more in the same conversation where there is no label. Beyond the public code, a question whose
verdict still cannot be read is asked again from the start, up to `judge.attempts` times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pairkit.engines.base import Engine, Problem, Request, Result, Sampling, sample_seed
from pairkit.evaluation.answers import Decoding, Question
from pairkit.evaluation.arena_hard.games import Game, game_of
from pairkit.evaluation.arena_hard.labels import Version, found_in, read_label, without_labels
from pairkit.evaluation.arena_hard.versions import BENCHMARKS, CREATIVE
from pairkit.evaluation.prompts import Prompt, read_prompt_file
from pairkit.evaluation.recipe import JudgeModel
from pairkit.evaluation.session import Session
from pairkit.rankers.thoughts import answer_of

_FOLDER = Path(__file__).parent
_PLACES = ("QUESTION", "ANSWER_A", "ANSWER_B")
_AGAIN = "continue your judgment and finish by outputting a final verdict label"


class Asked(NamedTuple):
    """A question to the judge about one game."""

    prompt_id: str
    game: int
    messages: list[dict[str, str]]


class Questions(NamedTuple):
    """The questions to the judge, and in how many texts a label was shown with other brackets."""

    asked: Sequence[Asked]
    quoted: int


def read_prompts(path: Path | None) -> dict[str | None, Prompt]:
    """Return the prompt of each category: that of a file for all, or the benchmark's own.

    Raises `InputError` for a file that is not a judge prompt.
    """
    if path is not None:
        prompt = read_prompt_file(path, _PLACES)
        return {None: prompt, "hard_prompt": prompt, CREATIVE: prompt}
    hard = read_prompt_file(_FOLDER / "prompt.txt", _PLACES)
    creative = read_prompt_file(_FOLDER / "prompt_creative_writing.txt", _PLACES)
    return {None: hard, "hard_prompt": hard, CREATIVE: creative}


def questions_to_judge(
    questions: Sequence[Question],
    texts: Mapping[str, str],
    references: Mapping[str, str],
    prompts: Mapping[str | None, Prompt],
) -> Questions:
    """Return both games of each question that has the model's text and the reference's, by prompt_id."""
    judge_questions: list[Asked] = []
    quoted = 0
    for question in questions:
        key = question.prompt_id
        if key not in texts or key not in references:
            continue
        parts = [without_labels(text) for text in (question.turns[0], references[key], texts[key])]
        quoted += sum(has_labels for _, has_labels in parts)
        (user, _), (base, _), (own, _) = parts
        prompt = prompts[question.category]
        # In both orders, because judges favor a place.
        judge_questions.append(Asked(key, 0, prompt.messages(user, base, own)))
        judge_questions.append(Asked(key, 1, prompt.messages(user, own, base)))
    return Questions(judge_questions, quoted)


def decoding_of(judge: JudgeModel, version: Version) -> Decoding:
    """Return how a judge answers at first."""
    temperature = 0.0 if judge.temperature is None else judge.temperature
    return Decoding(temperature, 1.0, judge.max_tokens or BENCHMARKS[version].judge_tokens)


def ask_judge(
    session: Session,
    engine: Engine,
    judge: JudgeModel,
    questions: Sequence[Asked],
    version: Version,
    seed: int,
) -> tuple[list[Game], Counter[str]]:
    """Ask all questions, and again those whose verdict cannot be read.

    Returns the games, in order, and the counts of answers and of those without a verdict.
    """
    games: dict[int, Game] = {}
    counts: Counter[str] = Counter()
    pending = list(range(len(questions)))
    for attempt in range(judge.attempts):
        decoding = decoding_of(judge, version)
        if attempt:
            decoding = decoding._replace(temperature=judge.retry_temperature)
        for place, answer in _answers(session, engine, questions, pending, decoding, version, seed, attempt):
            if isinstance(answer, Problem):
                games[place] = game_of(
                    questions[place].prompt_id, questions[place].game, None, None, answer.reason
                )
                continue
            label = read_label("\n".join(answer_of(part) or "" for part in answer), version)
            games[place] = game_of(
                questions[place].prompt_id, questions[place].game, label, "\n".join(answer)
            )
            counts["answers"] += 1
            counts["unparsable"] += label is None
        pending = [place for place in pending if games[place].reason == "no_verdict"]
        if not pending:
            break
    return [games[place] for place in range(len(questions))], counts


def _answers(
    session: Session,
    engine: Engine,
    questions: Sequence[Asked],
    places: Sequence[int],
    decoding: Decoding,
    version: Version,
    seed: int,
    attempt: int,
) -> list[tuple[int, list[str] | Problem]]:
    """Return the judge's turns for each question; v0.1 has a second one where the first has no label."""

    def ask(messages: Mapping[int, list[dict[str, str]]], turn: int) -> list[Result]:
        requests = [
            Request(dialogue, (_sampling(questions[place], decoding, seed, attempt, turn),))
            for place, dialogue in messages.items()
        ]
        return session.ask(engine, requests, "Judging" if not turn else "Asking for labels")

    first = {place: list(questions[place].messages) for place in places}
    answers: dict[int, list[str] | Problem] = {}
    for place, result in zip(places, ask(first, 0), strict=True):
        answers[place] = result if isinstance(result, Problem) else [result[0].text]
    if version == "0.1":
        again: dict[int, list[dict[str, str]]] = {}
        for place, answer in answers.items():
            reply = "" if isinstance(answer, Problem) else answer_of(answer[0]) or ""
            # Servers refuse an empty turn of the assistant.
            if reply.strip() and not found_in(reply, version):
                turns = [{"role": "assistant", "content": reply}, {"role": "user", "content": _AGAIN}]
                again[place] = [*first[place], *turns]
        for place, result in zip(again, ask(again, 1) if again else [], strict=True):
            before = answers[place]
            # Without a second turn the first stays, which has no label.
            if not isinstance(result, Problem) and not isinstance(before, Problem):
                answers[place] = [*before, result[0].text]
    return [(place, answers[place]) for place in places]


def _sampling(question: Asked, decoding: Decoding, seed: int, attempt: int, turn: int) -> Sampling:
    return Sampling(
        decoding.temperature,
        decoding.top_p,
        sample_seed(seed, f"{question.prompt_id}/{question.game}/{turn}", attempt),
        decoding.max_tokens,
    )
