"""How much two rankers disagree about a set: the share of its pairs that their scores order differently."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pairkit.arrow import list_indices
from pairkit.errors import unknown
from pairkit.intervals import Floats
from pairkit.view.columns import Columns, columns_of, read_columns
from pairkit.view.facets import Numbers
from pairkit.view.files.shards import Shard, runs
from pairkit.view.index import UNIT, Index
from pairkit.view.lists import Positions

FACET = "disagreement"
OWN = ("score", "rank")  # of every completion, besides its named scores


def compared(index: Index) -> list[str]:
    """Return the names that can be compared: the score and the rank of completions, and named scores."""
    return [*OWN, *index.names]


def disagreement(index: Index, first: str, second: str) -> Numbers:
    """Compute for each set the share of pairs that two scores order differently, of those that both order.

    A tie is no order; a set without a pair that both order has none. The scores are read for it, and not
    kept.

    Raises:
        RecipeError: a name that no completion has.
        InputError: a file that cannot be read any more.
    """
    for name in (first, second):
        if name not in compared(index):
            raise unknown("score", name, compared(index))

    needed = columns_of((first, second))

    def shares(unit: tuple[Shard, range]) -> Floats:
        columns = read_columns(*unit, needed)
        return differing(_values(columns, first), _values(columns, second), columns.cuts)

    units = [unit for shard in index.listing.shards for unit in runs(shard, UNIT)]
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as threads:
        parts = list(threads.map(shares, units))
    numbers = np.concatenate([np.empty(0), *parts]).astype(np.float32)
    return Numbers(f"disagreement of {first} and {second}", numbers)


def differing(first: Floats, second: Floats, cuts: Positions) -> Floats:
    """Return of each set the share of pairs in different order, of those that both order; NaN without any.

    Args:
        first, second: [N] each; NaN where a completion has none.
        cuts: where the completions of each set begin, [sets + 1].
    """
    size = len(cuts) - 1
    owners = list_indices(cuts)
    # How many completions of its set come after each one.
    following = np.repeat(cuts[1:], np.diff(cuts)) - np.arange(len(first)) - 1
    ordered, different = np.zeros(size), np.zeros(size)
    places = np.flatnonzero(following)
    distance = 1
    while len(places):
        sign = np.sign(first[places + distance] - first[places])
        sign *= np.sign(second[places + distance] - second[places])
        both = np.nan_to_num(sign) != 0
        ordered += np.bincount(owners[places[both]], minlength=size)
        different += np.bincount(owners[places[sign < 0]], minlength=size)
        distance += 1
        places = places[following[places] >= distance]
    shares: Floats = np.divide(different, ordered, out=np.full(size, np.nan), where=ordered > 0)
    return shares


def _values(columns: Columns, name: str) -> Floats:
    if name == "score":
        return columns.score
    if name == "rank":
        return -columns.rank
    # A file may lack a name that others have.
    return dict(columns.named()).get(name, np.full(int(columns.cuts[-1]), np.nan))
