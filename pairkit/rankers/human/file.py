"""The file of an annotator, NAME.jsonl: one line per annotation, only appended.

A line is written under an OS lock, and is on disk before the append returns. A process that is killed in
between leaves at most a piece of a line at the end. Readers name it and skip it, and the next append ends it
first, so that nothing is ever glued to it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pairkit.errors import InputError, OutputError
from pairkit.files import ANNOTATIONS, flush
from pairkit.ownership import WITHOUT_LOCKS
from pairkit.rankers.human.annotation import Annotation, check_name, read_line
from pairkit.schema import MANIFEST

SUFFIX = ".jsonl"
_ADVICE = "give a file of annotations, or a folder of them, as `pairkit view DIR --annotate NAME` writes"


class Skipped(NamedTuple):
    """A line that is no annotation; `line` counts from 1."""

    file: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.reason}; skipped"


def file_of(folder: Path, annotator: str) -> Path:
    """Return the file of an annotator in a folder of annotations. Raises `InputError` for a hostile name."""
    return folder / f"{check_name(annotator)}{SUFFIX}"


def files_at(path: Path) -> list[Path]:
    """Return the files of annotations at a path: of a file, of a folder of them, or of a dataset.

    Raises `InputError` if there are none.
    """
    if path.is_file():
        return [path]
    # The log of a build is next to its annotations, and has the same ending.
    for folder in (path / ANNOTATIONS, *(() if (path / MANIFEST).exists() else (path,))):
        if files := sorted(each for each in folder.glob(f"[!.]*{SUFFIX}") if each.is_file()):
            return files
    if path.is_dir():
        raise InputError(f"{path}: holds no annotations (no NAME{SUFFIX}); {_ADVICE}")
    raise InputError(f"{path}: no such file or directory; {_ADVICE}")


class AnnotationFile:
    """A file of annotations, to which other processes may append as well. Not for several threads at a time.

    Attributes:
        path: the file, which need not exist.
        damaged: the whole lines read so far that are no annotation.
        cut_off: a piece of a line at the end of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged: list[Skipped] = []
        self.cut_off: Skipped | None = None
        self._read_bytes = 0  # up to the last line break
        self._lines = 0
        self._file: tuple[int, int] | None = None  # device and inode

    @property
    def skipped(self) -> list[Skipped]:
        """All that was read and is no annotation."""
        return [*self.damaged, *([self.cut_off] if self.cut_off else [])]

    def new(self) -> list[Annotation]:
        """Return the annotations that were appended since the last call; at first all of them, in order.

        Raises `InputError` if the file cannot be read, or was replaced or shortened meanwhile.
        """
        try:
            with _opened(self.path, os.O_RDONLY) as handle, _locked(handle, fcntl.LOCK_SH):
                return self._rest(handle)
        except FileNotFoundError as error:
            if self._file is not None:
                raise InputError(f"{self.path}: was removed while it was in use") from error
            return []
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror or error}") from error

    def append(self, annotation: Annotation) -> list[Annotation]:
        """Append an annotation, which is on disk afterwards; return what `new` returns, this one as the last.

        Raises `OutputError` if it cannot be saved, and the file stays as it was; `InputError` as `new` does.
        """
        try:
            with suppress(FileExistsError):
                self.path.parent.mkdir()
                flush(self.path.parent.parent)
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            with _opened(self.path, flags) as handle, _locked(handle, fcntl.LOCK_EX):
                others = self._rest(handle)
                _write(handle, annotation.line(), self.path.parent)
                return others + self._rest(handle)
        except OSError as error:
            why = error.strerror or error
            raise OutputError(f"{self.path}: the annotation is not saved: {why}") from error

    def _rest(self, handle: int) -> list[Annotation]:
        """Return the annotations after the bytes that were read already."""
        status = os.fstat(handle)
        file = (status.st_dev, status.st_ino)
        if self._file not in (None, file) or status.st_size < self._read_bytes:
            raise InputError(
                f"{self.path}: was replaced or shortened while it was in use; open the data again to annotate"
            )
        self._file = file
        content = _read(handle, self._read_bytes, status.st_size)
        *lines, piece = content.split(b"\n")
        self._read_bytes += len(content) - len(piece)
        annotations: list[Annotation] = []
        # A loop, because one damaged line must not cost the others, and people write few lines.
        for line in lines:
            self._lines += 1
            problem = _parse(line, annotations)
            if problem:
                self.damaged.append(Skipped(self.path, self._lines, problem))
        # It is read once more when its line has ended, which changes nothing about what is the newest.
        problem = _parse(piece, annotations)
        cut_off = f"has no end, as a kill or a full disk leaves it ({problem})"
        self.cut_off = Skipped(self.path, self._lines + 1, cut_off) if problem else None
        return annotations


def _parse(line: bytes, found: list[Annotation]) -> str | None:
    """Add the annotation in a line to `found`, or return why there is none."""
    if not line.strip():
        return None
    try:
        found.append(read_line(line))
    except ValueError as error:
        return str(error)
    return None


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    # No link is followed, because a dataset from elsewhere may hold one to any file; without waiting, because
    # opening a named pipe waits for its other end.
    handle = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InputError(f"{path}: is not a regular file")
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _locked(handle: int, kind: int) -> Iterator[None]:
    """Lock the file for the block: the lock goes with the process, however that ends."""
    try:
        fcntl.flock(handle, kind)
    except OSError as error:
        # Reading can do no harm.
        if error.errno in WITHOUT_LOCKS and kind == fcntl.LOCK_SH:
            yield
            return
        if error.errno in WITHOUT_LOCKS:
            raise OSError(
                error.errno,
                "this file system has no locks, without which two servers could mix their lines; copy the "
                "data to another disk",
            ) from error
        raise
    try:
        yield
    finally:
        fcntl.flock(handle, fcntl.LOCK_UN)


def _read(handle: int, start: int, end: int) -> bytes:
    content = b""
    # A loop, because one call returns at most 2 GiB.
    while start + len(content) < end:
        piece = os.pread(handle, end - start - len(content), start + len(content))
        if not piece:
            break
        content += piece
    return content


def _write(handle: int, line: bytes, folder: Path) -> None:
    """Append a line to the locked file and wait until it is on disk; if that fails, take it back."""
    size = os.fstat(handle).st_size
    # The piece of a line that a kill left becomes a line of its own.
    if size and os.pread(handle, 1, size - 1) != b"\n":
        line = b"\n" + line
    try:
        written = 0
        while written < len(line):
            written += os.write(handle, line[written:])
        os.fsync(handle)
        if not size:
            # The new name is an entry of its folder, which is flushed on its own.
            flush(folder)
    except OSError:
        # A piece that cannot be taken back either is a line that readers skip.
        with suppress(OSError):
            os.ftruncate(handle, size)
        raise
