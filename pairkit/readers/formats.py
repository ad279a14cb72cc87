"""Files of every format as blocks of raw rows, in order, with the number that each row has in its file.

Parquet, JSON lines (`.jsonl`, or `.json` that holds lines) and CSV are read block by block; a JSON array
is read whole. Text formats may be compressed (`.gz`, `.zst`). A row that cannot be read is a `BadLine`;
a file that cannot be read to its end is an `InputError`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from pairkit.errors import InputError
from pairkit.readers.blocks import Block
from pairkit.readers.csv import csv_blocks
from pairkit.readers.json import json_blocks, line_blocks
from pairkit.readers.parquet import parquet_blocks


@dataclass(frozen=True)
class FileFormat:
    """A file format: its name, the function that reads a file in blocks of rows, and its limits.

    `read` gets the path, the compression (of `COMPRESSIONS`, or None) and the number of rows per block.
    """

    name: str
    read: Callable[[Path, str | None, int], Generator[Block, None, None]]
    compressible: bool = True


# By extension. A new format is a file with its reader, a row here and a test.
FORMATS: dict[str, FileFormat] = {
    ".jsonl": FileFormat("jsonl", line_blocks),
    ".ndjson": FileFormat("jsonl", line_blocks),
    ".json": FileFormat("json", json_blocks),
    ".csv": FileFormat("csv", csv_blocks),
    # Parquet is compressed inside and read by offsets, which another compression makes impossible.
    ".parquet": FileFormat("parquet", lambda path, _, rows: parquet_blocks(path, rows), compressible=False),
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
READABLE = "{} (each also {}) or {}".format(
    ", ".join(suffix for suffix, file_format in FORMATS.items() if file_format.compressible),
    " or ".join(COMPRESSIONS),
    ", ".join(suffix for suffix, file_format in FORMATS.items() if not file_format.compressible),
)


def format_of(path: Path) -> tuple[str, str | None]:
    """Return format and compression, from the file's name. Raises `InputError` for an unknown extension."""
    file_format, compression = _format_of(path)
    return file_format.name, compression


def blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    """Yield the file's rows in blocks of `rows`, the last one shorter. Raises `InputError`."""
    file_format, compression = _format_of(path)
    return file_format.read(path, compression, rows)


def _format_of(path: Path) -> tuple[FileFormat, str | None]:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    file_format = FORMATS.get(suffixes[-1]) if suffixes else None
    if file_format is None or (compression and not file_format.compressible):
        raise InputError(f"{path}: cannot tell its format; pairkit reads {READABLE}")
    return file_format, compression
