"""The winner stays: K completions in K-1 comparisons, as MC-PO makes its data.

The completions meet in random order. The first two are compared, then the winner and the next one, and so on.

    score = -(decided comparisons on the way up to the winner)       0, -1, -2, ...

A completion that lost is below the one it lost to, whose later defeat takes both down. That the last winner
is the best one stands on the comparisons, if preferences are transitive; completions that never met, nor met
through others, stand as many steps below as comparisons lie between, which is a convention. A tie, or two
orders that contradict each other, leaves both on one level, and the one that was there first goes on.

References: Chen et al. 2024 (iterative pairwise ranking); Chen et al. 2025, arXiv 2502.04567, appendix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairkit.intervals import Floats
from pairkit.rankers.judge.rounds import Rounds
from pairkit.rankers.judge.texts import Case, shuffled


def scores(cases: Sequence[Case], rounds: Rounds, prompt: str, seed: int) -> list[Floats | None]:
    """A score for each text of each case, None for cases that are out. One round a comparison."""
    orders = [shuffled(case, seed) for case in cases]
    incumbents = [order[0] for order in orders]
    below = [np.zeros(len(order)) for order in orders]  # steps below the winner so far
    for step in range(1, max(map(len, orders), default=0)):
        playing = [
            index for index, order in enumerate(orders) if step < len(order) and index not in rounds.failed
        ]
        asked = [(index, (incumbents[index], orders[index][step])) for index in playing]
        for (index, (_, challenger)), numbers in zip(asked, rounds.compare(prompt, asked), strict=True):
            if numbers is None:
                continue
            if numbers[1] > numbers[0]:
                below[index][orders[index][:step]] += 1
                incumbents[index] = challenger
            elif numbers[0] > numbers[1]:
                below[index][challenger] = 1
    return [None if index in rounds.failed else 0.0 - steps for index, steps in enumerate(below)]
