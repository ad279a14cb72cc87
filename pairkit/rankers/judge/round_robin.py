"""Round robin: every pair of a set is compared, and a Bradley-Terry model turns the results into scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from pairkit.intervals import Floats
from pairkit.rankers.judge.bradley_terry import strengths
from pairkit.rankers.judge.rounds import Rounds
from pairkit.rankers.judge.texts import Case


def score_round_robin(cases: Sequence[Case], rounds: Rounds, prompt: str, seed: int) -> list[Floats | None]:
    """Score each text of each case, in a single round; None for a case without a verdict.

    Each order in which a pair was shown counts as one game; a tie is half a game won.
    """
    comparisons = [
        (index, pair) for index, case in enumerate(cases) for pair in combinations(range(len(case.texts)), 2)
    ]
    # Padded to the largest set, so that all cases are fitted together: `[cases, texts, texts]`.
    most = max((len(case.texts) for case in cases), default=0)
    won = np.zeros((len(cases), most, most))
    games = 2 if rounds.recipe.both_orders else 1
    for (index, (first, second)), numbers in zip(
        comparisons, rounds.compare(prompt, comparisons), strict=True
    ):
        if numbers is not None:
            # `numbers` are means over the orders shown, so times the number of orders they are games won.
            won[index, first, second], won[index, second, first] = games * numbers
    log_odds = strengths(won)
    return [
        None if index in rounds.failed else log_odds[index, : len(case.texts)]
        for index, case in enumerate(cases)
    ]
