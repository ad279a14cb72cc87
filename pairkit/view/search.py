"""Full-text search: all words of a question, in any case and order, in the texts of a set or a row."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, Thread

import numpy as np

from pairkit.errors import InputError, RecipeError
from pairkit.view.files.shards import Shard, runs
from pairkit.view.listing import Listing
from pairkit.view.lists import Mask
from pairkit.view.texts import holding, pattern_of

UNIT = 2048  # rows of one task
FEW = 4  # tasks at a time: hits come in the order of the rows, and more threads would wait for the disk
LONGEST = 1000  # characters of a question


class Search:
    """A search in a listing, which goes on in the background; its hits are those of the rows so far.

    Attributes:
        hits: the rows that match, [rows].
        scanned: how many of the first rows were looked at.
        problems: files that could not be read, with the reason.
    """

    def __init__(self, listing: Listing, text: str, columns: Sequence[str]) -> None:
        if len(text) > LONGEST:
            raise RecipeError(f"a search has at most {LONGEST:,} characters, got {len(text):,}")
        self.text = text
        self.hits: Mask = np.zeros(listing.size, np.bool_)
        self.scanned, self.of = 0, listing.size
        self.problems: list[dict[str, str]] = []
        self._listing, self._columns = listing, columns
        self._patterns = [pattern_of(word) for word in dict.fromkeys(text.split())]
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="search", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether all rows were looked at."""
        return self.scanned >= self.of

    def stop(self) -> None:
        """Stop searching, and wait until nothing is read any more."""
        self._stopped.set()
        self._thread.join()

    def wait(self, seconds: float) -> None:
        """Wait until the search is done, but not longer."""
        self._thread.join(seconds)

    def _run(self) -> None:
        threads = min(FEW, len(os.sched_getaffinity(0)))
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Mask]] = deque()
            # In the order of the rows, and few at a time: results are not to fill the memory.
            for shard, groups in self._units():
                waiting.append(pool.submit(self._look, shard, groups))
                if len(waiting) > 2 * threads:
                    self._take(waiting.popleft())
                if self._stopped.is_set():
                    break
            while waiting:
                self._take(waiting.popleft())

    def _units(self) -> Iterator[tuple[Shard, range]]:
        for shard in self._listing.shards:
            yield from runs(shard, UNIT)

    def _look(self, shard: Shard, groups: range) -> Mask:
        marks = [np.empty(0, np.bool_)]
        try:
            for batch in shard.blocks(self._columns, groups):
                if self._stopped.is_set():
                    break
                marks.append(holding(batch, self._patterns))
        except InputError as error:
            self._tell(shard, error)
        marked = np.concatenate(marks)
        # What could not be read holds nothing.
        missing = int(shard.cuts[groups.stop] - shard.cuts[groups.start]) - len(marked)
        return np.concatenate([marked, np.zeros(missing, np.bool_)])

    def _tell(self, shard: Shard, error: InputError) -> None:
        if all(problem["file"] != shard.label for problem in self.problems):
            self.problems.append({"file": shard.label, "message": str(error)})

    def _take(self, result: Future[Mask]) -> None:
        if self._stopped.is_set():
            return
        marked = result.result()
        self.hits[self.scanned : self.scanned + len(marked)] = marked
        self.scanned += len(marked)
