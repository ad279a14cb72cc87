"""Text files as UTF-8, whatever encoding their byte order mark names."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from pairkit.errors import InputError
from pairkit.progress import shell_quoted
from pairkit.readers.blocks import CHUNK, ROW_BYTES, open_stream

# UTF-32 first, because its mark begins with that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
UTF8_MARK = codecs.BOM_UTF8
KEPT = 10_000  # bytes of a line that is too long


@contextmanager
def open_text(path: Path, compression: str | None) -> Iterator[pa.NativeFile]:
    """Open a text file for reading as UTF-8, decompressed; UTF-16 and UTF-32 need their mark.

    The mark of UTF-8 stays in the stream. Raises `InputError`, also while the block reads.
    """
    with open_stream(path, compression) as stream:
        head = stream.read(4)
    encoding = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if encoding is None and b"\0" in head:
        order = "UTF-16BE" if head.startswith(b"\0") else "UTF-16LE"
        raise InputError(f"{path}: holds zero bytes, as UTF-16 without its mark does; {convert(path, order)}")
    with open_stream(path, compression) as stream:
        if encoding is None:
            yield stream
            return
        try:
            yield pa.transcoding_input_stream(stream, encoding, "utf-8")
        # What Python's decoder raises reaches the reader through Arrow.
        except UnicodeError as error:
            raise InputError(
                f"{path}: is not {encoding.upper()}, which its first bytes name ({error})"
            ) from error


def convert(path: Path, encoding: str = "WINDOWS-1252") -> str:
    """Return what to do with a file in another encoding."""
    source, target = shell_quoted(path.name), shell_quoted(f"utf8-{path.name}")
    return f"convert it, as in: iconv -f {encoding} -t UTF-8 {source} > {target}"


class CutLine(bytes):
    """The first bytes of a line that is longer than `ROW_BYTES`; the rest was never in memory."""

    length: int  # bytes of the whole line

    @classmethod
    def of(cls, beginning: bytes, length: int) -> CutLine:
        """Keep the beginning of a line of `length` bytes."""
        line = cls(beginning[:KEPT])
        line.length = length
        return line

    @property
    def problem(self) -> str:
        """What is wrong with the line, for the quarantine."""
        return f"is longer than {ROW_BYTES:,} bytes ({self.length:,}); only its beginning is kept here"


def lines_of(stream: pa.NativeFile) -> Iterator[bytes]:
    """Yield lines, split at \\n only because a text may hold any other line separator.

    One that is longer than `ROW_BYTES` is a `CutLine`.
    """
    for chunk in line_chunks(stream, CHUNK):
        if isinstance(chunk, CutLine):
            yield chunk
        else:
            yield from chunk.split(b"\n")


def line_chunks(stream: pa.NativeFile, size: int) -> Iterator[bytes]:
    """Yield whole lines, about `size` bytes at a time, without the last \\n; or a `CutLine` alone."""
    begun = _Begun()
    while chunk := stream.read(size):
        whole, end, rest = chunk.rpartition(b"\n")
        if end and begun.length:
            head, more, whole = whole.partition(b"\n")
            begun.add(head)
            yield begun.ended()
            # Without another line end, what follows is `rest` alone.
            end = more
        if end:
            yield whole
        begun.add(rest)
    if begun.length:
        yield begun.ended()


class _Begun:
    """A line whose end is not read yet, in parts that are joined once."""

    def __init__(self) -> None:
        self.length = 0
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        self.length += len(part)
        self._parts.append(part)
        if self.length > ROW_BYTES:
            self._parts = [b"".join(self._parts)[:KEPT]]

    def ended(self) -> bytes:
        line, length = b"".join(self._parts), self.length
        self.length, self._parts = 0, []
        return CutLine.of(line, length) if length > ROW_BYTES else line
