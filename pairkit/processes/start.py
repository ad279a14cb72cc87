"""Commands in processes of their own: started under a guard, written to a log, ended with pairkit."""

from __future__ import annotations

import fcntl
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from pairkit.errors import EngineError, OutputError
from pairkit.masking import masked
from pairkit.ownership import WITHOUT_LOCKS
from pairkit.progress import visible

LAST = 5  # lines of a log in an error
# Seconds until all processes of a run that was killed have ended: their guard gives them ten.
LEFT = 15.0
_LOOK = 0.2  # seconds between two looks
_GUARD = str(Path(__file__).with_name("guard.py"))
_BYTES = 8192  # of the end of a log that are read for them


@contextmanager
def guarded(
    command: Sequence[str],
    log: Path,
    *,
    environment: Mapping[str, str] | None = None,
    patience: float = math.inf,
    echo: bool = False,
    descriptors: Sequence[int] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command for the block, all that it prints in the file `log`; it has ended after the block.

    Args:
        environment: variables besides those of this process.
        patience: seconds that it gets to end by itself.
        echo: print what it prints to standard error as well.
        descriptors: file descriptors that stay open as long as anything that the command has started.

    Raises `EngineError` where processes of a killed run still write to `log`, `OutputError` for a full disk.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    # The parent is named, because it may be gone before the guard has asked who it is. Isolated, because a
    # file of the working directory must not be taken for a module.
    guard = [sys.executable, "-I", _GUARD, str(os.getpid()), str(patience)]
    failures: list[OSError] = []
    with log.open("ab", buffering=0) as file:
        _lock(file, log)
        process = subprocess.Popen(
            [*guard, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if echo else file,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(environment or {}),
            # A group of its own, because a Ctrl-C of the terminal is for pairkit, which then ends the rest.
            start_new_session=True,
            # The guard, which ends last, has the lock as well.
            pass_fds=[file.fileno(), *descriptors],
        )
        out = process.stdout
        reader = threading.Thread(target=_copy, args=(out, file, failures), name="log") if echo else None
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
            if out:
                out.close()
    if failures:
        raise OutputError(f"{log}: cannot be written: {failures[0].strerror}") from failures[0]


def _lock(file: IO[bytes], log: Path) -> None:
    """Lock a log, after the processes of a run that was killed have ended."""
    until = time.monotonic() + LEFT
    while True:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() > until:
                raise EngineError(
                    f"processes that an earlier command has started still write to {log}: end them (`fuser "
                    "FILE` names them), then run the same command again"
                ) from error
            time.sleep(_LOOK)
        except OSError as error:
            if error.errno in WITHOUT_LOCKS:
                return
            raise


def _copy(lines: IO[bytes], file: IO[bytes], failures: list[OSError]) -> None:
    """Copy what a command prints until it ends; whatever fails, because it would wait for its reader."""
    for line in lines:
        if not failures:
            try:
                file.write(line)
            except OSError as error:
                failures.append(error)
        with suppress(OSError):  # nobody reads it any more
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
