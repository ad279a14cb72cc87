"""What can be listed: the rows of some files, and the facets by which they are filtered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from pairkit.view.facets import Facet, Grouped, joined_values
from pairkit.view.files.shards import Shard
from pairkit.view.lists import Positions


@dataclass(frozen=True)
class Listing:
    """Rows of files, numbered through all of them, with facets by name."""

    shards: Sequence[Shard]
    facets: dict[str, Facet]

    @cached_property
    def begins(self) -> Positions:
        """The first row of each file and, last, the number of rows, [shards + 1]."""
        return begins_of(self.shards)

    @property
    def size(self) -> int:
        """The number of rows."""
        return int(self.begins[-1])

    def places(self, rows: npt.NDArray[np.integer[Any]]) -> tuple[Positions, Positions]:
        """Return the number of each row's file, and that of the row in the file."""
        files = np.searchsorted(self.begins, rows, side="right") - 1
        return files, rows - self.begins[files]


def begins_of(shards: Sequence[Shard]) -> Positions:
    """Return the first row of each file and, last, the number of rows."""
    return np.concatenate([[0], np.cumsum([shard.rows for shard in shards])]).astype(np.int64)


def shared_facets(shards: Sequence[Shard]) -> dict[str, Facet]:
    """Return the facets of what the rows of a file have in common: its split and segment, if any."""
    facets: dict[str, Facet] = {}
    begins = begins_of(shards)
    for name in ("split", "segment"):
        values = [getattr(shard, name) for shard in shards]
        if set(values) - {""}:
            rows = [np.arange(shard.rows, dtype=np.uint32) for shard in shards]
            parts = [
                Grouped([value], np.array([len(own)]), own) for value, own in zip(values, rows, strict=True)
            ]
            facets[name] = joined_values(name, int(begins[-1]), begins[:-1].tolist(), parts)
    return facets
