"""A survey of JSON lines: chunks that Arrow parses in threads, row by row only where it refuses one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from pairkit.readers.blocks import CHUNK
from pairkit.readers.json_rows import dates_as_texts, parse_lines, read_block
from pairkit.readers.survey_parts import Part, part_of
from pairkit.readers.text import CutLine, line_chunks, open_text
from pairkit.readers.written.json_fields import type_with_json_texts

WORKERS = pa.cpu_count()
LINES = 1000  # per parse of a chunk that Arrow refuses as a whole


def survey_lines(path: Path, compression: str | None) -> Iterator[Part]:
    """Yield what the rows of a file hold, in order. Raises `InputError`."""
    waiting: deque[Future[list[Part]]] = deque()
    with ThreadPoolExecutor(WORKERS) as pool:
        for chunk, first in _chunks(path, compression):
            waiting.append(pool.submit(_survey_chunk, chunk, first))
            # No more chunks in memory than threads are busy with.
            if len(waiting) > WORKERS:
                yield from waiting.popleft().result()
        for result in waiting:
            yield from result.result()


def _chunks(path: Path, compression: str | None) -> Iterator[tuple[bytes, int]]:
    """Yield whole lines, with the number of the first."""
    first = 1
    with open_text(path, compression) as stream:
        for chunk in line_chunks(stream, CHUNK):
            yield chunk, first
            first += chunk.count(b"\n") + 1


def _survey_chunk(chunk: bytes, first: int) -> list[Part]:
    if isinstance(chunk, CutLine):
        return [Part(1, {}, {})]
    lines, parts = chunk.split(b"\n"), []
    table = read_block(chunk, lines)
    if table is not None and table.num_columns:
        part = part_of(table)
        types = {name: type_with_json_texts(name, kind) for name, kind in part.types.items()}
        return [part._replace(types={name: dates_as_texts(kind) for name, kind in types.items()})]
    for start in range(0, len(lines), LINES):
        tables, bad = parse_lines(lines[start : start + LINES], first + start)
        parts += [Part(len(bad), {}, {}), *(part_of(rows.table) for rows in tables)]
    return parts
