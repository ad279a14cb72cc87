"""Facets: what sets are filtered, counted and sorted by, as arrays with an entry per set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from pairkit.errors import RecipeError
from pairkit.intervals import Floats
from pairkit.view.lists import Mask, Positions

BINS = 40
SHOWN = 500  # values of a facet that are listed
_SAMPLE = 100_000  # numbers that decide where the bins are
_PART = 2**16  # sets that are counted at once
_MISSING = 255  # the bin of what is not known

Filter = Mapping[str, Any]


def parts_of(size: int) -> Iterator[slice]:
    """Divide so many sets into parts: numpy would make 8 bytes of each number of all of them at once."""
    return (slice(begin, begin + _PART) for begin in range(0, size, _PART))


@dataclass(frozen=True)
class Values:
    """A facet of values, of which a set may have several, such as the models of its completions.

    Attributes:
        size: number of sets.
        values: each value; null is a value too.
        positions: the sets of the first value, then those of the second, ...
        cuts: where the sets of each value begin in `positions`, [values + 1].
    """

    label: str
    size: int
    values: Sequence[str | None]
    positions: npt.NDArray[np.uint32]
    cuts: Positions
    kind: ClassVar[str] = "values"

    def mask(self, chosen: Filter) -> Mask:
        """Mark the sets that have one of `chosen["values"]`. Raises `RecipeError` for another filter."""
        values = chosen.get("values") if isinstance(chosen, Mapping) else None
        if not isinstance(values, list) or set(chosen) != {"values"}:
            raise RecipeError(f"{self.label}: is filtered by {{values: [...]}}, got {chosen!r}")
        marked = np.zeros(self.size, np.bool_)
        for value in values:
            number = self._numbers.get(value) if value is None or isinstance(value, str) else None
            if number is not None:
                marked[self.positions[self.cuts[number] : self.cuts[number + 1]]] = True
        return marked

    def counted(self, selected: Mask) -> dict[str, Any]:
        """Count the selected sets by value, most frequent first; `more` values are not listed."""
        if not self.values:
            return {"values": [], "more": 0}
        counts = self._counts(selected)
        # By the counts of all sets, so that no row of a list jumps while somebody filters.
        listed = self._order[:SHOWN]
        return {
            "values": [[self.values[number], int(counts[number])] for number in listed.tolist()],
            "more": len(self.values) - len(listed),
        }

    def _counts(self, selected: Mask) -> Positions:
        """Count the selected sets of each value, [values]."""
        before = np.zeros(len(self.cuts), np.int64)  # selected ones before each cut
        total = 0
        for part in parts_of(len(self.positions)):
            sums = np.cumsum(selected[self.positions[part]])
            inside = slice(*np.searchsorted(self.cuts, [part.start, part.start + len(sums)], side="right"))
            before[inside] = total + sums[self.cuts[inside] - part.start - 1]
            total += int(sums[-1])
        return np.diff(before)

    @cached_property
    def _order(self) -> Positions:
        return np.argsort(-np.diff(self.cuts), kind="stable")

    @cached_property
    def _numbers(self) -> dict[str | None, int]:
        return {value: number for number, value in enumerate(self.values)}


def values_of(
    label: str,
    size: int,
    values: Sequence[str | None],
    codes: npt.NDArray[np.integer[Any]],
    rows: npt.NDArray[np.integer[Any]],
) -> Values:
    """Make a facet of pairs of a value's number and a set; the sets ascend, and no pair comes twice."""
    counts = np.bincount(codes, minlength=len(values))
    used = np.flatnonzero(counts)
    # Numbers of 16 bits are sorted in linear time.
    order = np.argsort(codes.astype(np.uint16) if len(values) < 2**16 else codes, kind="stable")
    cuts = np.concatenate([[0], np.cumsum(counts[used])]).astype(np.int64)
    return Values(
        label, size, [values[number] for number in used.tolist()], rows[order].astype(np.uint32), cuts
    )


class Grouped(NamedTuple):
    """Values of some sets that follow each other in a file, sets and values each once.

    Attributes:
        values: each value; some may be of no set.
        counts: of how many sets each value is, [values].
        sets: those of the first value, then those of the second, ..., numbered from the first of these sets.
    """

    values: Sequence[str | None]
    counts: Positions
    sets: npt.NDArray[np.unsignedinteger[Any]]


def grouped(values: Sequence[str | None], codes: npt.NDArray[np.integer[Any]], owners: Positions) -> Grouped:
    """Group pairs of a value's number and a set, in any order and as often as they come."""
    # Most that come again are next to each other, so that few are left to be sorted.
    again = np.zeros(len(codes), np.bool_)
    again[1:] = (codes[1:] == codes[:-1]) & (owners[1:] == owners[:-1])
    pairs = codes[~again].astype(np.int64) << 32 | owners[~again]
    pairs.sort()
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])] if len(pairs) else pairs
    sets = pairs & 0xFFFFFFFF
    # Kept until all files are read.
    short = np.uint16 if sets.max(initial=0) < 2**16 else np.uint32
    return Grouped(values, np.bincount(pairs >> 32, minlength=len(values)), sets.astype(short))


def joined_values(label: str, size: int, starts: Sequence[int], parts: Sequence[Grouped]) -> Values:
    """Make a facet of `size` sets of what groups of them have, which begin at the sets `starts`."""
    numbers: dict[str | None, int] = {}
    codes = [
        np.array([numbers.setdefault(value, len(numbers)) for value in part.values], np.int64)
        for part in parts
    ]
    counts = np.zeros(len(numbers), np.int64)
    for of_part, part in zip(codes, parts, strict=True):
        counts[of_part] += part.counts
    cuts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    positions = np.empty(cuts[-1], np.uint32)
    free = cuts[:-1].copy()  # where the next set of each value goes
    for start, of_part, part in zip(starts, codes, parts, strict=True):
        first = free[of_part] - np.cumsum(part.counts) + part.counts
        positions[np.repeat(first, part.counts) + np.arange(len(part.sets))] = part.sets + np.uint32(start)
        free[of_part] += part.counts
    used = np.flatnonzero(counts)
    texts = list(numbers)
    return Values(
        label, size, [texts[number] for number in used.tolist()], positions, np.append(cuts[used], cuts[-1])
    )


@dataclass(frozen=True)
class Numbers:
    """A facet of one number per set; NaN where it has none, or where it is not known yet."""

    label: str
    numbers: npt.NDArray[np.floating[Any]]
    kind: ClassVar[str] = "number"

    def mask(self, chosen: Filter) -> Mask:
        """Mark the sets between `min` and `max`, both included. Raises `RecipeError` for another filter."""
        bounds = {
            key: value
            for key, value in (chosen.items() if isinstance(chosen, Mapping) else ())
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        if not bounds or set(bounds) != set(chosen) or set(bounds) - {"min", "max"}:
            raise RecipeError(f"{self.label}: is filtered by {{min: number, max: number}}, got {chosen!r}")
        marked: Mask = ~np.isnan(self.numbers)
        if "min" in bounds:
            marked &= self.numbers >= bounds["min"]
        if "max" in bounds:
            marked &= self.numbers <= bounds["max"]
        return marked

    def counted(self, selected: Mask) -> dict[str, Any]:
        """Count the selected sets in bins; the first and the last one go to the extremes."""
        bins = np.zeros(_MISSING + 1, np.int64)
        for part in parts_of(len(selected)):
            bins += np.bincount(self._bins[part][selected[part]], minlength=_MISSING + 1)
        edges = self.edges
        return {
            "edges": edges.tolist(),
            "counts": bins[: max(0, len(edges) - 1)].tolist(),
            "missing": int(bins[_MISSING]),
        }

    @cached_property
    def edges(self) -> Floats:
        """The edges of the bins: one bin per number where there are few, else equal but for the two ends."""
        known = self.numbers[~np.isnan(self.numbers)]
        if not len(known):
            return np.empty(0)
        low, high = float(known.min()), float(known.max())
        some = known[:: max(1, len(known) // _SAMPLE)]
        if high - low < BINS and (some == np.round(some)).all():
            return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1)
        if low == high:
            return np.array([low - 0.5, high + 0.5])
        # Without the hundredth that is farthest out, which would leave one bin for all others.
        inner = np.quantile(some, [0.005, 0.995])
        inner = inner if inner[1] > inner[0] else np.array([low, high])
        edges = np.linspace(inner[0], inner[1], BINS + 1)
        edges[0], edges[-1] = low, high
        return edges

    @cached_property
    def _bins(self) -> npt.NDArray[np.uint8]:
        bins = np.full(len(self.numbers), _MISSING, np.uint8)
        if not len(self.edges):
            return bins
        for part in parts_of(len(bins)):
            numbers = self.numbers[part]
            # Edges but the outer ones, so that what is equal to the last one is in the last bin.
            places = np.searchsorted(self.edges[1:-1], numbers, side="right")
            bins[part] = np.where(np.isnan(numbers), _MISSING, places)
        return bins


Facet = Values | Numbers
