"""The winner stays: K completions in K-1 comparisons, as MC-PO makes its data.

The completions meet in random order: the first two are compared, then the winner and the next one, and so on.

    score = -(decided comparisons on the way up to the winner)       0, -1, -2, ...

A loser is below the completion that beat it, and a later defeat of that completion lowers both. If
preferences are transitive, the comparisons prove that the last winner is the best one. Completions that never
met, directly or through others, are as many steps apart as comparisons lie between them, which is only a
convention. After a tie, or two orders that contradict each other, both are on one level and the incumbent
stays.

References: Chen et al. 2024 (iterative pairwise ranking); Chen et al. 2025, arXiv 2502.04567, appendix.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pairkit.intervals import Floats
from pairkit.rankers.judge.rounds import Rounds
from pairkit.rankers.judge.texts import Case, shuffle_texts


def score_iterative(cases: Sequence[Case], rounds: Rounds, prompt: str, seed: int) -> list[Floats | None]:
    """Score each text of each case, with one round per comparison; None for a case without a verdict."""
    orders = [shuffle_texts(case, seed) for case in cases]
    incumbents = [order[0] for order in orders]
    below = [np.zeros(len(order)) for order in orders]  # steps below the winner so far
    for step in range(1, max(map(len, orders), default=0)):
        playing = [
            index for index, order in enumerate(orders) if step < len(order) and index not in rounds.failed
        ]
        comparisons = [(index, (incumbents[index], orders[index][step])) for index in playing]
        for (index, (_, challenger)), numbers in zip(
            comparisons, rounds.compare(prompt, comparisons), strict=True
        ):
            if numbers is None:
                continue
            if numbers[1] > numbers[0]:
                # Every completion so far is below the incumbent or level with it, so all fall by one step.
                below[index][orders[index][:step]] += 1
                incumbents[index] = challenger
            elif numbers[0] > numbers[1]:
                below[index][challenger] = 1
    return [None if index in rounds.failed else 0.0 - steps for index, steps in enumerate(below)]
