"""JSON files as blocks of raw rows: lines, or values of any number of lines.

The extension does not decide between the two, because `.json` is used for lines and `.jsonl` for arrays.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from pairkit.errors import InputError
from pairkit.readers.blocks import BadLine, Block, RawBlock, bounded
from pairkit.readers.json_rows import parse_lines, row_tables, with_texts
from pairkit.readers.json_shapes import rows_of
from pairkit.readers.text import UTF8_MARK, CutLine, convert, lines_of, open_text
from pairkit.readers.written.exact_json import dumps_exact
from pairkit.readers.written.json_fields import TOO_DEEP
from pairkit.readers.written.json_values import WHOLE_BYTES, json_rows
from pairkit.readers.written.shallow_json import loads_shallow
from pairkit.readers.written.value_stream import JsonRow

PREFIX = 1 << 20  # bytes, by which an object over several lines is told from a broken line


def line_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Yield a `.jsonl` file in blocks of `rows`; a first line that is no JSON is a bad row."""
    read = _whole_blocks if is_whole(path, compression) else _line_blocks
    return read(path, compression, rows)


def json_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Yield a `.json` file in blocks of `rows`. Raises `InputError` if its first line is no JSON."""
    if is_whole(path, compression):
        return _whole_blocks(path, compression, rows)
    with open_text(path, compression) as stream:
        line = next(_filled_lines(stream), b"{}")
    try:
        # A line that is too long is a bad row.
        json.loads(b"{}" if isinstance(line, CutLine) else line)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not JSON in UTF-8 ({error}); {convert(path)}") from error
    except RecursionError:
        pass  # a row that is nested too deeply, which is a bad one
    except ValueError as error:
        raise InputError(
            f"{path}: neither one JSON value nor one JSON object per line: "
            f"the first line is not JSON ({error})"
        ) from error
    return _line_blocks(path, compression, rows)


def is_whole(path: Path, compression: str | None) -> bool:
    """Return whether a file is one JSON value, or objects of several lines, and not one object per line.

    Raises `InputError` for an object that could be read in two ways.
    """
    with open_text(path, compression) as stream:
        lines = _filled_lines(stream)
        first, second = next(lines, None), next(lines, None)
        if first is None:
            return False
        begins_list = first.lstrip().startswith(b"[")
        if second is None and begins_list:
            return True
        if isinstance(first, CutLine):
            return begins_list or (second is None and first.length <= WHOLE_BYTES)
        try:
            value, _ = loads_shallow(first.decode())
        except (ValueError, RecursionError):
            return begins_list or (second is not None and _begins_value(chain([first, second], lines)))
    return second is None and isinstance(value, dict) and rows_of(value, path) is not None


def _begins_value(lines: Iterator[bytes]) -> bool:
    """Return whether lines are the beginning of a value that spans several of them."""
    size, prefix = 0, []
    for line in lines:
        prefix.append(line.decode(errors="replace"))
        size += len(line)
        if size > PREFIX:
            break
    text = "\n".join(prefix).strip()
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        # The text ends before the value does; a broken line is an error before the end.
        return error.pos >= len(text)
    except RecursionError:
        return False
    # A value with something after it in the first line is a broken line.
    return bool(end > len(prefix[0].strip()))


def _filled_lines(stream: Any) -> Iterator[bytes]:
    """Yield the lines that are not blank, without the mark that some editors for Windows put first."""
    lines = lines_of(stream)
    first = next(lines, b"")
    # What is cut stays a `CutLine`.
    first = first if isinstance(first, CutLine) else first.removeprefix(UTF8_MARK)
    return (line for line in chain([first], lines) if line and not line.isspace())


def _line_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    # Counts blank lines too, so that it is the line number of an editor.
    first = 1
    with open_text(path, compression) as stream:
        for batch in bounded(lines_of(stream), rows, len):
            size = len(batch) - sum(not line or line.isspace() for line in batch)  # blank lines are not rows
            if size:
                yield Block(size, partial(_load_lines, batch, first, size))
            first += len(batch)


def _whole_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Yield the rows of a file in which a row may have several lines, or share one with others."""
    first = 1
    with open_text(path, compression) as stream:
        for part in bounded(json_rows(stream, path), rows, lambda row: row.length):
            yield Block(len(part), partial(_load_values, part, first))
            first += len(part)


def _load_lines(lines: list[bytes], first: int, count: int) -> RawBlock:
    tables, bad = parse_lines(lines, first)
    return RawBlock(tables, bad, count)


def _load_values(rows: list[JsonRow], first: int) -> RawBlock:
    rows_by_number = dict(enumerate(rows, first))
    tables, bad = row_tables(
        [(number, row.value) for number, row in rows_by_number.items() if not row.is_deep], odd_as_json=True
    )
    deep = [
        BadLine(number, "invalid_json", None, TOO_DEEP, json.dumps(row.text))
        for number, row in rows_by_number.items()
        if row.is_deep
    ]
    parts = [
        with_texts(table, {number: _text(rows_by_number[number]) for number in table.numbers.tolist()})
        for table in tables
    ]
    return RawBlock(parts, sorted(bad + deep), len(rows))


def _text(row: JsonRow) -> str:
    return dumps_exact(row.value) if row.text is None else row.text
