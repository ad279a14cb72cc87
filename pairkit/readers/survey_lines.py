"""A survey of JSON lines: chunks that Arrow parses in threads, row by row only where it refuses one."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.readers.blocks import CHUNK
from pairkit.readers.json_rows import dates_as_texts, parse_lines, read_block
from pairkit.readers.survey_parts import Part, part_of
from pairkit.readers.text import UTF8_MARK, CutLine, line_chunks, open_text
from pairkit.readers.written.json_fields import type_with_json_texts

WORKERS = pa.cpu_count()
LINES = 1000  # per parse of a chunk that Arrow refuses as a whole
FIRST = 2  # the number of the first line of a parse: that of line 1 may begin with the mark of UTF-8


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
    lines = chunk.split(b"\n")
    table = read_block(chunk, lines)
    if table is not None and table.num_columns:
        part = part_of(table)
        types = {name: type_with_json_texts(name, kind) for name, kind in part.types.items()}
        return [part._replace(types={name: dates_as_texts(kind) for name, kind in types.items()})]
    if first == 1:
        lines[0] = lines[0].removeprefix(UTF8_MARK)
    # Each text once: what packs to a thousandth repeats its rows, and Python reads a row in microseconds.
    counts = Counter(lines)
    distinct = list(counts)
    return [
        part
        for start in range(0, len(distinct), LINES)
        for part in _counted(distinct[start : start + LINES], counts)
    ]


def _counted(lines: list[bytes], counts: Mapping[bytes, int]) -> Iterator[Part]:
    """Yield what the rows of different lines hold, each as often as it occurs."""
    tables, bad = parse_lines(lines, FIRST)
    times = np.array([counts[line] for line in lines])
    yield Part(int(sum(times[line.number - FIRST] for line in bad)), {}, {})
    for rows in tables:
        of_rows = times[rows.numbers - FIRST]
        part = part_of(rows.table)
        valid = {name: np.asarray(pc.is_valid(rows.table[name])) for name in part.types}
        yield Part(int(of_rows.sum()), part.types, {n: int(of_rows[each].sum()) for n, each in valid.items()})
