"""How often each prompt of a source came so far, in few bytes per prompt: a source may have millions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.uint64]


class Occurrences:
    """Counts of prompts by their ids of 16 hex digits; a dict of texts takes ten times the memory.

    What came is in sorted arrays, each at least twice as long as the next, so that an id is looked for in few
    of them and moved few times. Prompts that came more than once have their count besides.
    """

    def __init__(self) -> None:
        self._known: list[Ids] = []
        self._repeated: dict[int, int] = {}

    def add(self, prompt_ids: Sequence[str]) -> list[int]:
        """Count prompts, in order; return how often each came before."""
        ids = np.array([int(prompt_id, 16) for prompt_id in prompt_ids], np.uint64)
        distinct = np.unique(ids)
        known = self._holds(distinct)
        before = {number: self._repeated.get(number, 1) for number in distinct[known].tolist()}
        numbers = []
        for number in ids.tolist():
            count = before.get(number, 0)
            numbers.append(count)
            before[number] = count + 1
            if count:
                self._repeated[number] = count + 1
        self._keep(distinct[~known])
        return numbers

    def _holds(self, ids: Ids) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(ids), np.bool_)
        for part in self._known:
            places = np.minimum(np.searchsorted(part, ids), len(part) - 1)
            found |= part[places] == ids
        return found

    def _keep(self, new: Ids) -> None:
        while self._known and len(self._known[-1]) < 2 * len(new):
            new = np.sort(np.concatenate([self._known.pop(), new]))
        if len(new):
            self._known.append(new)
