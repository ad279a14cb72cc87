"""Each completion is rated from 1 to 5, one question an aspect; the score is the mean over the aspects.

References: Cui et al. 2023, UltraFeedback, arXiv 2310.01377. Differs from it: one completion a question, so
that no completion is rated by its neighbours or its place among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairkit.intervals import Floats
from pairkit.rankers.judge.rounds import Question, Rounds
from pairkit.rankers.judge.texts import Case


def ratings(cases: Sequence[Case], rounds: Rounds, aspects: Sequence[str]) -> list[Floats | None]:
    """The ratings `[aspects, texts]` of each case, None for cases that are out. One round in all."""
    questions = [
        Question(index, (text,), aspect)
        for index, case in enumerate(cases)
        for aspect in aspects
        for text in range(len(case.texts))
    ]
    said = iter(rounds.ask(questions))
    rated: list[Floats | None] = []
    for index, case in enumerate(cases):
        numbers = [next(said) for _ in aspects for _ in case.texts]
        if index in rounds.failed:
            rated.append(None)
        else:
            known = [number[0] for number in numbers if number is not None]
            rated.append(np.array(known).reshape(len(aspects), len(case.texts)))
    return rated
