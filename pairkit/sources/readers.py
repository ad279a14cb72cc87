"""Files of every format as blocks of raw rows, in order, with the number that each row has in its file.

Parquet, JSON lines (`.jsonl`, or `.json` that holds lines) and CSV are read block by block; a JSON array
is read whole. Text formats may be compressed (`.gz`, `.zst`). A row that its format cannot give is a `Bad`
row; a file that cannot be read to its end is an `InputError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from pairkit.errors import InputError
from pairkit.sources.jsonlines import Bad, Piece, loads, parse_lines, pieces_of
from pairkit.sources.jsontext import json_row

FORMATS = {".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv"}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
READABLE = ".jsonl, .json, .csv (each also .gz or .zst) or .parquet"
CHUNK = 4 << 20  # bytes
CSV_BLOCK = 64 << 20  # bytes; a CSV row has to fit in one


class Raw(NamedTuple):
    """`size` raw rows of a file: tables of rows that share a schema, and rows that cannot be read."""

    pieces: list[Piece]
    bad: list[Bad]
    size: int

    def head(self, count: int) -> Raw:
        """The first `count` rows."""
        if count >= self.size:
            return self
        numbers = [piece.numbers for piece in self.pieces] + [np.array([bad.number for bad in self.bad])]
        last = np.sort(np.concatenate(numbers))[count - 1]
        pieces = [
            Piece(piece.table.slice(0, kept), piece.numbers[:kept])
            for piece in self.pieces
            if (kept := int(np.searchsorted(piece.numbers, last, side="right")))
        ]
        return Raw(pieces, [bad for bad in self.bad if bad.number <= last], count)


class Block(NamedTuple):
    """`size` rows that `load` reads. Blocks are loaded in order; earlier ones may be left out."""

    size: int
    load: Callable[[], Raw]


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
        return _parquet_blocks(path, rows)
    if found == "csv":
        return _csv_blocks(path, compression, rows)
    if found == "json" and _is_array(path, compression):
        return _array_blocks(path, compression, rows)
    return _line_blocks(path, compression, rows)


@contextmanager
def _opened(path: Path, compression: str | None) -> Iterator[pa.NativeFile]:
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            yield stream
    except OSError as error:
        if compression is None:
            raise InputError(f"{path}: cannot be read: {error}") from error
        raise InputError(
            f"{path}: the {compression} stream is damaged or ends early ({error}); get the file again"
        ) from error


def _is_array(path: Path, compression: str | None) -> bool:
    """Whether a `.json` file is one array. If not, it has to hold one object a line."""
    with _opened(path, compression) as stream:
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
    with _opened(path, compression) as stream:
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
    with _opened(path, compression) as stream:
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


def _csv_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Every cell is a text: what looks like a number may be a prompt. Empty and not quoted, it is null."""
    bad: list[Bad] = []

    def note(row: csv.InvalidRow) -> str:
        problem = f"has {row.actual_columns} cells, the header has {row.expected_columns}"
        bad.append(Bad(row.number - 1, "invalid_csv", None, problem, json.dumps(row.text)))
        return "skip"

    with _opened(path, compression) as stream:
        read = csv.ReadOptions(use_threads=False, block_size=CSV_BLOCK)
        parse = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note)
        try:
            names = _csv_names(path, compression, read)
            convert = csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            )
            reader = csv.open_csv(stream, read, parse, convert)
            tables = _rebatch((pa.Table.from_batches([batch]) for batch in reader), rows)
            yield from _numbered(_closed(tables, bad, path, compression), bad)
        except pa.ArrowInvalid as error:
            raise InputError(f"{path}: not CSV in UTF-8 with a header: {error}") from error


def _csv_names(path: Path, compression: str | None, read: csv.ReadOptions) -> list[str]:
    with _opened(path, compression) as stream:
        skip = csv.ParseOptions(newlines_in_values=True, invalid_row_handler=lambda row: "skip")
        names = list(csv.open_csv(stream, read, skip).schema.names)
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{path}: two columns are named {sorted(twice)[0]!r}")
    return names


def _closed(
    tables: Iterator[pa.Table], bad: list[Bad], path: Path, compression: str | None
) -> Iterator[pa.Table]:
    """The tables, of a file that does not end inside a quoted cell, whose text the rest would become."""
    last, rows = None, 0
    for table in tables:
        if last is not None:
            yield last
        last, rows = table, rows + table.num_rows
    number = rows + len(bad)
    if bad and bad[-1].number == number:
        opened = json.loads(bad[-1].row).count('"') % 2 == 1
    else:
        # A cell of several lines was opened by a quote, so that a quote has to close the last one.
        opened = last is not None and "\n" in (last[-1][-1].as_py() or "")
        opened = opened and not _end(path, compression).rstrip().endswith(b'"')
    if opened:
        raise InputError.at(
            "opens a quote that is never closed, so that the rest of the file is in one cell; close it",
            file=path,
            row=number,
        )
    if last is not None:
        yield last


def _end(path: Path, compression: str | None) -> bytes:
    """The last bytes of a file, at least one `CHUNK` of them where it has so many."""
    before, last = b"", b""
    with _opened(path, compression) as stream:
        while chunk := stream.read(CHUNK):
            before, last = last, chunk
    return before + last


def _numbered(tables: Iterator[pa.Table], bad: list[Bad]) -> Generator[Block, None, None]:
    """A block a table, its rows numbered around the bad ones, which the parser skipped."""
    done = before = 0
    for table in tables:
        skipped: list[Bad] = []
        numbers = np.arange(done + 1, done + table.num_rows + 1)
        while before < len(bad) and bad[before].number <= numbers[-1]:
            numbers[numbers >= bad[before].number] += 1
            skipped.append(bad[before])
            before += 1
        done = int(numbers[-1])
        raw = Raw([Piece(table, numbers)], skipped, table.num_rows + len(skipped))
        yield Block(raw.size, partial(_same, raw))
    if before < len(bad):
        rest = bad[before:]
        yield Block(len(rest), partial(_same, Raw([], rest, len(rest))))


def _same(raw: Raw) -> Raw:
    return raw


def _rebatch(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `rows`, the last one shorter."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        while sum(part.num_rows for part in waiting) >= rows:
            joined = pa.concat_tables(waiting)
            yield joined.slice(0, rows)
            waiting = [joined.slice(rows)]
    rest = pa.concat_tables(waiting) if waiting else None
    if rest is not None and rest.num_rows:
        yield rest


def parquet_file(path: Path) -> pq.ParquetFile:
    """An open Parquet file. Raises `InputError`."""
    try:
        # Without pre-buffering memory holds the pages being decoded, not the whole row group.
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a Parquet file: {error}") from error


def _parquet_blocks(path: Path, rows: int) -> Generator[Block, None, None]:
    with parquet_file(path) as file:
        total = file.metadata.num_rows
        stream: Iterator[pa.Table] | None = None

        def load(first: int) -> Raw:
            nonlocal stream
            stream = stream or _parquet_tables(file, first, rows)
            try:
                table = next(stream)
            except (pa.ArrowInvalid, OSError) as error:
                raise InputError(f"{path}: the Parquet file is damaged: {error}") from error
            return _checked(table, np.arange(first, first + table.num_rows) + 1)

        for first in range(0, total, rows):
            yield Block(min(rows, total - first), partial(load, first))


def _parquet_tables(file: pq.ParquetFile, first: int, rows: int) -> Iterator[pa.Table]:
    """Tables of `rows` rows from row `first` on, starting at the row group that holds it."""
    group, before = 0, 0
    while before + file.metadata.row_group(group).num_rows <= first:
        before += file.metadata.row_group(group).num_rows
        group += 1
    batches = file.iter_batches(rows, row_groups=range(group, file.num_row_groups), use_threads=True)
    return _rebatch(_drop_rows((pa.Table.from_batches([batch]) for batch in batches), first - before), rows)


def _drop_rows(tables: Iterator[pa.Table], count: int) -> Iterator[pa.Table]:
    for table in tables:
        dropped = min(count, table.num_rows)
        count -= dropped
        if dropped < table.num_rows:
            yield table.slice(dropped)


def _checked(table: pa.Table, numbers: np.ndarray[Any, Any]) -> Raw:
    """The table's rows, those with texts that are not UTF-8 apart: Parquet does not look."""
    try:
        table.validate(full=True)
    except pa.ArrowInvalid:
        broken = np.array([not _is_valid(table.slice(row, 1)) for row in range(table.num_rows)])
        kept = Piece(table.filter(pa.array(~broken)), numbers[~broken])
        bad = [_broken_row(table.slice(int(row), 1), int(numbers[row])) for row in np.flatnonzero(broken)]
        return Raw([kept] if len(kept.numbers) else [], bad, table.num_rows)
    return Raw([Piece(table, numbers)], [], table.num_rows)


def _is_valid(table: pa.Table) -> bool:
    try:
        table.combine_chunks().validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _broken_row(row: pa.Table, number: int) -> Bad:
    names = [name for name in row.column_names if not _is_valid(row.select([name]))]
    values = {name: "(not UTF-8)" if name in names else row[name][0].as_py() for name in row.column_names}
    return Bad(number, "invalid_utf8", names[0], "is not UTF-8", json_row(values))
