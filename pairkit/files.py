"""Writing files so that a reader never sees a half-written one, and claiming output directories."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pairkit.errors import (
    ExistingOutputError,
    InputError,
    Interrupted,
    OutputError,
    PairkitError,
    shortened,
)

# In an output directory while a process owns it (ownership.py).
LOCK = ".pairkit.lock"
# Next to the data of a dataset: what people have said about its sets. No command deletes it.
ANNOTATIONS = "annotations"
DEPTH = 200  # levels of a record: recipes have at most 50, and whatever walks through one recurses
_TOO_DEEP = f"it is nested more than {DEPTH} levels deep"
_ADDRESSES = [(f"{scheme}:",) for scheme in ("s3", "gs", "gcs", "hf", "abfs", "abfss", "az", "oci", "oss")]
OnExisting = Literal["resume", "delete", "raise"]


@contextmanager
def replacing(path: Path, *, own: str = "") -> Iterator[Path]:
    """Yield a temporary name next to `path`, and rename it to `path` if the block succeeds.

    The file is flushed to disk before the rename. If the block fails, `path` stays as it was. A full or
    read-only disk is an `OutputError`. Where several processes may write `path`, each passes a unique `own`,
    so that their temporary files differ.
    """
    # In the same folder, because a rename from another file system would be a copy.
    temporary = partial(path.with_name(f"{path.name}.{own}") if own else path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            # Before the rename: after a power cut a name without its content would look complete.
            flush(temporary)
            os.replace(temporary, path)
        finally:
            # After the rename there is nothing left to remove; after an error no half file may stay.
            temporary.unlink(missing_ok=True)
    # First, because `OutputError` is an OSError as well and has a better message already.
    except PairkitError:
        raise
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def partial(path: Path) -> Path:
    """Return the name that a file or directory has until it is complete."""
    # Hidden, so that loaders skip it, and in the same folder, because only there a rename is atomic.
    return path.with_name(f".{path.name}.part")


def publish(temporary: Path, target: Path) -> None:
    """Rename a complete directory to `target`, after its files and names have reached the disk."""
    # Files before names: a crash must not leave a name whose content is not on disk.
    # Folders too: the names in them are content of the folder.
    for path in [*temporary.rglob("*"), temporary]:
        flush(path)
    os.replace(temporary, target)
    # The new name is an entry of the parent, which is flushed on its own.
    flush(target.parent)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Give a file another name, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def flush(path: Path) -> None:
    """Wait until a file's content, or the names in a directory, are on disk."""
    # Read-only, because a directory can be opened in no other way.
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def stoppable(out: Path, interrupted: Callable[[], str]) -> Iterator[None]:
    """Turn what stops work on `out` from outside into pairkit errors: SIGINT and an unwritable disk.

    `interrupted` returns the message for SIGINT: what is stored and how to continue.
    """
    try:
        # Innermost, so that the second SIGINT is turned into the same error.
        with _no_interrupt_is_lost():
            yield
    # First, because `OutputError` is an OSError too.
    except PairkitError:
        raise
    except KeyboardInterrupt as error:
        raise Interrupted(interrupted()) from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise name_too_long(error) from error
        raise OutputError(f"{out}: cannot be written to: {error.strerror or error}") from error


def name_too_long(error: OSError) -> InputError:
    """Make the error for a name that no file can have, of a system error that says so."""
    name = str(error.filename)
    return InputError(
        f"{shortened(name)}: {len(name):,} characters are too long for a path; give a shorter one"
    )


@contextmanager
def _no_interrupt_is_lost() -> Iterator[None]:
    """Send a SIGINT again that arrived during a destructor, because Python ignores exceptions there."""
    # Other tools, such as pytest, have a hook too.
    before = sys.unraisablehook

    def send_again(unraisable: sys.UnraisableHookArgs) -> None:
        # Raised again here it would be ignored again: only a new signal reaches the main thread.
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            later = threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT))
            later.start()  # the destructor has returned by then
        else:
            # Anything else is not ours to handle.
            before(unraisable)

    sys.unraisablehook = send_again
    try:
        yield
    finally:
        # Also after an error, because the hook belongs to the process and not to this block.
        sys.unraisablehook = before


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, completely or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, completely or not at all."""
    # Sorted, because equal values must give equal bytes; not escaped, because people read these files.
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n")


@contextmanager
def undamaged(path: Path, advice: str) -> Iterator[None]:
    """Turn whatever reading a damaged record raises into one `InputError` that names the file.

    Args:
        advice: what to do about it.
    """
    try:
        yield
    except PairkitError:
        raise
    except (
        ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError,
    ) as error:  # fmt: skip
        kind = f"{type(error).__name__}: {error}"[:200]
        raise InputError(f"{path}: is damaged ({kind}); {advice}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; {advice}") from error


def read_json_lines(path: Path, advice: str) -> list[Any]:
    """Read a record that has one JSON value per line; `undamaged` has the errors."""
    # By the file's own lines, because `splitlines` also cuts at characters that JSON leaves as they are.
    with undamaged(path, advice), path.open(encoding="utf-8") as lines:
        return [with_whole_characters(json.loads(line), line) for line in lines]


def with_whole_characters(value: Any, text: str | bytes) -> Any:
    """Return the value of a JSON text. Raises `ValueError` for half a surrogate, which no file holds."""
    # Only an escape or other bytes than UTF-8 can be one.
    if isinstance(text, bytes) or "\\u" in text:
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parsed(text: str | bytes) -> Any:
    """Parse JSON of a file that anybody may have written. Raises `ValueError`, whatever is in it."""
    try:
        value = with_whole_characters(json.loads(text), text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    level = [value]
    for _ in range(DEPTH):
        containers = [each for each in level if isinstance(each, (dict, list))]
        if not containers:
            return value
        level = [
            below for each in containers for below in (each.values() if isinstance(each, dict) else each)
        ]
    raise ValueError(_TOO_DEEP)


def read_json(path: Path) -> Any:
    """Read a file of JSON. Raises `ValueError`, or `OSError` if it cannot be read."""
    return parsed(path.read_text(encoding="utf-8"))


def read_record(path: Path, advice: str) -> dict[str, Any]:
    """Read a record that pairkit wrote: a JSON object.

    Raises `InputError` for anything else, with the `advice` on what to do about it.
    """
    with undamaged(path, advice):
        record = read_json(path)
        if not isinstance(record, dict):
            raise TypeError("it is not a JSON object")
        return record


def sha256(path: Path) -> str:
    """Return the sha256 of a file's content, in hex."""
    # In blocks, because a shard may be larger than memory.
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def admit(
    out: Path, on_existing: OnExisting, *, holds: str | None, differences: Callable[[], list[str]]
) -> Literal["new", "resume", "delete"]:
    """Decide what a command may do with its output directory `out`; change nothing.

    A directory that is not empty and was not made by pairkit is never touched, whatever `on_existing` is.

    Args:
        holds: the command's own content of `out` ("a training run"), None if there is none.
        differences: describes each way in which that content differs from what the command would make; called
            only to resume.

    Raises:
        OutputError: `out` is a file or cannot be listed.
        ExistingOutputError: `out` contains something else, or anything at all with on_existing="raise".
    """
    # Before `on_existing` is looked at: "delete" must not remove what pairkit has not made.
    if holds is None:
        if names_in(out):
            raise ExistingOutputError(
                f"{out} is not empty and was not created by this command; choose another --out"
            )
        return "new"
    # Before the comparison, because no equality is good enough for it.
    if on_existing == "raise":
        raise ExistingOutputError(
            f"{out} already contains {holds}: use --on-existing resume to continue it, "
            "--on-existing delete to start over, or choose another --out"
        )
    # Before the comparison, because damaged files cannot be compared but can be deleted.
    if on_existing == "delete":
        return "delete"
    if messages := differences():
        raise ExistingOutputError(
            f"{out} contains {holds} with other settings: {'; '.join(messages)}. "
            "Choose another --out, or use --on-existing delete to start over"
        )
    return "resume"


def names_in(out: Path) -> set[str]:
    """Return the names in a directory without its lock; none if it does not exist.

    Raises `OutputError` for a file.
    """
    try:
        return {path.name for path in out.iterdir() if not path.name.startswith(LOCK)}
    # A new directory is an empty one: callers create it only when they write.
    except FileNotFoundError as error:
        for place in (out, *out.parents):
            # Nothing can be created under the name of a link.
            if place.is_symlink() and not place.exists():
                raise OutputError(
                    f"{out}: cannot be written to: {place} is a link to {os.readlink(place)}, which does not "
                    "exist; create that directory or choose another --out"
                ) from error
        return set()
    # Here and not at the first write, because that may come after hours.
    except NotADirectoryError as error:
        raise OutputError(f"{out}: cannot be written to: it is a file; choose another --out") from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written to: {error.strerror}") from error


def file_record(path: Path) -> dict[str, Any]:
    """Return the size and the hash of a file, by which a change of it is noticed."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def was_address(path: Path) -> bool:
    """Return whether a path was made of the address of a store, which names no file on this machine.

    >>> was_address(Path("s3://bucket/rows.jsonl")), was_address(Path("runs/data"))
    (True, False)
    """
    # One of its two slashes is lost in a path.
    return path.parts[:1] in _ADDRESSES and not Path(path.parts[0]).exists()
