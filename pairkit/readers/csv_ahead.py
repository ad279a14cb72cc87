"""The thread in which pyarrow reads a CSV file ahead, and how it ends with the reading."""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Iterator
from threading import RLock
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv

_RELEASE_SECONDS = 2.0  # a thread whose read has ended is done in milliseconds
_HANDLER = "_handler.<locals>.decide"


class ReadAhead:
    """The batches of a stream of CSV, which pyarrow reads ahead in a thread of its own for one `with` block.

    A thread that enters Python when Python ends aborts the process ('terminate called without an active
    exception', exit code 134). It does so to read, and to let go of what it holds: the stream, what it has
    read of it, and the handler of bad rows. So pyarrow alone holds these, and the end of the block waits
    until they are gone.
    """

    def __init__(self, stream: Any) -> None:
        self._stream: _Stream | None = _Stream(stream)
        self._reader: Any = None
        self._held: list[weakref.ref[Any]] = []

    def __enter__(self) -> ReadAhead:
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.end()
            self._held += self._stream.held
        self._reader = self._stream = None
        deadline = time.monotonic() + _RELEASE_SECONDS
        while self.is_held() and time.monotonic() < deadline:
            time.sleep(0.001)

    def is_held(self) -> bool:
        """Whether pyarrow still holds what it was given."""
        return any(each() is not None for each in self._held)

    def batches(
        self,
        skip: Callable[[pacsv.InvalidRow], str],
        delimiter: str,
        read: pacsv.ReadOptions,
        convert: pacsv.ConvertOptions,
    ) -> Iterator[pa.RecordBatch]:
        """Yield the batches of rows with the cells of the header; `skip` decides about each other row."""
        self._reader = self._open(_handler(skip), delimiter, read, convert)
        # Not `for batch in self._reader`: a frame of a traceback must not hold the reader.
        while True:
            try:
                batch = self._reader.read_next_batch()
            except StopIteration:
                return
            yield batch

    def _open(self, handler: Any, delimiter: str, read: Any, convert: Any) -> Any:
        parse = pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=handler)
        self._held = [weakref.ref(handler), weakref.ref(self._stream)]
        try:
            return pacsv.open_csv(self._stream, read, parse, convert)
        finally:
            del handler, parse  # a traceback would keep them


class _Stream:
    """A stream that has no more bytes once it was ended; it must be the outermost one."""

    closed = False

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        # The same thread may end it while it reads, if the collector of garbage does.
        self._reading = RLock()
        self._ended = False
        self.held: list[weakref.ref[Any]] = []  # what was read and is not let go of

    def end(self) -> None:
        """Wait for a read that is under way, and let no other begin."""
        with self._reading:
            self._ended = True

    def read(self, size: int = -1) -> memoryview:
        """Return the next bytes of the stream, none after its end."""
        with self._reading:
            # A view, because there are no weak references to bytes.
            chunk = memoryview(b"" if self._ended else self._stream.read(size))
            self.held = [each for each in self.held if each() is not None] + [weakref.ref(chunk)]
            return chunk


def _handler(skip: Callable[[pacsv.InvalidRow], str]) -> Callable[[pacsv.InvalidRow], str]:
    def decide(row: pacsv.InvalidRow) -> str:
        return skip(row)

    return decide


def hide_undecodable_rows() -> None:
    """Keep Python from printing a traceback for a bad row that is not UTF-8; pyarrow refuses the file anyway.

    pyarrow calls the handler of bad rows where no exception can be raised, so that Python prints those.
    """
    earlier = sys.unraisablehook
    if getattr(earlier, "hides_undecodable_rows", False):
        return

    def hook(unraisable: Any) -> None:
        name = getattr(unraisable.object, "__qualname__", "")
        if not (isinstance(unraisable.exc_value, UnicodeDecodeError) and name == _HANDLER):
            earlier(unraisable)

    hook.hides_undecodable_rows = True  # type: ignore[attr-defined]  # so that it is put there once
    sys.unraisablehook = hook
