"""Files that are read one after another in a thread, while what was read so far is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Event, Thread
from typing import Any

from pairkit.errors import InputError
from pairkit.view.files.shards import Shard

# Takes the number of a file and the file; yields the number of rows after each part that was read.
Reader = Callable[[int, Shard], Iterator[int]]


class Reading:
    """A thread that reads files, with how far it is.

    Attributes:
        read, of: rows that were read, or could not be, and all of them.
        problems: files that could not be read, with the reason.
    """

    def __init__(self, name: str, files: Sequence[Shard], reader: Reader) -> None:
        self.read, self.of = 0, sum(file.rows for file in files)
        self.problems: list[dict[str, str]] = []
        self._files, self._reader = files, reader
        self._stopped = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def done(self) -> bool:
        """Whether all was read."""
        return self.read >= self.of

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading, and wait until nothing is read any more."""
        self._stopped.set()
        self._thread.join()

    def progress(self) -> dict[str, Any]:
        """Return how far it is, for a page."""
        return {"done": self.done, "read": self.read, "of": self.of}

    def _run(self) -> None:
        for number, file in enumerate(self._files):
            begin = self.read
            try:
                for rows in self._reader(number, file):
                    self.read += rows
                    if self._stopped.is_set():
                        return
            except InputError as error:
                self.problems.append({"file": file.label, "message": str(error)})
            # Rows of a file that cannot be read count too, so that reading comes to an end.
            self.read = begin + file.rows
