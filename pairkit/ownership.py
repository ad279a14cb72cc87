"""One owner per output: an OS lock, and who holds it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pairkit.errors import ExistingOutputError, OutputError
from pairkit.files import ANNOTATIONS, LOCK, read_json, was_address
from pairkit.schema import MANIFEST

# What flock raises on file systems without it: some mounts of NFS and Lustre.
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
_TRIES = 100  # to make a lock whose folder others remove meanwhile
# By which a directory is known as the output of a command: it has all files of a row. Names that others use
# too (run.json) count only together.
OUTPUTS = {
    ("pairkit.json",): "a dataset or an export",
    (".build/state.json",): "an unfinished build",
    ("run.json", "recipe.yaml"): "a training run",
    ("quickstart.json",): "a quickstart",
    ("online.json",): "an online training",
    ("sweep.json",): "a sweep",
    ("replications.json",): "replications",
    ("export.json", "hashes.json"): "an exported model",
}
# What this process writes to: steps of a command may write inside its own output.
_mine: set[Path] = set()


class _Taken(Exception):
    """Another process has the lock; the message states what to do besides waiting."""


@contextmanager
def owned(out: Path, folder: Path | None = None) -> Iterator[None]:
    """Be the only process that writes to `out` for the block, which exists then.

    The lock goes with its process, however that ends. Its file is removed at the end of the block, or, in a
    `folder` of the caller's own (None: `out` itself), when the caller removes it.

    Raises `OutputError` if another process has it, naming host and process, or if nothing can be written.
    """
    with _locked(out, (folder or out) / LOCK, remove=folder is None):
        yield


@contextmanager
def owned_name(path: Path) -> Iterator[None]:
    """Be the only process that writes the file or directory `path`, which need not exist, for the block.

    The lock is next to it, because what appears by a rename has no place for one. Raises as `owned` does.
    """
    with _locked(path, lock_of(path), remove=True):
        yield


def lock_of(path: Path) -> Path:
    """Return the lock of a single file or directory."""
    return path.with_name(f".{path.name}{LOCK}")


def outside_others(out: Path) -> None:
    """Raise `ExistingOutputError` if `out` is inside the output of another command, running or not.

    What is written there would be taken for a part of that output: a model for that of a run, a file for one
    of a dataset. Outputs that this process owns at the moment are its own.
    """
    if was_address(out):
        raise OutputError(
            f"{out}: is the address of a store, to which only `pairkit build --out` writes; give a directory"
        )
    for folder in _place(out).parents:
        if folder in _mine:
            continue
        what = next(
            (what for names, what in OUTPUTS.items() if all((folder / n).exists() for n in names)), None
        )
        if what is not None:
            raise ExistingOutputError(f"{out}: is inside {folder}, which holds {what}; choose another --out")
        # The root has no name, and nothing next to it.
        for lock in (folder / LOCK, folder / ".build" / LOCK, *([lock_of(folder)] if folder.name else [])):
            if _is_held(lock):
                raise ExistingOutputError(
                    f"{out}: is inside {folder}, to which {_owner(lock)} is writing; choose another --out"
                )


def no_record(path: Path) -> None:
    """Raise `OutputError` if a file that a user names would have the name of a record of `OUTPUTS`.

    Its directory would be taken for the output of that command, in which no other one may write.
    """
    for names, what in OUTPUTS.items():
        if path.name in names:
            raise OutputError(
                f"{path}: is the name by which a directory is known to hold {what}; give another one"
            )


def spare_annotations(folders: Iterable[Path]) -> None:
    """Raise `ExistingOutputError` if people have annotated a dataset in folders that are to be deleted."""
    for folder in folders:
        for path in sorted(folder.rglob(f"{ANNOTATIONS}/*.jsonl")):
            if (path.parent.parent / MANIFEST).exists():
                raise ExistingOutputError(
                    f"{path}: holds what people have said about the dataset next to it, and would be "
                    f"deleted; move {path.parent} to another place first"
                )


@contextmanager
def inside(out: Path, owner: int) -> Iterator[None]:
    """Write inside `out` for the block, as a process that works for its owner, the process `owner`.

    Raises `ExistingOutputError` if that process has not the lock of `out`.
    """
    lock = out / LOCK
    marker = lock.with_name(f"{lock.name}.held")
    try:
        about = read_json(marker if marker.exists() else lock)
        theirs = about["pid"] == owner and about["host"] == platform.node() and _is_held(lock)
    except (OSError, ValueError, KeyError, TypeError):
        theirs = False
    if not theirs:
        raise ExistingOutputError(f"{out}: process {owner} does not write to it, so neither can one for it")
    place = out.resolve()
    _mine.add(place)
    try:
        yield
    finally:
        _mine.discard(place)


@contextmanager
def none_empty(folder: Path) -> Iterator[None]:
    """Remove `folder` and its parents if the block made them, failed, and left them empty."""
    new = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        yield
    except BaseException:
        # The deepest first, because a directory can be removed only after those in it.
        for each in new:
            with suppress(OSError):
                each.rmdir()
        raise


@contextmanager
def _locked(out: Path, path: Path, *, remove: bool) -> Iterator[None]:
    """Hold the lock `path` of `out` for the block."""
    outside_others(out)
    marker = path.with_name(f"{path.name}.held")  # only on file systems without locks
    try:
        handle = _open(path, marker)
    except _Taken as error:
        raise OutputError(
            f"{out}: {_owner(marker if marker.exists() else path)} is writing to it; wait for it, or choose "
            f"another --out{error}"
        ) from error
    except OSError as error:
        raise OutputError(f"{out}: cannot be written to: {error.strerror}") from error
    place = _place(out)
    _mine.add(place)
    try:
        # Again, because a command may have begun around `out` before this one had its lock; one that begins
        # later finds that its directory is not empty.
        outside_others(out)
        yield
    finally:
        _mine.discard(place)
        # The names first: a file that is locked under this name is always the lock. What cannot be removed is
        # gone with the directory, or read-only by now; the lock ends below.
        for name in (marker, *([path] if remove else [])):
            with suppress(OSError):
                name.unlink()
        os.close(handle)


def _place(out: Path) -> Path:
    try:
        return out.resolve()
    # Of a loop; which of the two depends on the version of Python.
    except (RuntimeError, OSError) as error:
        raise OutputError(
            f"{out}: cannot be written to: its links lead back to themselves; remove them, or choose "
            "another --out"
        ) from error


def _open(path: Path, marker: Path) -> int:
    """Return the locked file, with this process in it. Raises `_Taken` if another has the lock."""
    missing = 0
    # A loop, because the process that had the lock may remove the file while this one opens it.
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            # No link is followed, because the file that it points to would be emptied below.
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:
            # The folder was removed after it was made; or nothing can be made in it, as in /proc.
            missing += 1
            if missing == _TRIES:
                raise
            continue
        try:
            # flock and not the file's existence, because the kernel releases it when a process is killed.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another file may have this name by now; a lock on the removed one excludes nobody.
            if os.path.samestat(path.stat(), os.fstat(handle)):
                _sign(handle)
                return handle
        except FileNotFoundError:
            pass  # removed between opening and locking: it is not the lock any more
        except OSError as error:
            os.close(handle)
            if isinstance(error, BlockingIOError):
                raise _Taken from error
            if error.errno in WITHOUT_LOCKS:
                return _create(marker)
            raise
        os.close(handle)


def _is_held(path: Path) -> bool:
    """Return whether a living process has the lock `path`, which is not changed."""
    if path.with_name(f"{path.name}.held").exists():
        return True
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # as a rule there is none
        return False
    try:
        # Shared, and for a moment: only an owner that starts at this very moment could be refused for it.
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(handle)
    return False


def _create(marker: Path) -> int:
    """Create the file that stands for a lock where there are none. Raises `_Taken` if it is there."""
    try:
        handle = os.open(marker, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
    except FileExistsError as error:
        # Not removed for anybody: whether a process of another host still runs cannot be told from here.
        raise _Taken(
            f". This file system has no locks: if that process no longer runs, remove {marker}"
        ) from error
    _sign(handle)
    return handle


def _sign(handle: int) -> None:
    os.truncate(handle, 0)
    os.write(handle, json.dumps(_this_process()).encode())


def _this_process() -> dict[str, str | int]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]])
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"host": platform.node(), "pid": os.getpid(), "command": command, "since": since}


def _owner(path: Path) -> str:
    """Describe the process that has the lock; it may be writing its name just now."""
    try:
        owner = read_json(path)
        about = f"process {owner['pid']} on {owner['host']}, since {owner['since']}"
        return f"another command ({owner['command']}, {about})"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another command"
