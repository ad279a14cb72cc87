"""Schedules: which completions of a set PairRM compares, and the scores that follow.

A schedule is a generator over one set of n distinct completions: it yields the pairs (i, j) to compare next,
is sent their margins (above 0: i is better), and returns the n scores. The schedules of many sets run side by
side, so that their comparisons together fill the batches.

    all         every pair; the mean margin, as llm-blender's `rank`           n(n-1)/2 pairs
    bubble      the winner stays, as llm-blender's `get_best_of_n`             n-1 pairs, one after another
    tournament  knock-out, neighbors first                                    n-1 pairs in log2(n) rounds

The last two compare less and know less. `bubble` knows only which completion won all of its comparisons: 1
for that one, 0 for the others. The score of a `tournament` is the number of rounds that a completion
survived; completions that lost in the same round share a score.

A comparison takes both orders of a pair, which are two passes of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import combinations
from typing import Literal

Pair = tuple[int, int]
Schedule = Generator[list[Pair], list[float], list[float]]
Pairs = Literal["all", "bubble", "tournament"]


def all_pairs(counts: Sequence[int]) -> Schedule:
    """Compare every pair; the score is the mean of L[i, j] - L[j, i] over the n completions j.

    i itself and its copies enter the mean with 0. `counts` is the number of completions that each distinct
    one represents; n is their sum.
    """
    pairs = list(combinations(range(len(counts)), 2))
    margins = yield pairs
    sums = [0.0] * len(counts)
    for (i, j), margin in zip(pairs, margins, strict=True):
        sums[i] += counts[j] * margin
        sums[j] -= counts[i] * margin
    return [total / sum(counts) for total in sums]


def bubble(counts: Sequence[int]) -> Schedule:
    """Let each completion meet the best one before it; the last winner scores 1, the others 0."""
    best = 0
    for challenger in range(1, len(counts)):
        # Sent one by one, because each comparison depends on the result before it.
        (margin,) = yield [(best, challenger)]
        if margin < 0:
            best = challenger
    return [float(i == best) for i in range(len(counts))]


def tournament(counts: Sequence[int]) -> Schedule:
    """Play knock-out rounds; the score is the number of rounds that a completion survived.

    The odd one out of a round survives without a comparison and is compared first in the next round.
    """
    scores = [0.0] * len(counts)
    survivors = list(range(len(counts)))
    while len(survivors) > 1:
        # Not strict: the odd one out has no partner.
        pairs = list(zip(survivors[::2], survivors[1::2], strict=False))
        margins = yield pairs
        winners = [j if margin < 0 else i for (i, j), margin in zip(pairs, margins, strict=True)]
        # The odd one out goes first, so that no completion is left out of two rounds.
        survivors = survivors[2 * len(pairs) :] + winners
        for i in survivors:
            scores[i] += 1
    return scores


SCHEDULES: dict[Pairs, Callable[[Sequence[int]], Schedule]] = {
    "all": all_pairs, "bubble": bubble, "tournament": tournament,
}  # fmt: skip


def comparisons(pairs: Pairs, distinct: int) -> int:
    """Count the pairs that are compared in a set of so many distinct completions."""
    return distinct * (distinct - 1) // 2 if pairs == "all" else max(distinct - 1, 0)
