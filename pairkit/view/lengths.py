"""Lengths of texts, which are read in the background after a collection was opened."""

from __future__ import annotations

from threading import Event, Thread

import numpy as np
import numpy.typing as npt

from pairkit.errors import InputError
from pairkit.view.facets import Facet, Numbers
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
        read: sets whose texts were read, or could not be.
        problems: files that could not be read, with the reason.
    """

    def __init__(self, index: Index) -> None:
        self.read, self.of = 0, index.listing.size
        self.problems: list[dict[str, str]] = []
        self._index = index
        self._numbers: dict[str, npt.NDArray[np.float32]] = {
            name: np.full(self.of, np.nan, np.float32) for name in LABELS
        }
        self._facets: dict[str, Facet] = {}
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="lengths", daemon=True)

    @property
    def done(self) -> bool:
        """Whether all lengths are known."""
        return self.read >= self.of

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and wait until nothing is read any more."""
        self._stopped.set()
        self._thread.join()

    def facets(self) -> dict[str, Facet]:
        """Return the facets of what is known so far."""
        if self._facets:
            return self._facets
        done = self.done
        # New ones while it goes on, because the numbers change, and with them the bins.
        facets: dict[str, Facet] = {
            name: Numbers(label, self._numbers[name] if done else self._numbers[name].copy())
            for name, label in LABELS.items()
        }
        if done:
            self._facets = facets
        return facets

    def of_row(self, row: int) -> dict[str, int] | None:
        """Return the lengths of a set; None where they are not known yet."""
        numbers = {name.removeprefix("length:"): self._numbers[name][row] for name in LABELS}
        if np.isnan(numbers["prompt"]):
            return None
        return {name: int(number) for name, number in numbers.items() if not np.isnan(number)}

    def _run(self) -> None:
        listing = self._index.listing
        for shard, begin in zip(listing.shards, listing.begins.tolist(), strict=False):
            row = begin
            try:
                for batch in shard.blocks((PROMPT, TEXT), range(shard.groups)):
                    if self._stopped.is_set():
                        return
                    end = row + batch.num_rows
                    found = lengths_of(batch, self._index.chosen[row:end])
                    for name, numbers in found.items():
                        self._numbers[f"length:{name}"][row:end] = numbers
                    row = self.read = end
            except InputError as error:
                self.problems.append({"file": shard.label, "message": str(error)})
            self.read = begin + shard.rows
