"""The comparisons of many sets side by side, and the scores that come of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pairkit.models.inference import Ids
from pairkit.progress import Advance
from pairkit.rankers.pairrm.schedules import SCHEDULES, Pair, Pairs, comparisons
from pairkit.rankers.pairrm.text import Encoded

# The margins L[i, j] - L[j, i] of pairs of completions, each beside the contest it belongs to.
Compare = Callable[[Sequence[tuple["Contest", Pair]]], list[float]]


@dataclass
class Contest:
    """One set: its source, its distinct completions and how many each stands for.

    `members` says which of the distinct ones each completion is. Completions that are one to the model
    share its comparisons: between them there is no margin.
    """

    set_id: str
    source: Ids
    distinct: list[Ids] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    members: list[int] = field(default_factory=list)


def contest(set_id: str, encoded: Encoded) -> Contest:
    made = Contest(set_id, encoded.source)
    known: dict[bytes, int] = {}
    for ids in encoded.completions:
        member = known.setdefault(ids.tobytes(), len(known))
        if member == len(made.distinct):
            made.distinct.append(ids)
            made.counts.append(0)
        made.counts[member] += 1
        made.members.append(member)
    return made


def scores(contests: Sequence[Contest], pairs: Pairs, compare: Compare) -> list[list[float]]:
    """The scores of the distinct completions of each contest, in as few calls of `compare` as can be."""
    found: list[list[float]] = [[] for _ in contests]
    going = {
        index: SCHEDULES[pairs](contest.counts) for index, contest in enumerate(contests) if contest.counts
    }
    answers: dict[int, list[float] | None] = dict.fromkeys(going)
    while going:
        wanted: dict[int, list[Pair]] = {}
        for index, answer in answers.items():
            try:
                wanted[index] = next(going[index]) if answer is None else going[index].send(answer)
            except StopIteration as end:
                found[index] = end.value
                del going[index]
        margins = iter(compare([(contests[index], pair) for index in wanted for pair in wanted[index]]))
        answers = {index: [next(margins) for _ in asked] for index, asked in wanted.items()}
    return found


class Share:
    """Progress of comparisons, told as completions: in the end all of them, also where none was compared."""

    def __init__(self, advance: Advance, completions: int, contests: Sequence[Contest], pairs: Pairs) -> None:
        self._advance, self._completions, self._told, self._done = advance, completions, 0, 0
        self._all = sum(comparisons(pairs, len(contest.distinct)) for contest in contests)

    def compared(self, pairs: int) -> None:
        self._done += pairs
        self._tell(self._completions * self._done // self._all)

    def end(self) -> None:
        self._tell(self._completions)

    def _tell(self, completions: int) -> None:
        if completions > self._told:
            self._advance(completions - self._told)
            self._told = completions
