"""Files of every format as blocks of raw rows, in order, with the number that each row has in its file.

Parquet, JSON lines (`.jsonl`, or `.json` that holds lines) and CSV are read block by block; a JSON array
is read whole. Text formats may be compressed (`.gz`, `.zst`). A row that its format cannot give is a `Bad`
row; a file that cannot be read to its end is an `InputError`.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pairkit.errors import InputError
from pairkit.readers.blocks import CHUNK, Block, Raw, opened
from pairkit.readers.csv import csv_blocks
from pairkit.readers.jsonlines import loads, parse_lines, pieces_of
from pairkit.readers.parquet import parquet_blocks

FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
READABLE = ".jsonl, .json, .csv (each also .gz or .zst) or .parquet"


def format_of(path: Path) -> tuple[str, str | None]:
    """Format and compression by the file's name. Raises `InputError` for a name that says neither."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    found = FORMATS.get(suffixes[-1]) if suffixes else None
    if found is None or (found == "parquet" and compression):
        raise InputError(f"{path}: cannot tell its format; pairkit reads {READABLE}")
    return found, compression


def blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    """The file's rows in blocks of `rows`, the last one shorter. Raises `InputError`."""
    found, compression = format_of(path)
    if found == "parquet":
        return parquet_blocks(path, rows)
    if found == "csv":
        return csv_blocks(path, compression, rows)
    if found == "json" and _is_array(path, compression):
        return _array_blocks(path, compression, rows)
    return _line_blocks(path, compression, rows)


def _is_array(path: Path, compression: str | None) -> bool:
    """Whether a `.json` file is one array. If not, it has to hold one object a line."""
    with opened(path, compression) as stream:
        content = (line for line in _lines(stream) if line and not line.isspace())
        line = next(content, b"").removeprefix(b"\xef\xbb\xbf").lstrip()
    if line.startswith(b"["):
        return True
    try:
        json.loads(line or b"{}")
    except ValueError as error:
        raise InputError(
            f"{path}: neither a JSON array nor one JSON object a line: the first line is not JSON ({error})"
        ) from error
    return False


def _line_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    first = 1
    with opened(path, compression) as stream:
        for lines in _batched(_lines(stream), rows):
            size = len(lines) - sum(not line or line.isspace() for line in lines)  # a blank line is no row
            if size:
                yield Block(size, partial(_load_lines, lines, first, size))
            first += len(lines)


def _batched(lines: Iterator[bytes], count: int) -> Iterator[list[bytes]]:
    while batch := list(islice(lines, count)):
        yield batch


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    """Lines end at \\n only: a text may hold any other line separator."""
    rest = b""
    while chunk := stream.read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _load_lines(lines: list[bytes], first: int, count: int) -> Raw:
    pieces, bad = parse_lines(lines, first)
    return Raw(pieces, bad, count)


def _array_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    with opened(path, compression) as stream:
        content = stream.read()
    try:
        values = loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    for first in range(0, len(values), rows):
        part = values[first : first + rows]
        numbers = np.arange(first, first + len(part)) + 1
        yield Block(len(part), partial(_load_values, part, numbers))


def _load_values(values: list[Any], numbers: np.ndarray[Any, Any]) -> Raw:
    pieces, bad = pieces_of(list(zip(numbers.tolist(), values, strict=True)))
    return Raw(pieces, bad, len(values))
