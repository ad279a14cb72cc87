"""Files of every format as blocks of raw rows, in order, with the number that each row has in its file.

Parquet, JSON lines (`.jsonl`, or `.json` that holds lines) and CSV are read block by block; a JSON array
is read whole. Text formats may be compressed (`.gz`, `.zst`). A row that cannot be read is a `BadLine`;
a file that cannot be read to its end is an `InputError`.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from pairkit.errors import InputError
from pairkit.readers.blocks import Block
from pairkit.readers.csv import csv_blocks
from pairkit.readers.json import array_blocks, is_array, line_blocks
from pairkit.readers.parquet import parquet_blocks

FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
READABLE = ".jsonl, .json, .csv (each also .gz or .zst) or .parquet"


def format_of(path: Path) -> tuple[str, str | None]:
    """Return format and compression, from the file's name. Raises `InputError` for an unknown extension."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    name = FORMATS.get(suffixes[-1]) if suffixes else None
    # Parquet is compressed inside and read by offsets, which another compression makes impossible.
    if name is None or (name == "parquet" and compression):
        raise InputError(f"{path}: cannot tell its format; pairkit reads {READABLE}")
    return name, compression


def blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    """Yield the file's rows in blocks of `rows`, the last one shorter. Raises `InputError`."""
    name, compression = format_of(path)
    if name == "parquet":
        return parquet_blocks(path, rows)
    if name == "csv":
        return csv_blocks(path, compression, rows)
    # `.json` is used for arrays and for lines, so the content decides.
    if name == "json" and is_array(path, compression):
        return array_blocks(path, compression, rows)
    return line_blocks(path, compression, rows)
