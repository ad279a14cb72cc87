"""Facets: what sets are filtered, counted and sorted by, as arrays with an entry per set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from pairkit.errors import RecipeError
from pairkit.intervals import Floats
from pairkit.view.lists import Mask, Positions

BINS = 40
SHOWN = 500  # values of a facet that are listed
_SAMPLE = 100_000  # numbers that decide where the bins are
_MISSING = 255  # the bin of what is not known

Filter = Mapping[str, Any]


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
        counts = np.add.reduceat(selected[self.positions], self.cuts[:-1], dtype=np.int64)
        # By the counts of all sets, so that no row of a list jumps while somebody filters.
        listed = self._order[:SHOWN]
        return {
            "values": [[self.values[number], int(counts[number])] for number in listed.tolist()],
            "more": len(self.values) - len(listed),
        }

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
        bins = np.bincount(self._bins[selected], minlength=_MISSING + 1)
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
        if not len(self.edges):
            return np.full(len(self.numbers), _MISSING, np.uint8)
        # Edges but the outer ones, so that what is equal to the last one is in the last bin.
        bins = np.searchsorted(self.edges[1:-1], self.numbers, side="right").astype(np.uint8)
        bins[np.isnan(self.numbers)] = _MISSING
        return bins


Facet = Values | Numbers
