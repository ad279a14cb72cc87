"""CSV files as blocks of raw rows."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from pairkit.errors import InputError, shortened
from pairkit.readers.blocks import (
    CHUNK,
    UNIT_BYTES,
    BadLine,
    Block,
    RawBlock,
    RowTable,
    rebatch,
    refuse_duplicates,
)
from pairkit.readers.csv_ahead import ReadAhead, hide_undecodable_rows
from pairkit.readers.csv_dialect import Dialect, dialect_of
from pairkit.readers.csv_rows import CSV_BLOCK, Watched, header_row, loose_rows
from pairkit.readers.text import convert, open_text

INDEX = "index"
MISFITS = 100_000  # rows with too few or too many cells that a file may have, whatever its other rows are


def csv_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Yield a CSV file in blocks of `rows`.

    Every cell is a text, because what looks like a number may be a prompt. An empty cell is null unless it
    is quoted. The delimiter is found by the header. Raises `InputError`.
    """
    hide_undecodable_rows()
    bad: list[BadLine] = []
    dialect = dialect_of(path, compression)
    misfits = 0  # bad rows at the time when they were too many

    def skip(row: pacsv.InvalidRow) -> str:
        nonlocal misfits
        # A call takes ten times as long as reading a row, and some kB of gzip hold millions of such rows.
        if len(bad) >= MISFITS and 2 * len(bad) > row.number:
            misfits = len(bad)
            return "error"
        problem = f"has {row.actual_columns} cells, the header has {row.expected_columns}"
        # pyarrow counts the header, and a line before it, as rows.
        bad.append(
            BadLine(row.number - 1 - dialect.skipped, "invalid_csv", None, problem, json.dumps(row.text))
        )
        return "skip"

    with open_text(path, compression) as file:
        watched = Watched(file, dialect.delimiter)
        # One thread, because only then does pyarrow number the bad rows.
        read = pacsv.ReadOptions(use_threads=False, block_size=CSV_BLOCK, skip_rows=dialect.skipped)
        try:
            header = _header(path, compression, dialect)
            names = _names(header)
            refuse_duplicates(names, path)
            convert = pacsv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                # pyarrow leaves texts empty unless told so, but a missing value is null in the other formats.
                strings_can_be_null=True,
                null_values=[""],
                quoted_strings_can_be_null=False,
            )
            with ReadAhead(watched) as ahead:
                batches = ahead.batches(skip, dialect.delimiter, read, convert)
                read_tables = (pa.Table.from_batches([batch]).rename_columns(names) for batch in batches)
                tables = rebatch(read_tables, rows, UNIT_BYTES)
                blocks = _number_rows(_refuse_open_quote(tables, bad, path, compression), bad)
                yield from _without_loose_rows(blocks, watched, path, compression, dialect)
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:  # the latter for the names of columns
            if misfits:
                raise InputError(
                    f"{path}: more than half of its rows have another number of cells than its header "
                    f"({len(header)}), {misfits:,} so far; correct the header, or write the rows with one "
                    "delimiter and quotes"
                ) from error
            raise InputError(
                f"{path}: not CSV in UTF-8 with a header ({shortened(str(error))}); {_advice(path, error)}"
            ) from error


def _advice(path: Path, error: ValueError) -> str:
    if "straddl" in str(error):
        return f"a row is longer than {CSV_BLOCK:,} bytes, or a quote is never closed; cut or close it"
    # The last is what is left of other encodings in a row that pyarrow shows.
    decoded = isinstance(error, UnicodeDecodeError) or "UTF8" in str(error) or "\ufffd" in str(error)
    return convert(path) if decoded else "correct the file, or leave it out"


def _header(path: Path, compression: str | None, dialect: Dialect) -> list[str]:
    # The row alone, because of a whole block pyarrow would show each bad row to Python.
    with open_text(path, compression) as file:
        row = header_row(file, dialect.delimiter, dialect.skipped)
    read = pacsv.ReadOptions(use_threads=False, block_size=CSV_BLOCK, skip_rows=dialect.skipped)
    parse = pacsv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True)
    return list(pacsv.open_csv(pa.BufferReader(row), read, parse).schema.names)


def _names(header: list[str]) -> list[str]:
    """Return names for all columns: pandas leaves that of the index empty, Excel those of empty columns."""
    names = [name.strip() for name in header]
    substitutes = [
        INDEX if not place and INDEX not in names else f"column {place + 1}" for place in range(len(names))
    ]
    return [name or other for name, other in zip(names, substitutes, strict=True)]


def _refuse_open_quote(
    tables: Iterator[pa.Table], bad: list[BadLine], path: Path, compression: str | None
) -> Iterator[pa.Table]:
    """Yield the tables; raise `InputError` for a quote that is never closed.

    The parser takes the rest of such a file for one cell, and would return it as a text without an error.
    """
    last, rows = None, 0
    for table in tables:
        if last is not None:
            yield last
        last, rows = table, rows + table.num_rows
    number = rows + len(bad)
    if bad and bad[-1].number == number:
        unclosed = json.loads(bad[-1].row).count('"') % 2 == 1
    else:
        # A cell of several lines was opened by a quote, so a quote has to close the last one.
        unclosed = last is not None and "\n" in (last[-1][-1].as_py() or "")
        unclosed = unclosed and not _tail(path, compression).rstrip().endswith(b'"')
    if unclosed:
        raise InputError.at(
            "opens a quote that is never closed, so that the rest of the file is in one cell; close it",
            file=path,
            row=number,
        )
    if last is not None:
        yield last


def _tail(path: Path, compression: str | None) -> bytes:
    """Return the last bytes of a file, at least one `CHUNK` if it has that many."""
    before, last = b"", b""
    with open_text(path, compression) as stream:
        while chunk := stream.read(CHUNK):
            before, last = last, chunk
    return before + last


def _number_rows(tables: Iterator[pa.Table], bad: list[BadLine]) -> Generator[Block, None, None]:
    """Yield one block per table, its rows numbered around the bad ones, which the parser skipped."""
    last = before = 0
    for table in tables:
        skipped_rows: list[BadLine] = []
        numbers = np.arange(last + 1, last + table.num_rows + 1)
        while before < len(bad) and bad[before].number <= numbers[-1]:
            # The parser does not count the rows that it skips, but they are in the file.
            numbers[numbers >= bad[before].number] += 1
            skipped_rows.append(bad[before])
            before += 1
        last = int(numbers[-1])
        raw = RawBlock([RowTable(table, numbers)], skipped_rows, table.num_rows + len(skipped_rows))
        yield Block(raw.size, partial(_same, raw))
    if before < len(bad):
        rest = bad[before:]
        yield Block(len(rest), partial(_same, RawBlock([], rest, len(rest))))


def _without_loose_rows(
    blocks: Iterator[Block], watched: Watched, path: Path, compression: str | None, dialect: Dialect
) -> Generator[Block, None, None]:
    """Move rows in which text follows a closing quote to the bad ones, once there may be some."""
    with ExitStack() as stack:
        loose: Iterator[tuple[int, str]] | None = None
        row: tuple[int, str] | None = None
        for block in blocks:
            raw = block.load()
            if watched.suspicious and loose is None:
                stream = stack.enter_context(open_text(path, compression))
                loose = stack.enter_context(closing(loose_rows(stream, dialect.delimiter, dialect.skipped)))
                row = next(loose, None)
            loose_texts = dict[int, str]()
            last = max([line.number for line in raw.bad] + [int(part.numbers[-1]) for part in raw.tables])
            while loose is not None and row is not None and row[0] <= last:
                loose_texts[row[0]] = row[1]
                row = next(loose, None)
            yield Block(block.size, partial(_same, _moved(raw, loose_texts) if loose_texts else raw))


def _moved(raw: RawBlock, loose_texts: Mapping[int, str]) -> RawBlock:
    tables, bad = [], list(raw.bad)
    for table, numbers, _ in raw.tables:
        loose = np.isin(numbers, list(loose_texts))
        bad += [
            BadLine(number, "invalid_csv", None, LOOSE, json.dumps(loose_texts[number]))
            for number in numbers[loose].tolist()
        ]
        tables.append(RowTable(table.filter(pa.array(~loose)), numbers[~loose]))
    return RawBlock([part for part in tables if len(part.numbers)], sorted(bad), raw.size)


LOOSE = "has text after the closing quote of a cell; write quotes within a cell twice"


def _same(raw: RawBlock) -> RawBlock:
    return raw
