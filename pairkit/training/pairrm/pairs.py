"""The pairs of candidate sets: what a step of PairRM takes some of.

A pair is a `TokenSet` whose prompt is the source and whose two columns are the two orders: the better
completion first, and the worse one first. What counts of a column are the prefixes of its completions, at
which the model is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch

from pairkit.losses.sampling import uniform
from pairkit.rankers.pairrm.text import PREFIX_AT
from pairkit.training.tokens.made_when_read import MadeWhenRead
from pairkit.training.tokens.sets import Tokenized
from pairkit.training.tokens.token_set import Column, TokenSet

Numbers = npt.NDArray[np.int64]
LAST = 2**31  # the rank of noise, below any other


class RankedPairs(MadeWhenRead[TokenSet]):
    """Pairs of completions of different rank.

    Args:
        tokenized: sets of `tokens.comparisons`.
        prefixes: the ids of <|candidate1|> and <|candidate2|>.
        most: pairs per set; None: all. More are drawn by (seed, set), the same in every epoch.
        seed: of that draw.

    Attributes:
        owner, better, worse: int64 `[pairs]`, the number of a pair's set and of its completions.
    """

    def __init__(
        self, tokenized: Tokenized, prefixes: tuple[int, int], most: int | None = None, seed: int = 0
    ) -> None:
        self._sets, self._prefixes = tokenized.sets, prefixes
        self._lengths = tokenized.lengths
        self.owner, self.better, self.worse = ranked_pairs(self._lengths.columns, _ranks(tokenized))
        if most is not None:
            indices = _drawn([item.set_id for item in self._sets], self.owner, most, seed)
            self.owner, self.better, self.worse = (
                array[indices] for array in (self.owner, self.better, self.worse)
            )

    def __len__(self) -> int:
        return len(self.owner)

    def item(self, position: int) -> TokenSet:
        """Return the pair at a position from 0 on."""
        item = self._sets[int(self.owner[position])]
        places = int(self.better[position]), int(self.worse[position])
        better, worse = (item.columns[place] for place in places)
        # With an id of its own, because what is drawn for an example is a hash of its id.
        name = f"{item.set_id}/{places[0]}-{places[1]}"
        return TokenSet(name, item.prompt, (self._joined(better, worse), self._joined(worse, better)))

    def tokens(self) -> int:
        """Count the tokens of all pairs, in both orders."""
        prompt, columns, completion = self._lengths
        first = (np.cumsum(columns) - columns)[self.owner]
        pairs = completion[first + self.better] + completion[first + self.worse]
        return int(2 * (prompt[self.owner] + pairs).sum())

    def _joined(self, first: Column, second: Column) -> Column:
        """Show two completions in this order; what else is known is that of the first."""
        ids = np.concatenate([first.ids, second.ids])
        places = [PREFIX_AT, len(first.ids) + PREFIX_AT]
        ids[places] = self._prefixes
        mask = np.zeros(len(ids), np.bool_)
        mask[places] = True
        return first._replace(ids=ids, scored=mask)


def ranked_pairs(columns: Numbers, ranks: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """List the pairs of different rank of some sets, set after set.

    Args:
        columns: `[sets]`, completions per set.
        ranks: `[completions of all sets]`, 1 is best.

    Returns:
        Of each pair the number of its set, of its better and of its worse completion.
    """
    first = np.cumsum(columns) - columns
    parts = [np.empty((3, 0), np.int64)]
    for size in np.unique(columns):  # all sets of one size at once
        rows = np.flatnonzero(columns == size)
        grid = ranks[first[rows][:, None] + np.arange(size)]  # [rows, size]
        i, j = np.triu_indices(size, 1)
        left, right = grid[:, i], grid[:, j]  # [rows, pairs of a set]
        better, worse = np.where(left < right, i, j), np.where(left < right, j, i)
        owner = np.broadcast_to(rows[:, None], left.shape)
        parts.append(np.stack([owner, better, worse])[:, left != right])
    pairs = np.concatenate(parts, axis=1)
    owner, better, worse = pairs[:, np.lexsort((pairs[2], pairs[1], pairs[0]))]
    return owner, better, worse


def _ranks(tokenized: Tokenized) -> Numbers:
    """Return the ranks of the completions of all usable sets; refused ones have no completions."""
    ranks = [batch["columns"].flatten().field("rank") for batch in tokenized.batches]
    return np.concatenate(
        [
            np.empty(0, np.int64),
            *(np.from_dlpack(pc.fill_null(each.cast("int64"), LAST)) for each in ranks if len(each)),
        ]
    )


def _drawn(names: Sequence[str], owner: Numbers, most: int, seed: int) -> Numbers:
    """Draw up to `most` pairs of each set, and return their positions."""
    # By the name of a set and the place of a pair in it, so that a draw does not change with other sets.
    hashes = [hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest() for name in names]
    seeds = torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in hashes])
    counts = np.bincount(owner, minlength=len(names))
    place = np.arange(len(owner)) - (np.cumsum(counts) - counts)[owner]
    keys = uniform(seeds, int(counts.max(initial=1)), salt=0).numpy()[owner, place]  # [pairs]
    order = np.lexsort((keys, owner))  # set after set, and in a set by key
    return np.sort(order[place < most])
