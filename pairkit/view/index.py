"""The index: what sets are filtered and sorted by, read from the small leaf columns of their files.

No text is read. Per set it takes about 60 bytes, 5 more for each named score, and 4 for each model that has
written for the set.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.errors import InputError
from pairkit.intervals import Floats
from pairkit.view.columns import Codes, Columns, Keys, read_columns
from pairkit.view.facets import Facet, Numbers, values_of
from pairkit.view.files.shards import Shard, runs
from pairkit.view.listing import Listing, shared_facets
from pairkit.view.lists import Mask, Positions, at, first, last, reduced

NAMES = 24  # named scores that become facets, the most frequent ones
UNIT = 16_384  # sets that are reduced at once: little memory, and arrays that stay in a processor's cache
LABELS = {
    "source": "source",
    "model": "model",
    "origin": "origin",
    "finish_reason": "finish reason",
    "completions": "completions",
    "margin": "margin",
    "best": "best score",
    "worst": "worst score",
}
_VALUES = ("source", "model", "origin", "finish_reason")
_NUMBERS = ("completions", "margin", "best", "worst")
_SPREAD = "spread:"


class Index(NamedTuple):
    """The numbers of all sets that can be read.

    Attributes:
        listing: the files, and what sets are filtered by.
        keys: a hash of each set's id, [sets].
        chosen: the position in its set of the best completion, -1 where none is ranked, [sets].
        names: all named scores, the most frequent first.
    """

    listing: Listing
    keys: Keys
    chosen: npt.NDArray[np.int32]
    names: Sequence[str]


class _Part(NamedTuple):
    """The numbers of some sets that follow each other in a file."""

    size: int
    keys: Keys
    chosen: npt.NDArray[np.int32]
    numbers: Mapping[str, Floats]
    # Pairs of the number of a value and of a set here, sorted by the set, each once.
    pairs: Mapping[str, tuple[Positions, Positions]]
    codes: Mapping[str, Codes]
    names: Counter[str]


def build_index(shards: Iterable[Shard]) -> tuple[Index, list[dict[str, str]]]:
    """Read the index of some files; return it, and the files that cannot be read with the reason."""
    units = [unit for shard in shards for unit in runs(shard, UNIT)]
    good: list[Shard] = []
    parts: list[_Part] = []
    problems = []
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as threads:
        results = zip((shard for shard, _ in units), threads.map(_tried, units), strict=True)
        for shard, group in groupby(results, key=lambda result: result[0]):
            own = [part for _, part in group]
            # A file that ends too soon has good row groups, but nobody knows which sets were meant.
            errors = [part for part in own if isinstance(part, InputError)]
            if errors:
                problems.append({"file": shard.label, "message": str(errors[0])})
            else:
                good.append(shard)
                parts += [part for part in own if not isinstance(part, InputError)]
    return _joined(good, parts), problems


def chosen_and_lowest(rank: Floats, ranked: Mask, cuts: Positions) -> tuple[Positions, Positions]:
    """Return of each set the first completion of the best rank, and the last one of the lowest below it.

    Indices of `rank`; -1 where a set has no ranked completion, or none below the best.
    """
    owners = np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))
    best = reduced(np.minimum, np.where(ranked, rank, np.inf), cuts, np.inf)
    lowest = reduced(np.maximum, np.where(ranked, rank, -np.inf), cuts, -np.inf)
    lowest[lowest <= best] = np.nan  # a tie, of which none is rejected
    return first(ranked & (rank == best[owners]), cuts), last(ranked & (rank == lowest[owners]), cuts)


def _tried(unit: tuple[Shard, range]) -> _Part | InputError:
    try:
        return _part(read_columns(*unit))
    except InputError as error:
        return error


def _part(columns: Columns) -> _Part:
    """Reduce columns of completions to numbers of sets."""
    cuts, score = columns.cuts, columns.score
    size = len(cuts) - 1
    noise = columns.values["origin"] == columns.codes["origin"].number("noise")
    chosen, rejected = chosen_and_lowest(columns.rank, ~np.isnan(columns.rank) & ~noise, cuts)
    own_score = np.where(noise, np.nan, score)
    numbers = {
        "completions": np.diff(cuts).astype(np.float64),
        "margin": at(score, chosen) - at(score, rejected),
        **_extremes(own_score, cuts, "best", "worst"),
    }
    names: Counter[str] = Counter()
    for name, values in columns.named():
        names[name] = int((~np.isnan(values)).sum())
        ends = _extremes(values, cuts, "high", "low")
        numbers[f"{_SPREAD}{name}"] = ends["high"] - ends["low"]
    owners = np.repeat(np.arange(size), np.diff(cuts))
    pairs = {
        name: (values, np.arange(size)) if name == "source" else _distinct(values, owners)
        for name, values in columns.values.items()
    }
    places = np.where(chosen < 0, -1, chosen - cuts[:-1]).astype(np.int32)
    return _Part(size, columns.keys, places, numbers, pairs, columns.codes, names)


def _extremes(values: Floats, cuts: Positions, high: str, low: str) -> dict[str, Floats]:
    return {
        high: reduced(np.fmax, values, cuts, np.nan),
        low: reduced(np.fmin, values, cuts, np.nan),
    }


def _distinct(codes: Positions, owners: Positions) -> tuple[Positions, Positions]:
    """Return pairs of a value and a set, each once."""
    again = np.zeros(len(codes), np.bool_)
    again[1:] = (codes[1:] == codes[:-1]) & (owners[1:] == owners[:-1])
    # Most are next to each other, so that few are left to be sorted.
    pairs = owners[~again] << 32 | codes[~again]
    pairs.sort()
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])] if len(pairs) else pairs
    return pairs & 0xFFFFFFFF, pairs >> 32


def _joined(shards: Sequence[Shard], parts: Sequence[_Part]) -> Index:
    """Join the numbers of all files."""
    sizes = np.array([part.size for part in parts], np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    size = int(starts[-1])
    facets = shared_facets(shards)
    for name in _VALUES:
        pairs = [(part.codes[name], *part.pairs[name]) for part in parts]
        facets[name] = _joined_values(LABELS[name], size, starts, pairs)
    for name in _NUMBERS:
        facets[name] = Numbers(LABELS[name], _joined_numbers(name, parts))
    counts = sum((part.names for part in parts), Counter[str]())
    names = [name for name, _ in counts.most_common()]
    for name in names[:NAMES]:
        spreads = _joined_numbers(f"{_SPREAD}{name}", parts)
        facets[f"{_SPREAD}{name}"] = Numbers(f"spread of {name}", spreads.astype(np.float32))
    keys = np.concatenate([np.empty(0, np.uint64), *(part.keys for part in parts)])
    chosen = np.concatenate([np.empty(0, np.int32), *(part.chosen for part in parts)])
    return Index(Listing(shards, facets), keys, chosen, names)


def _joined_values(
    label: str, size: int, starts: Positions, parts: Sequence[tuple[Codes, Positions, Positions]]
) -> Facet:
    every = Codes()
    codes, rows = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for start, (own, values, owners) in zip(starts[:-1], parts, strict=True):
        renumbered = np.array([every.number(text) for text in own.numbers] or [0], np.int64)
        codes.append(renumbered[values])
        rows.append(owners + start)
    return values_of(label, size, list(every.numbers), np.concatenate(codes), np.concatenate(rows))


def _joined_numbers(name: str, parts: Sequence[_Part]) -> Floats:
    # Some sets have scores that others have not.
    own = (part.numbers.get(name, np.full(part.size, np.nan)) for part in parts)
    return np.concatenate([np.empty(0), *own])
