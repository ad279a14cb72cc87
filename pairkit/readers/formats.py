"""Files of every format as blocks of raw rows, in order, with the number that each row has in its file.

Parquet, Arrow, JSON lines and CSV are read block by block; a JSON file that is one value is read whole.
Text formats may be compressed. A row that cannot be read is a `BadLine`; a file that cannot be read to its
end is an `InputError`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from pairkit.errors import InputError
from pairkit.readers.arrow_file import arrow_blocks
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


LINES, CSV = FileFormat("jsonl", line_blocks), FileFormat("csv", csv_blocks)
# These are compressed inside and read by offsets, which another compression makes impossible.
PARQUET = FileFormat("parquet", lambda path, _, rows: parquet_blocks(path, rows), compressible=False)
ARROW = FileFormat("arrow", lambda path, _, rows: arrow_blocks(path, rows), compressible=False)
# By extension. A new format is a file with its reader, a row here and a test.
FORMATS: dict[str, FileFormat] = {
    ".jsonl": LINES,
    ".ndjson": LINES,
    ".json": FileFormat("json", json_blocks),
    ".csv": CSV,
    ".tsv": CSV,
    ".parquet": PARQUET,
    ".arrow": ARROW,
    ".feather": ARROW,
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
READABLE = "{} (each also {}) or {}".format(
    ", ".join(suffix for suffix, file_format in FORMATS.items() if file_format.compressible),
    " or ".join(COMPRESSIONS),
    ", ".join(suffix for suffix, file_format in FORMATS.items() if not file_format.compressible),
)
UNPACK = "unpack it, and pass the folder or one of its files"
WITH_PANDAS = "read it with pandas, and write it with to_json(..., orient='records', lines=True)"
# Extensions under which people have rows that pairkit does not read -> what to do.
ADVICE = {
    **dict.fromkeys((".zip", ".tar", ".tgz", ".7z", ".rar"), UNPACK),
    **dict.fromkeys((".bz2", ".xz", ".lz4"), "unpack it, or compress it with gzip or zstd"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save the sheet as CSV (UTF-8)"),
    **dict.fromkeys((".pkl", ".pickle", ".orc", ".avro", ".h5"), WITH_PANDAS),
    ".txt": "rename it to .csv or .tsv if its first line names columns, or write each row as an object to a "
    ".jsonl file",
}


def format_of(path: Path) -> tuple[str, str | None]:
    """Return format and compression, from the file's name. Raises `InputError` for an unknown extension."""
    file_format, compression = _format_of(path)
    return file_format.name, compression


def has_format(path: Path) -> bool:
    """Return whether a file's name ends as those do that pairkit reads."""
    return _find(path)[0] is not None


def without_endings(name: str) -> str:
    """Return the name of a data file without what tells its format and compression."""
    path = Path(name)
    while has_format(path) or path.suffix in COMPRESSIONS:
        path = path.with_suffix("")
    return path.name


def advice(path: Path) -> str | None:
    """Return what to do with a file of another format, if it is one in which people have rows."""
    return next((ADVICE[suffix] for suffix in reversed(_suffixes(path)) if suffix in ADVICE), None)


def blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    """Yield the file's rows in blocks of `rows`, the last one shorter. Raises `InputError`."""
    file_format, compression = _format_of(path)
    return file_format.read(path, compression, rows)


def _format_of(path: Path) -> tuple[FileFormat, str | None]:
    file_format, compression = _find(path)
    if file_format is None:
        help_ = advice(path)
        hint = f"pairkit reads {READABLE}"
        raise InputError(f"{path}: cannot tell its format; {f'{help_}; {hint}' if help_ else hint}")
    return file_format, compression


def _find(path: Path) -> tuple[FileFormat | None, str | None]:
    suffixes = _suffixes(path)
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    file_format = FORMATS.get(suffixes[-1]) if suffixes else None
    if file_format is not None and compression and not file_format.compressible:
        return None, compression
    return file_format, compression


def _suffixes(path: Path) -> list[str]:
    return [suffix.lower() for suffix in path.suffixes]
