"""Contests: the comparisons of many sets, run side by side, and the scores that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pairkit.models.inference import Ids
from pairkit.progress import Advance
from pairkit.rankers.pairrm.schedules import SCHEDULES, Pair, Pairs, comparisons
from pairkit.rankers.pairrm.text import Encoded

# Computes the margins L[i, j] - L[j, i] (logits) of pairs of completions, each given with its contest.
Compare = Callable[[Sequence[tuple["Contest", Pair]]], list[float]]


@dataclass
class Contest:
    """One set in token ids: its source, its n distinct completions, and how many completions each represents.

    `members` maps each completion to its distinct one. Completions with the same token ids share comparisons,
    because the model cannot tell them apart: the margin between them is 0.
    """

    set_id: str
    source: Ids
    distinct: list[Ids] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)  # [n]
    members: list[int] = field(default_factory=list)  # one per completion


def contest_of(set_id: str, encoded: Encoded) -> Contest:
    """Make the contest of an encoded set: find its distinct completions."""
    contest = Contest(set_id, encoded.source)
    numbers: dict[bytes, int] = {}
    for ids in encoded.completions:
        # By token ids, because truncation can make different texts equal to the model.
        member = numbers.setdefault(ids.tobytes(), len(numbers))
        if member == len(contest.distinct):
            contest.distinct.append(ids)
            contest.counts.append(0)
        contest.counts[member] += 1
        contest.members.append(member)
    return contest


def score_contests(contests: Sequence[Contest], pairs: Pairs, compare: Compare) -> list[list[float]]:
    """Score the distinct completions of each contest, with as few calls of `compare` as possible."""
    scores: list[list[float]] = [[] for _ in contests]
    running = {
        index: SCHEDULES[pairs](contest.counts) for index, contest in enumerate(contests) if contest.counts
    }
    answers: dict[int, list[float] | None] = dict.fromkeys(running)
    while running:
        requests: dict[int, list[Pair]] = {}
        for index, answer in answers.items():
            try:
                requests[index] = next(running[index]) if answer is None else running[index].send(answer)
            except StopIteration as end:
                scores[index] = end.value
                del running[index]
        margins = iter(compare([(contests[index], pair) for index in requests for pair in requests[index]]))
        # Only contests that asked: the others have returned their scores.
        answers = {index: [next(margins) for _ in request] for index, request in requests.items()}
    return scores


class Share:
    """Progress in comparisons, reported as completions; it ends at all of them even if none was compared."""

    def __init__(self, advance: Advance, completions: int, contests: Sequence[Contest], pairs: Pairs) -> None:
        self._advance, self._completions, self._reported, self._done = advance, completions, 0, 0
        self._all = sum(comparisons(pairs, len(contest.distinct)) for contest in contests)

    def compared(self, pairs: int) -> None:
        """Report that so many more pairs were compared."""
        self._done += pairs
        self._report(self._completions * self._done // self._all)

    def end(self) -> None:
        """Report all completions that have not been reported."""
        self._report(self._completions)

    def _report(self, completions: int) -> None:
        if completions > self._reported:
            self._advance(completions - self._reported)
            self._reported = completions
