"""One owner per output directory: an OS lock, and who holds it."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pairkit.errors import OutputError
from pairkit.files import LOCK


@contextmanager
def owned(out: Path, folder: Path | None = None) -> Iterator[None]:
    """Be the only process that writes to `out` for the block, which exists then.

    The lock goes with its process, however that ends. Its file is removed at the end of the block, or, in a
    `folder` of the caller's own (None: `out` itself), when the caller removes it.

    Raises `OutputError` if another process has it, naming host and process, or if nothing can be written.
    """
    path = (folder or out) / LOCK
    try:
        handle = _open(path)
    except BlockingIOError as error:
        raise OutputError(
            f"{out}: {_owner(path)} is writing to it; wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written to: {error.strerror}") from error
    try:
        yield
    finally:
        if folder is None:
            # The name first: a file that is locked under this name is always the lock.
            with suppress(OSError):  # gone with the directory, or read-only by now; the lock ends below
                path.unlink()
        os.close(handle)


def _open(path: Path) -> int:
    """Return the locked file, with this process in it. Raises `BlockingIOError` if another has the lock."""
    # A loop, because the process that had the lock may remove the file while this one opens it.
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        except FileNotFoundError:
            continue  # the folder was removed after it was made
        try:
            # flock and not the file's existence, because the kernel releases it when a process is killed.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another file may have this name by now; a lock on the removed one excludes nobody.
            if os.path.samestat(path.stat(), os.fstat(handle)):
                os.truncate(handle, 0)
                os.write(handle, json.dumps(_this_process()).encode())
                return handle
        except FileNotFoundError:
            pass  # removed between opening and locking: it is not the lock any more
        except OSError:
            # BlockingIOError comes here too: the lock is another's.
            os.close(handle)
            raise
        os.close(handle)


def _this_process() -> dict[str, str | int]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"host": platform.node(), "pid": os.getpid(), "command": command, "since": since}


def _owner(path: Path) -> str:
    """Describe the process that has the lock; it may be writing its name just now."""
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        about = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
        return f"another command ({owner['command']}, {about})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another command"
