"""JSON files as blocks of raw rows: lines, or one value that is read whole.

The extension does not decide between the two, because `.json` is used for lines and `.jsonl` for arrays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator
from functools import partial
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pairkit.errors import InputError
from pairkit.readers.blocks import BadLine, Block, RawBlock
from pairkit.readers.json_fields import MAX_LEVELS
from pairkit.readers.json_rows import loads_all, parse_lines, row_tables, with_texts
from pairkit.readers.json_shapes import rows_of
from pairkit.readers.text import UTF8_MARK, convert, lines_of, open_text
from pairkit.readers.written.exact_json import Repeated, dumps_exact, twice
from pairkit.readers.written.json_depth import cut

AROUND = 16  # levels around rows: a list, and keys
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
        json.loads(line)
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
        try:
            (value,) = _parse_all(first)[0]
        except ValueError:
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
    first = next(lines, b"").removeprefix(UTF8_MARK)
    return (line for line in chain([first], lines) if line and not line.isspace())


def _line_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    # Counts blank lines too, so that it is the line number of an editor.
    first = 1
    with open_text(path, compression) as stream:
        lines = lines_of(stream)
        while batch := list(islice(lines, rows)):
            size = len(batch) - sum(not line or line.isspace() for line in batch)  # blank lines are not rows
            if size:
                yield Block(size, partial(_load_lines, batch, first, size))
            first += len(batch)


def _whole_blocks(path: Path, compression: str | None, rows: int) -> Generator[Block, None, None]:
    """Yield a file that is read whole, because one value has no line at which a reader could stop."""
    values, deep = _values(path, compression)
    for first in range(0, len(values), rows):
        part = values[first : first + rows]
        # Rows count from 1.
        numbers = np.arange(first, first + len(part)) + 1
        yield Block(len(part), partial(_load_values, part, numbers, deep))


class _Deep(NamedTuple):
    """What was cut out of a file because no parser follows it, and how the texts in its place begin."""

    mark: str
    parts: list[bytes]

    def restored(self, line: BadLine) -> BadLine:
        """Return a bad row as the file has it."""
        if self.mark not in line.row:
            return line
        text = json.loads(line.row)
        whole = re.sub(f'"{self.mark}(\\d+)"', lambda match: self.parts[int(match[1])].decode(), text)
        return line._replace(row=json.dumps(whole))


def _parse_all(content: bytes) -> tuple[list[Any], _Deep | None]:
    """Parse JSON values that follow each other, without what is nested too deeply to be parsed."""
    text = content.decode("utf-8-sig")
    try:
        return loads_all(text), None
    except RecursionError:
        mark = next(mark for number in count() if (mark := f"deep-{number}-") not in text)
        shallow, parts = cut(text.encode(), MAX_LEVELS + AROUND, mark)
        return loads_all(shallow.decode()), _Deep(mark, parts)


def _values(path: Path, compression: str | None) -> tuple[list[Any], _Deep | None]:
    with open_text(path, compression) as stream:
        content = stream.read()
    try:
        # Several values one after the other, as jq prints them, are rows.
        values, deep = _parse_all(content)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not JSON in UTF-8 ({error}); {convert(path)}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error}); correct the file, or leave it out") from error
    if len(values) > 1:
        return values, deep
    (value,) = values
    if isinstance(value, Repeated):
        raise InputError(f"{path}: {twice(value.name)}; keep one of them, or write one row per line")
    if isinstance(value, dict):
        rows = rows_of(value, path)
        return ([value] if rows is None else rows), deep
    if value and not any(isinstance(row, dict) for row in value):
        raise InputError(
            f"{path}: a list of {_kind(value[0])}, so that no field has a name; rows have to be objects, "
            'as in [{"prompt": ...}] (pandas: orient="records")'
        )
    return list(value), deep


def _kind(value: Any) -> str:
    return "lists" if isinstance(value, list) else "texts" if isinstance(value, str) else "values"


def _load_lines(lines: list[bytes], first: int, count: int) -> RawBlock:
    tables, bad = parse_lines(lines, first)
    return RawBlock(tables, bad, count)


def _load_values(values: list[Any], numbers: np.ndarray[Any, Any], deep: _Deep | None) -> RawBlock:
    rows = dict(zip(numbers.tolist(), values, strict=True))
    tables, bad = row_tables(list(rows.items()))
    written = [
        with_texts(table, {number: dumps_exact(rows[number]) for number in table.numbers.tolist()})
        for table in tables
    ]
    return RawBlock(written, bad if deep is None else [deep.restored(line) for line in bad], len(values))
