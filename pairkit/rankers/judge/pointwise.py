"""Pointwise: each completion is ratings from 1 to 5, once per aspect; the score is the mean over the aspects.

References: Cui et al. 2023, UltraFeedback, arXiv 2310.01377. Unlike there, a question shows one completion,
so that neither its neighbors nor its position among them influence the rating.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairkit.intervals import Floats
from pairkit.rankers.judge.rounds import Question, Rounds
from pairkit.rankers.judge.texts import Case


def rate_pointwise(cases: Sequence[Case], rounds: Rounds, aspects: Sequence[str]) -> list[Floats | None]:
    """Rate each case, `[aspects, texts]`, in a single round; None for a case without a verdict."""
    questions = [
        Question(index, (text,), aspect)
        for index, case in enumerate(cases)
        for aspect in aspects
        for text in range(len(case.texts))
    ]
    verdicts = iter(rounds.ask(questions))
    ratings: list[Floats | None] = []
    for index, case in enumerate(cases):
        # Taken for failed cases as well, because the verdicts are in the order of the questions.
        answers = [next(verdicts) for _ in aspects for _ in case.texts]
        if index in rounds.failed:
            ratings.append(None)
        else:
            # `[aspects * texts]`, in the order in which they were asked.
            numbers = [verdict[0] for verdict in answers if verdict is not None]
            ratings.append(np.array(numbers).reshape(len(aspects), len(case.texts)))
    return ratings
