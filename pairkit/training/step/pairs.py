"""Every (chosen, negative) pair as a training example of its own: the recipe's `expand: pairs`.

A set of K completions becomes K - 1 sets of two, which are shuffled like any others: an epoch has K - 1 times
the steps, and the pairs of a set are in different steps. (With `negatives.sampling=all` they are in one.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pairkit.training.step.examples import Mismatched, Split
from pairkit.training.tokens.made_when_read import MadeWhenRead
from pairkit.training.tokens.token_set import Lengths, TokenSet

T = TypeVar("T")


class PairSets(MadeWhenRead[TokenSet]):
    """The pairs of some sets; a set of one completion stays as it is.

    Args:
        sets: the sets, their best completion first.
        completions: int64 `[sets]`, completions per set.

    Attributes:
        owner: int64 `[pairs]`, the number of each pair's set.
        column: int64 `[pairs]`, its negative; 0 for a set of one completion.
    """

    def __init__(self, sets: Sequence[TokenSet], completions: npt.NDArray[np.int64]) -> None:
        self._sets = sets
        counts = pair_counts(completions)
        self.owner = np.repeat(np.arange(len(sets)), counts)
        place = np.arange(len(self.owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.column = np.where(completions[self.owner] > 1, place + 1, 0)

    def __len__(self) -> int:
        return len(self.owner)

    def item(self, position: int) -> TokenSet:
        """Return the pair at a position from 0 on."""
        item, column = self._sets[int(self.owner[position])], int(self.column[position])
        if not column:
            return item
        # With an id of its own, because what is drawn for an example is a hash of its id.
        return item._replace(
            set_id=f"{item.set_id}/{column}", columns=(item.columns[0], item.columns[column])
        )

    def of_sets(self, values: Sequence[T]) -> list[T]:
        """Repeat values of the sets for each of their pairs."""
        return [values[i] for i in self.owner.tolist()]


def as_pairs(split: Split, pairs: PairSets) -> Split:
    """Make a split of pairs from that of their sets: what is known of the sets' completions is looked up."""
    both = [[0, column] if column else [0] for column in pairs.column.tolist()]

    def chosen_and_negative(
        rows: Sequence[npt.NDArray[np.float32]] | None,
    ) -> list[npt.NDArray[np.float32]] | None:
        if rows is None:
            return None
        return [row[columns] for row, columns in zip(pairs.of_sets(rows), both, strict=True)]

    mismatch = split.mismatched
    if mismatch is not None:
        reference = mismatch.reference
        mismatch = Mismatched(
            pairs.of_sets(mismatch.sets), None if reference is None else pairs.of_sets(reference)
        )
    return Split(pairs, chosen_and_negative(split.reference), chosen_and_negative(split.heads), mismatch)


def pair_counts(completions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many examples sets of so many completions (`[B]`) become: one per negative, at least one."""
    return np.maximum(completions - 1, 1)


def pair_tokens(lengths: Lengths) -> int:
    """Count the tokens of all pairs, the prompt and the chosen completion of a set in each of its pairs."""
    counts = pair_counts(lengths.columns)
    first = np.cumsum(lengths.columns) - lengths.columns  # where each set's completions begin
    again = lengths.completion[first] * (counts - 1)
    return int((lengths.prompt * counts + again).sum() + lengths.completion.sum())
