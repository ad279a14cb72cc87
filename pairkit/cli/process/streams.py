"""Standard output and error that may be full or gone: work does not stop because nobody reads it."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, TextIO


class Guarded:
    """A text stream that goes silent at its first failed write, and remembers the failure."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write `text` if the stream still takes it."""
        if self.failure is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, if the stream still takes it."""
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.failure = error
        # The buffer still holds what could not be written, and Python writes it at its end.
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, self._stream.fileno())
        os.close(silent)

    def __getattr__(self, name: str) -> Any:
        # Everything else (encoding, isatty, fileno, buffer) is the stream's own.
        return getattr(self._stream, name)


def guard() -> Guarded:
    """Put standard output and error behind a guard; return that of standard output."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed (`>&-`): a file must not get its number, or it is written to as a stream
            os.open(os.devnull, os.O_RDWR)
    output = Guarded(sys.stdout or open(1, "w", closefd=False))  # noqa: SIM115  # as long as the process
    sys.stdout = output
    sys.stderr = Guarded(sys.stderr or open(2, "w", closefd=False))  # noqa: SIM115
    return output


def lost(output: Guarded) -> str | None:
    """Flush, and return why the result could not be printed; None if it was, or if nobody wanted it."""
    output.flush()
    # A reader that is gone (`| head`) has what it wanted.
    if output.failure is None or output.failure.errno == errno.EPIPE:
        return None
    return f"the result could not be written to standard output: {output.failure.strerror}"
