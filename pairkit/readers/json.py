"""JSON lines and JSON arrays as blocks of raw rows."""

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
from pairkit.readers.blocks import CHUNK, Block, RawBlock, open_stream
from pairkit.readers.json_rows import loads, parse_lines, row_tables


def is_array(path: Path, compression: str | None) -> bool:
    """Return whether a `.json` file is one array. Raises `InputError` if it is not JSON lines either."""
    with open_stream(path, compression) as stream:
        # One line is enough to tell an array from lines, so a large file is not read twice.
        content = (line for line in _lines(stream) if line and not line.isspace())
        # The mark that some editors for Windows put before UTF-8.
        line = next(content, b"").removeprefix(b"\xef\xbb\xbf").lstrip()
    if line.startswith(b"["):
        return True
    try:
        json.loads(line or b"{}")
    except ValueError as error:
        raise InputError(
            f"{path}: neither a JSON array nor one JSON object per line: the first line is not JSON ({error})"
        ) from error
    return False


def line_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Yield a file of JSON lines in blocks of `rows`."""
    # Counts blank lines too, so that it is the line number of an editor.
    first = 1
    with open_stream(path, compression) as stream:
        for lines in _batched(_lines(stream), rows):
            size = len(lines) - sum(not line or line.isspace() for line in lines)  # blank lines are not rows
            if size:
                yield Block(size, partial(_load_lines, lines, first, size))
            first += len(lines)


def array_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Yield a file that holds one JSON array, which is read whole, in blocks of `rows`."""
    # Whole, because an array has no line at which a reader could stop.
    with open_stream(path, compression) as stream:
        content = stream.read()
    try:
        values = loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); correct the file, or leave it out") from error
    for first in range(0, len(values), rows):
        part = values[first : first + rows]
        # Rows count from 1.
        numbers = np.arange(first, first + len(part)) + 1
        yield Block(len(part), partial(_load_values, part, numbers))


def _batched(lines: Iterator[bytes], count: int) -> Iterator[list[bytes]]:
    while batch := list(islice(lines, count)):
        yield batch


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    """Yield lines, split at \\n only because a text may hold any other line separator."""
    rest = b""
    while chunk := stream.read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _load_lines(lines: list[bytes], first: int, count: int) -> RawBlock:
    tables, bad = parse_lines(lines, first)
    return RawBlock(tables, bad, count)


def _load_values(values: list[Any], numbers: np.ndarray[Any, Any]) -> RawBlock:
    tables, bad = row_tables(list(zip(numbers.tolist(), values, strict=True)))
    return RawBlock(tables, bad, len(values))
