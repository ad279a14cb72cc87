"""Listwise: all completions of a set in one question, in random order, as Nectar does with seven.

    score = mean over the orders of (completions placed below) / (K - 1)          1 = always first

The second order is the reverse of the first, so that each pair of completions is seen in both orders.
"""

from __future__ import annotations

from collections.abc import Sequence

from pairkit.engines.base import Problem
from pairkit.intervals import Floats
from pairkit.rankers.judge.rounds import Rounds
from pairkit.rankers.judge.texts import Case, shuffle_texts
from pairkit.rankers.judge.verdicts import LABELS


def score_listwise(cases: Sequence[Case], rounds: Rounds, prompt: str, seed: int) -> list[Floats | None]:
    """Score each text of each case, in a single round; None for a case without a verdict."""
    for index, case in enumerate(cases):
        if len(case.texts) > len(LABELS):
            detail = f"{len(case.texts)} different completions; a list holds {len(LABELS)}"
            rounds.failed[index] = Problem("too_many_completions", detail)
    questions = [
        (index, shuffle_texts(case, seed)) for index, case in enumerate(cases) if index not in rounds.failed
    ]
    scores: list[Floats | None] = [None] * len(cases)
    for (index, order), numbers in zip(questions, rounds.compare(prompt, questions), strict=True):
        if numbers is not None:
            # `numbers` are in the order shown, scores in the order of the case's texts.
            scores[index] = numbers[[order.index(text) for text in range(len(order))]]
    return scores
