"""Commands in processes of their own: started under a guard, written to a log, ended with pairkit."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from pairkit.masking import masked
from pairkit.progress import visible

LAST = 5  # lines of a log in an error
_BYTES = 8192  # of the end of a log that are read for them


@contextmanager
def guarded(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    patience: float = math.inf,
    echo: bool = False,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the block, all that it prints in the file `log`; it has ended after the block.

    Args:
        environment: variables besides those of this process.
        patience: seconds that it gets to end by itself.
        echo: print what it prints to standard error as well.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # The parent is named, because it may be gone before the guard has asked who it is.
    guard = [sys.executable, "-m", "pairkit.online.guard", str(os.getpid()), str(patience)]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*guard, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if echo else file,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(environment or {}),
            # A group of its own, because a Ctrl-C of the terminal is for pairkit, which then ends the rest.
            start_new_session=True,
        )
        reader = threading.Thread(target=_copy, args=(process.stdout, file), name="log") if echo else None
        if reader:
            reader.start()
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
            if reader:
                reader.join()
            if process.stdout:
                process.stdout.close()


def _copy(lines: IO[bytes], file: IO[bytes]) -> None:
    for line in lines:
        file.write(line)
        file.flush()
        sys.stderr.write(masked(line.decode(errors="replace")))
        sys.stderr.flush()


def last_words(log: Path, since: int = 0) -> str:
    """Return what a command printed last: pairkit's own error, or else the last lines, as one line.

    Args:
        since: bytes of the log that are older than the command.
    """
    with log.open("rb") as file:
        file.seek(max(since, file.seek(0, os.SEEK_END) - _BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    if errors:
        return visible(errors[-1])
    return visible(" | ".join(lines[-LAST:])) or "it printed nothing"


def size_of(log: Path) -> int:
    """Return the size of a log in bytes, 0 if it does not exist."""
    return log.stat().st_size if log.exists() else 0
