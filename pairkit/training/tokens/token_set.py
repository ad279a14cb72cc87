"""A candidate set as token ids: its prompt, its completions, and what is known of it before it is read."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


class Column(NamedTuple):
    """One completion of a set, ready to be scored.

    Attributes:
        ids: the completion's tokens, with the end-of-turn token where it ended.
        scored: which of them count, as many as `ids`; None: all. The others are attended to, like a prompt.
    """

    ids: Ids
    rank: int | None
    score: float | None
    origin: str
    scored: Mask | None = None

    @property
    def targets(self) -> Ids:
        """The ids that count."""
        return self.ids if self.scored is None else self.ids[self.scored]

    @property
    def length(self) -> int:
        """How many ids count."""
        return len(self.ids) if self.scored is None else int(np.count_nonzero(self.scored))

    def cut(self, stop: int) -> Column:
        """Return the first `stop` ids."""
        return self._replace(ids=self.ids[:stop], scored=None if self.scored is None else self.scored[:stop])

    def prefix(self, count: int) -> Column:
        """Return the shortest beginning in which `count` ids count; there must be as many."""
        return self.cut(count if self.scored is None else int(np.flatnonzero(self.scored)[count - 1]) + 1)


class TokenSet(NamedTuple):
    """A candidate set as token ids, its completions in the set's order, best first.

    Attributes:
        label: whether the only completion of a labeled set is desirable; None for any other set.
        turns: which ids of the prompt are of the assistant's earlier turns and count, with the first
            completion, for the parts of a sum that take one completion; never the first id, which nothing
            predicts. None: none.
    """

    set_id: str
    prompt: Ids
    columns: tuple[Column, ...]
    label: bool | None = None
    turns: Mask | None = None

    @property
    def turn_count(self) -> int:
        """How many ids of the prompt count."""
        return 0 if self.turns is None else int(np.count_nonzero(self.turns))


class Refused(NamedTuple):
    """An unusable set, and why."""

    set_id: str
    reason: str
    detail: str


class Whole(NamedTuple):
    """The sizes of a set before it was cut to `max_length`, tokens.

    Attributes:
        completions: of each completion, the end of its turn included.
        identical: negatives left out because cutting made them equal to the chosen completion.
    """

    prompt: int
    completions: tuple[int, ...]
    identical: int = 0


class Lengths(NamedTuple):
    """The sizes of all usable sets.

    Attributes:
        prompt: int64 `[sets]`, tokens.
        columns: int64 `[sets]`, completions per set.
        completion: int64 `[completions of all sets]`, tokens, set after set.
    """

    prompt: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]
    completion: npt.NDArray[np.int64]


def checked(item: TokenSet) -> TokenSet | Refused:
    """Return the set, or why it cannot be used: a text has no token, or a completion none that counts."""
    if not len(item.prompt):
        return Refused(item.set_id, "empty_prompt", "the prompt has no token")
    if not all(len(column.ids) for column in item.columns):
        return Refused(item.set_id, "empty_completion", "a completion has no token")
    if not all(column.length for column in item.columns):
        return Refused(item.set_id, "nothing_scored", "a completion has no token that is scored")
    return item
