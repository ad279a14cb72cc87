"""CSV files as blocks of raw rows."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from pairkit.errors import InputError
from pairkit.readers.blocks import CHUNK, Block, Raw, opened, rebatch
from pairkit.readers.jsonlines import Bad, Piece

CSV_BLOCK = 64 << 20  # bytes; a CSV row has to fit in one


def csv_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Every cell is a text: what looks like a number may be a prompt. Empty and not quoted, it is null."""
    bad: list[Bad] = []

    def note(row: csv.InvalidRow) -> str:
        problem = f"has {row.actual_columns} cells, the header has {row.expected_columns}"
        bad.append(Bad(row.number - 1, "invalid_csv", None, problem, json.dumps(row.text)))
        return "skip"

    with opened(path, compression) as stream:
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
            tables = rebatch((pa.Table.from_batches([batch]) for batch in reader), rows)
            yield from _numbered(_closed(tables, bad, path, compression), bad)
        except pa.ArrowInvalid as error:
            raise InputError(f"{path}: not CSV in UTF-8 with a header: {error}") from error


def _csv_names(path: Path, compression: str | None, read: csv.ReadOptions) -> list[str]:
    with opened(path, compression) as stream:
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
        unclosed = json.loads(bad[-1].row).count('"') % 2 == 1
    else:
        # A cell of several lines was opened by a quote, so that a quote has to close the last one.
        unclosed = last is not None and "\n" in (last[-1][-1].as_py() or "")
        unclosed = unclosed and not _end(path, compression).rstrip().endswith(b'"')
    if unclosed:
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
    with opened(path, compression) as stream:
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
