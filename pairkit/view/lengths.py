"""Lengths of texts, which are read in the background after a collection was opened."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pairkit.view.background import Reading
from pairkit.view.facets import Facet, Numbers
from pairkit.view.files.shards import Shard
from pairkit.view.index import Index
from pairkit.view.texts import PROMPT, TEXT, lengths_of

LABELS = {
    "length:prompt": "characters of the prompt",
    "length:chosen": "characters of the chosen completion",
    "length:longest": "characters of the longest completion",
}


class Lengths:
    """Characters of prompts and completions, NaN until they are read.

    Attributes:
        reading: of the texts, in the background.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._numbers: dict[str, npt.NDArray[np.float32]] = {
            name: np.full(index.listing.size, np.nan, np.float32) for name in LABELS
        }
        self._facets: dict[str, Facet] = {}
        self.reading = Reading("lengths", index.listing.shards, self._read)

    def facets(self) -> dict[str, Facet]:
        """Return the facets of what is known so far."""
        if self._facets:
            return self._facets
        complete = self.reading.done
        # New ones while it goes on, because the numbers change, and with them the bins.
        facets: dict[str, Facet] = {
            name: Numbers(label, self._numbers[name] if complete else self._numbers[name].copy())
            for name, label in LABELS.items()
        }
        if complete:
            self._facets = facets
        return facets

    def of_row(self, row: int) -> dict[str, int] | None:
        """Return the lengths of a set; None where they are not known yet."""
        numbers = {name.removeprefix("length:"): self._numbers[name][row] for name in LABELS}
        if np.isnan(numbers["prompt"]):
            return None
        return {name: int(number) for name, number in numbers.items() if not np.isnan(number)}

    def _read(self, number: int, shard: Shard) -> Iterator[int]:
        row = int(self._index.listing.begins[number])
        for batch in shard.blocks((PROMPT, TEXT), range(shard.groups)):
            end = row + batch.num_rows
            for name, lengths in lengths_of(batch, self._index.chosen[row:end]).items():
                self._numbers[f"length:{name}"][row:end] = lengths
            row = end
            yield batch.num_rows
