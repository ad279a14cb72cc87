"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pairkit.errors import ExistingOutputError, Interrupted, OutputError, PairkitError

OnExisting = Literal["resume", "delete", "raise"]


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


def admit(
    out: Path, on_existing: OnExisting, *, holds: str | None, differences: Callable[[], list[str]]
) -> Literal["new", "resume", "delete"]:
    """Decide what a command may do with its output directory `out`; change nothing.

    A directory that is not empty and was not made by pairkit is never touched, whatever `on_existing` is.

    Args:
        holds: what of the command's own `out` contains ("a training run"), None if nothing.
        differences: describes each way in which that differs from what the command would make; asked only
            where it is to be resumed.

    Raises:
        OutputError: `out` is a file or cannot be listed.
        ExistingOutputError: `out` holds something else, or anything at all with on_existing="raise".
    """
    if holds is None:
        if names_in(out):
            raise ExistingOutputError(
                f"{out} is not empty and was not created by pairkit; choose another --out"
            )
        return "new"
    if on_existing == "raise":
        raise ExistingOutputError(
            f"{out} already contains {holds}: use --on-existing resume to continue it, "
            "--on-existing delete to start over, or choose another --out"
        )
    if on_existing == "delete":
        return "delete"
    if different := differences():
        raise ExistingOutputError(
            f"{out} contains {holds} with other settings: {'; '.join(different)}. "
            "Choose another --out, or use --on-existing delete to start over"
        )
    return "resume"


def names_in(out: Path) -> set[str]:
    """The names in a directory; none where it does not exist. Raises `OutputError` for a file."""
    try:
        return {path.name for path in out.iterdir()}
    except FileNotFoundError:
        return set()
    except NotADirectoryError as error:
        raise OutputError(f"{out}: cannot be written to: it is a file; choose another --out") from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written to: {error.strerror}") from error


def flat_keys(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Every value of nested mappings by its key as on the command line: `key.sub`."""
    flat: dict[str, Any] = {}
    for key, below in value.items():
        name = f"{prefix}{key}"
        flat |= flat_keys(below, f"{name}.") if isinstance(below, Mapping) else {name: below}
    return flat
