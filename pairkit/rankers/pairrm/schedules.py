"""Which completions of a set PairRM compares, and the scores that follow.

A schedule is a generator over one set of n distinct completions: it yields the pairs (i, j) that it wants
compared next, is sent their margins (above 0: i is better), and returns the n scores. Schedules of many sets
go on side by side, so that the comparisons of all of them fill the batches.

    all         every pair; the mean margin, as llm-blender's `rank`           n(n-1)/2 pairs
    bubble      the winner stays, as llm-blender's `get_best_of_n`             n-1 pairs, one after another
    tournament  knock-out, neighbours first                                    n-1 pairs in log2(n) rounds

The last two ask less and know less. What beat all that it met is known to `bubble`, and no more: 1 for the
best, 0 for each of the others. The score of a `tournament` is the number of rounds a completion came
through; those that left in one round are not told apart.

A comparison is both orders of a pair, two passes of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import combinations
from typing import Literal

Pair = tuple[int, int]
Schedule = Generator[list[Pair], list[float], list[float]]
Pairs = Literal["all", "bubble", "tournament"]


def all_pairs(counts: Sequence[int]) -> Schedule:
    """The mean over the n completions j of L[i, j] - L[j, i], i itself and its equals with their 0.

    `counts` says how many completions each distinct one stands for; n is their sum.
    """
    pairs = list(combinations(range(len(counts)), 2))
    margins = yield pairs
    sums = [0.0] * len(counts)
    for (i, j), margin in zip(pairs, margins, strict=True):
        sums[i] += counts[j] * margin
        sums[j] -= counts[i] * margin
    return [total / sum(counts) for total in sums]


def bubble(counts: Sequence[int]) -> Schedule:
    """1 for the completion that is left when each has met the best before it, 0 for the others."""
    best = 0
    for challenger in range(1, len(counts)):
        (margin,) = yield [(best, challenger)]
        if margin < 0:
            best = challenger
    return [float(i == best) for i in range(len(counts))]


def tournament(counts: Sequence[int]) -> Schedule:
    """The number of rounds a completion came through.

    The odd one out comes through without a comparison and is the first to be compared in the next round.
    """
    scores = [0.0] * len(counts)
    standing = list(range(len(counts)))
    while len(standing) > 1:
        pairs = list(zip(standing[::2], standing[1::2], strict=False))
        margins = yield pairs
        winners = [j if margin < 0 else i for (i, j), margin in zip(pairs, margins, strict=True)]
        standing = standing[2 * len(pairs) :] + winners
        for i in standing:
            scores[i] += 1
    return scores


SCHEDULES: dict[Pairs, Callable[[Sequence[int]], Schedule]] = {
    "all": all_pairs, "bubble": bubble, "tournament": tournament,
}  # fmt: skip


def comparisons(pairs: Pairs, distinct: int) -> int:
    """How many pairs are compared in a set of that many distinct completions."""
    return distinct * (distinct - 1) // 2 if pairs == "all" else max(distinct - 1, 0)
