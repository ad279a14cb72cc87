"""How often each completion of the report's training sets has been drawn as a negative so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch

from pairkit.progress import warn
from pairkit.schema import short_hash
from pairkit.training.logprobs.selection import SetSelection
from pairkit.training.tokens.token_set import TokenSet

Draws = Counter[tuple[int, int]]  # of (number among the report's sets, completion)


class Drawn:
    """The counts, a part of every checkpoint of a run that records pairs.

    Args:
        sets: the report's training sets.

    Attributes:
        known: whether the counts are those of the whole run; not where it began without them.
    """

    def __init__(self, sets: Sequence[TokenSet]) -> None:
        self._numbers = {item.set_id: number for number, item in enumerate(sets)}
        widest = max((len(item.columns) for item in sets), default=0)
        self._counts = torch.zeros(len(sets), widest, dtype=torch.int64)
        # Counts of other sets are no counts of these.
        self._key = short_hash([[item.set_id, len(item.columns)] for item in sets])
        self.known = True

    def find(self, work: Iterable[SetSelection]) -> Draws:
        """Count the negatives among the selected completions of some sets."""
        return Counter(
            (number, column)
            for item in work
            if (number := self._numbers.get(item.tokens.set_id)) is not None
            for column in item.columns[1:]
        )

    def add(self, draws: Iterable[Draws]) -> None:
        """Add what each process has found in a step."""
        for counts in draws:
            for (number, column), count in counts.items():
                self._counts[number, column] += count

    def of(self, number: int) -> list[int]:
        """Return the counts of a set's completions."""
        return self._counts[number].tolist()

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"key": self._key, "counts": self._counts.clone(), "known": self.known}

    def load_state_dict(self, state: Mapping[str, Any] | None) -> None:
        """Restore the counts of a checkpoint; without any of these sets they are not known any more."""
        self.known = state is not None and state["known"] and state["key"] == self._key
        if state is not None and self.known:
            self._counts = state["counts"].clone()
        else:
            warn(
                "record.pairs: the run began without the counts of these sets, so that the column `drawn` is "
                "null; start a new run to have it"
            )
