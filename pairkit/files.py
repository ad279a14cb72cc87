"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pairkit.errors import Interrupted, OutputError, PairkitError


@contextmanager
def replacing(path: Path, *, own: str = "") -> Iterator[Path]:
    """Yields a temporary name beside `path` and renames it to `path` when the block ends well.

    The file is on disk before the rename. A block that fails leaves `path` as it was. A disk that is
    full, or may not be written to, is an `OutputError`. Where several processes may write `path`, each gives
    a name of its `own` for the time until then.
    """
    temporary = partial(path.with_name(f"{path.name}.{own}") if own else path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except PairkitError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def partial(path: Path) -> Path:
    """The name that a file or directory has until it is whole."""
    return path.with_name(f".{path.name}.part")


def publish(temporary: Path, target: Path) -> None:
    """Renames a finished directory to `target`; its files, and that it is there, are on disk then."""
    for path in [*temporary.rglob("*"), temporary]:
        _flush(path)
    os.replace(temporary, target)
    _flush(target.parent)


def _flush(path: Path) -> None:
    """Waits until a file's content, or the names in a directory, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def stoppable(out: Path, interrupted: Callable[[], str]) -> Iterator[None]:
    """What stops work on `out` from outside, as errors of ours: SIGINT and a disk that cannot be written to.

    `interrupted` says what is kept and how to go on.
    """
    try:
        with _no_interrupt_is_lost():
            yield
    except PairkitError:
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(interrupted()) from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written to: {error.strerror or error}") from error


@contextmanager
def _no_interrupt_is_lost() -> Iterator[None]:
    """A SIGINT that comes while a destructor runs is ignored by Python, so it is sent again."""
    before = sys.unraisablehook

    def again(unraisable: sys.UnraisableHookArgs) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            later = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
            later.start()  # by then the destructor is over
        else:
            before(unraisable)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def write_text(path: Path, text: str) -> None:
    """Writes `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON with sorted keys, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


def sha256(path: Path) -> str:
    """The sha256 of a file's content, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


OnExisting = Literal["resume", "delete", "raise"]
