"""The index: what sets are filtered and sorted by, read from the small leaf columns of their files.

No text is read. Per set it takes about 80 bytes, those of lengths among them, 5 more for each named score,
and 4 for each model that has written for the set: a million sets of four completions with four named scores
take some 120 MB. Numbers are written to where they stay as soon as they are read, so that opening takes
little more.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.arrow import list_indices
from pairkit.errors import InputError
from pairkit.intervals import Floats
from pairkit.view.columns import Columns, Keys, read_columns
from pairkit.view.facets import Grouped, Numbers, grouped, joined_values
from pairkit.view.files.shards import Shard, runs
from pairkit.view.listing import Listing, begins_of, shared_facets
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
_NUMBERS = {"completions": np.float32, "margin": np.float64, "best": np.float64, "worst": np.float64}
_SPREAD = "spread:"
Column = npt.NDArray[np.floating[Any]]


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


class _Whole(NamedTuple):
    """The numbers that every set has, of all sets, [sets] each."""

    keys: Keys
    chosen: npt.NDArray[np.int32]
    numbers: dict[str, Column]

    def kept(self, mask: Mask) -> _Whole:
        """Return the numbers of some sets."""
        numbers = {name: values[mask] for name, values in self.numbers.items()}
        return _Whole(self.keys[mask], self.chosen[mask], numbers)


class _Unit(NamedTuple):
    """Row groups of a file: the number of the file, and the sets in them by their numbers."""

    shard: Shard
    groups: range
    file: int
    begin: int
    end: int


class _Part(NamedTuple):
    """What sets of a unit have that others may not have."""

    size: int
    values: dict[str, Grouped]
    spreads: dict[str, Column]
    names: Counter[str]


def build_index(shards: Sequence[Shard]) -> tuple[Index, list[dict[str, str]]]:
    """Read the index of some files; return it, and the files that cannot be read with the reason."""
    units = list(_units(shards))
    size = sum(shard.rows for shard in shards)
    numbers: dict[str, Column] = {name: np.empty(size, kind) for name, kind in _NUMBERS.items()}
    whole = _Whole(np.empty(size, np.uint64), np.empty(size, np.int32), numbers)
    with ThreadPoolExecutor(min(8, len(os.sched_getaffinity(0)))) as threads:
        results = list(threads.map(partial(_tried, whole=whole), units))
    errors: dict[int, InputError] = {}
    for unit, result in zip(units, results, strict=True):
        # A file that ends too soon has good row groups, but nobody knows which sets were meant.
        if isinstance(result, InputError):
            errors.setdefault(unit.file, result)
    good = [shard for file, shard in enumerate(shards) if file not in errors]
    if errors:
        rows = [shard.rows for shard in shards]
        whole = whole.kept(np.repeat([file not in errors for file in range(len(shards))], rows))
    parts = [
        result
        for unit, result in zip(units, results, strict=True)
        if unit.file not in errors and isinstance(result, _Part)
    ]
    del results  # so that parts go as they are joined
    problems = [{"file": shards[file].label, "message": str(error)} for file, error in errors.items()]
    return _joined(good, whole, parts), problems


def _units(shards: Sequence[Shard]) -> Iterator[_Unit]:
    for file, (shard, begin) in enumerate(zip(shards, begins_of(shards).tolist(), strict=False)):
        for _, groups in runs(shard, UNIT):
            first, last = shard.cuts[groups.start], shard.cuts[groups.stop]
            yield _Unit(shard, groups, file, begin + int(first), begin + int(last))


def chosen_and_lowest(rank: Floats, ranked: Mask, cuts: Positions) -> tuple[Positions, Positions]:
    """Return of each set the first completion of the best rank, and the last one of the lowest below it.

    Indices of `rank`; -1 where a set has no ranked completion, or none below the best.
    """
    owners = list_indices(cuts)
    best = reduced(np.minimum, np.where(ranked, rank, np.inf), cuts, np.inf)
    lowest = reduced(np.maximum, np.where(ranked, rank, -np.inf), cuts, -np.inf)
    lowest[lowest <= best] = np.nan  # a tie, of which none is rejected
    return first(ranked & (rank == best[owners]), cuts), last(ranked & (rank == lowest[owners]), cuts)


def _tried(unit: _Unit, whole: _Whole) -> _Part | InputError:
    try:
        columns = read_columns(unit.shard, unit.groups)
    except InputError as error:
        return error
    return _part(columns, unit, whole)


def _part(columns: Columns, unit: _Unit, whole: _Whole) -> _Part:
    """Reduce columns of completions to numbers of sets, those that every set has in `whole`."""
    cuts, score = columns.cuts, columns.score
    size = len(cuts) - 1
    noise = columns.values["origin"] == columns.codes["origin"].number("noise")
    chosen, rejected = chosen_and_lowest(columns.rank, ~np.isnan(columns.rank) & ~noise, cuts)
    mine = slice(unit.begin, unit.end)
    whole.keys[mine] = columns.keys
    whole.chosen[mine] = np.where(chosen < 0, -1, chosen - cuts[:-1])
    best, worst = _extremes(np.where(noise, np.nan, score), cuts)
    margin = at(score, chosen) - at(score, rejected)
    for name, values in zip(_NUMBERS, (np.diff(cuts), margin, best, worst), strict=True):
        whole.numbers[name][mine] = values
    spreads: dict[str, Column] = {}
    names: Counter[str] = Counter()
    for name, values in columns.named():
        names[name] = int((~np.isnan(values)).sum())
        high, low = _extremes(values, cuts)
        spreads[name] = (high - low).astype(np.float32)
    owners = list_indices(cuts)
    of_sets = {
        name: grouped(
            list(columns.codes[name].numbers), codes, np.arange(size) if name == "source" else owners
        )
        for name, codes in columns.values.items()
    }
    return _Part(size, of_sets, spreads, names)


def _extremes(values: Floats, cuts: Positions) -> tuple[Floats, Floats]:
    return reduced(np.fmax, values, cuts, np.nan), reduced(np.fmin, values, cuts, np.nan)


def _joined(shards: Sequence[Shard], whole: _Whole, parts: Sequence[_Part]) -> Index:
    """Join the numbers of all files."""
    starts = np.cumsum([0, *(part.size for part in parts)])
    facets = shared_facets(shards)
    for name in _VALUES:
        # Taken out, so that they go as soon as they are joined.
        groups = [part.values.pop(name) for part in parts]
        facets[name] = joined_values(LABELS[name], int(starts[-1]), starts[:-1].tolist(), groups)
    for name, values in whole.numbers.items():
        facets[name] = Numbers(LABELS[name], values)
    counts = sum((part.names for part in parts), Counter[str]())
    names = [name for name, _ in counts.most_common()]
    for name in names[:NAMES]:
        facets[f"{_SPREAD}{name}"] = Numbers(f"spread of {name}", _spread(name, parts))
    return Index(Listing(shards, facets), whole.keys, whole.chosen, names)


def _spread(name: str, parts: Sequence[_Part]) -> Column:
    # Some sets have scores that others have not.
    own = (part.spreads.pop(name, np.full(part.size, np.nan, np.float32)) for part in parts)
    return np.concatenate([np.empty(0, np.float32), *own])
