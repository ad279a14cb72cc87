"""What rows of JSON say themselves, next to the columns that they were made into.

A column has one type and one list of keys for all rows. `Raw` has the values of each row as they are written;
`Rest` is columns that know theirs, so that `json_objects` can write them. Nothing is parsed until then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.readers.written.exact_json import loads_known

RAW = "\0raw"  # the column in which a table of rows has their texts


class Raw:
    """The JSON values that some columns were made of, one per row; None where a row has none."""

    def __init__(self, load: Callable[[], list[Any]]) -> None:
        self._load = load

    @cached_property
    def values(self) -> list[Any]:
        """The values, parsed when they are first asked for."""
        return self._load()

    @classmethod
    def of_texts(cls, texts: pa.Array | pa.ChunkedArray) -> Raw:
        """Return the values that texts of JSON hold."""
        return cls(lambda: [None if text is None else loads_known(text) for text in texts.to_pylist()])

    def field(self, name: str) -> Raw:
        """Return the values of a key."""
        return Raw(lambda: [value.get(name) if isinstance(value, dict) else None for value in self.values])

    def map(self, function: Callable[[Any], Any]) -> Raw:
        """Return what a function makes of each value that there is."""
        return Raw(lambda: [None if value is None else function(value) for value in self.values])

    def take(self, places: Sequence[int]) -> Raw:
        """Return the values at `places`."""
        return Raw(lambda: [self.values[place] for place in places])

    def items(self, lengths: np.ndarray[Any, Any]) -> Raw:
        """Return the items of lists of these lengths; None for those of a value that is another list."""

        def load() -> list[Any]:
            items: list[Any] = []
            for value, length in zip(self.values, lengths.tolist(), strict=True):
                same = isinstance(value, list) and len(value) == length
                items += value if same else [None] * length
            return items

        return Raw(load)

    def without(self, names: Sequence[Collection[str]]) -> Raw:
        """Return objects without some of their keys."""

        def left(value: Any, gone: Collection[str]) -> Any:
            if not gone or not isinstance(value, dict):
                return value
            return {name: item for name, item in value.items() if name not in gone}

        return Raw(lambda: [left(v, gone) for v, gone in zip(self.values, names, strict=True)])

    def replaced(self, changes: Sequence[Mapping[str, Any]]) -> Raw:
        """Return objects with other values of some keys."""
        return Raw(lambda: [{**(v or {}), **new} for v, new in zip(self.values, changes, strict=True)])


class Place(NamedTuple):
    """Where the values of a column are written: a key of objects."""

    objects: Raw
    key: str


class Rest(dict[str, pa.Array]):
    """Columns by name, and where the values of those are written that come from JSON."""

    def __init__(self, arrays: Mapping[str, pa.Array], places: Mapping[str, Place]) -> None:
        super().__init__(arrays)
        self.places = dict(places)

    def __or__(self, other: Mapping[str, pa.Array]) -> Rest:  # type: ignore[override]
        """Return the columns of both; those of `other` replace columns of their name."""
        places = {name: place for name, place in self.places.items() if name not in other}
        more = other.places if isinstance(other, Rest) else {}
        return Rest({**self, **other}, {**places, **more})
