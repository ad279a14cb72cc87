"""All completions of a set in one question, in random order, as Nectar's seven.

    score = mean over the orders of (completions placed below) / (K - 1)          1 = always first

The second order is the reverse of the first, so that every two completions change sides.
"""

from __future__ import annotations

from collections.abc import Sequence

from pairkit.engines.base import Problem
from pairkit.intervals import Floats
from pairkit.rankers.judge.rounds import Rounds
from pairkit.rankers.judge.texts import Case, shuffled
from pairkit.rankers.judge.verdicts import LABELS


def scores(cases: Sequence[Case], rounds: Rounds, prompt: str, seed: int) -> list[Floats | None]:
    """A score for each text of each case, None for cases that are out. One round in all."""
    for index, case in enumerate(cases):
        if len(case.texts) > len(LABELS):
            detail = f"{len(case.texts)} different completions; a list holds {len(LABELS)}"
            rounds.failed[index] = Problem("too_many_completions", detail)
    asked = [(index, shuffled(case, seed)) for index, case in enumerate(cases) if index not in rounds.failed]
    found: list[Floats | None] = [None] * len(cases)
    for (index, order), numbers in zip(asked, rounds.compare(prompt, asked), strict=True):
        if numbers is not None:
            found[index] = numbers[[order.index(text) for text in range(len(order))]]
    return found
