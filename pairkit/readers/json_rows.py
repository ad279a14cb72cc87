"""JSON rows as Arrow tables: a whole block at once if Arrow can parse it, row by row if not.

Arrow needs one type per column. Rows that do not share one (a prompt that is a text here and messages there)
are returned as several tables of one schema each, so that a source sees plain columns and no row is lost.
With each table are the texts of its rows, from which what no column can hold is read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from pairkit.json_depth import is_deep_value
from pairkit.readers.blocks import COLUMNS, BadLine, RowTable
from pairkit.readers.text import UTF8_MARK, CutLine
from pairkit.readers.written.exact_json import json_row, loads_exact, repeated_key, unrepeated
from pairkit.readers.written.json_fields import (
    TOO_DEEP,
    WRITTEN,
    TooDeep,
    is_too_deep,
    with_json_texts,
    with_parts,
)
from pairkit.readers.written.row_groups import NOT_ARROW, array_of, group_by_schema, row_table


def parse_lines(lines: list[bytes], first: int) -> tuple[list[RowTable], list[BadLine]]:
    """Parse lines of JSON, of which the first has the number `first`. Blank lines are not rows."""
    # Only a file's first line may begin with the mark of UTF-8; what is cut stays a `CutLine`.
    if first == 1 and not isinstance(lines[0], CutLine):
        lines = [lines[0].removeprefix(UTF8_MARK), *lines[1:]]
    block = b"\n".join(lines)
    # The beginning of a line may be valid by itself.
    cut = any(isinstance(line, CutLine) for line in lines)
    table = None if cut or WRITTEN.search(block) else _parse_block(block, lines)
    # No column is an object without fields.
    if table is not None and table.num_columns:
        return [RowTable(table, np.arange(first, first + len(lines)), _texts(block, lines))], []
    return _parse_line_by_line(lines, first)


def _texts(block: bytes, lines: Sequence[bytes]) -> pa.Array:
    """Return lines of valid UTF-8 as texts that share the memory of their block, with their line breaks."""
    cuts = np.cumsum([0, *(len(line) + 1 for line in lines)])
    cuts[-1] -= 1
    buffers = [None, pa.py_buffer(cuts.astype(np.int64)), pa.py_buffer(block)]
    return pa.Array.from_buffers(pa.large_string(), len(lines), buffers)


def _parse_block(block: bytes, lines: Sequence[bytes]) -> pa.Table | None:
    """Return the block as a table in which dates are texts, or None as `read_block` does."""
    table = read_block(block, lines)
    if table is None:
        return None
    texts = pa.schema([field.with_type(dates_as_texts(field.type)) for field in table.schema])
    # Arrow reads a column of dates as timestamps; the sets keep the texts that the file has.
    return table if texts == table.schema else _read(block, len(lines), texts)


def read_block(block: bytes, lines: Sequence[bytes]) -> pa.Table | None:
    """Return the block of these lines as a table.

    None if it is not JSON of one schema, an object per line, in UTF-8.
    """
    # Arrow crashes on hundreds of levels.
    if not _is_object_per_line(lines) or any(map(is_deep_value, lines)) or any(map(_is_wide, lines)):
        return None
    try:
        # Arrow looks at the bytes of values only, and not at those of names.
        _texts(block, lines).validate(full=True)
    except pa.ArrowInvalid:
        return None
    return _read(block, len(lines))


def _read(block: bytes, rows: int, schema: pa.Schema | None = None) -> pa.Table | None:
    # One block, because Arrow infers types block by block.
    read = pajson.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        table = pajson.read_json(pa.BufferReader(block), read, pajson.ParseOptions(explicit_schema=schema))
        table.validate(full=True)
    except pa.ArrowInvalid:
        return None
    except UnicodeDecodeError:
        return None
    if table.num_rows != rows:
        return None
    # Such a row is found line by line.
    return None if any(is_too_deep(kind) for kind in table.schema.types) else table


def _is_wide(line: bytes) -> bool:
    """Return whether a line has far too many names: Arrow's time grows with their square."""
    # Most are too short for so many.
    return len(line) > COLUMNS * len(NAME) and line.count(NAME) > COLUMNS


NAME = b'":'


def _is_object_per_line(lines: Sequence[bytes]) -> bool:
    """Return whether every line begins and ends as an object does.

    With as many rows as lines, each line is then one row: Arrow reads several objects of one line, objects
    that span lines, and null as a row without values.
    """
    # By lines, because counting in a block takes a hundred times as long.
    return all(line.startswith(b"{") and line.endswith((b"}", b"}\r")) for line in lines)


def dates_as_texts(kind: pa.DataType) -> pa.DataType:
    """Return the type that values have when what Arrow takes for a time stays a text."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(dates_as_texts(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(dates_as_texts(field.type)) for field in kind])
    return kind


def _parse_line_by_line(lines: list[bytes], first: int) -> tuple[list[RowTable], list[BadLine]]:
    values, bad, texts = [], [], {}
    for number, line in enumerate(lines, first):
        if not line or line.isspace():
            continue
        if isinstance(line, CutLine):
            bad.append(
                BadLine(
                    number, "too_long", None, line.problem, json.dumps(line.decode(errors="backslashreplace"))
                )
            )
            continue
        try:
            texts[number] = text = line.decode()
        except UnicodeDecodeError as error:
            detail = f"is not UTF-8 (byte {error.start + 1})"
            bad.append(
                BadLine(
                    number, "invalid_utf8", None, detail, json.dumps(line.decode(errors="backslashreplace"))
                )
            )
            continue
        try:
            # Before parsing, because how deep Python parses depends on who calls it.
            if is_deep_value(line):
                raise TooDeep
            values.append((number, loads_exact(text)))
        except ValueError as error:
            bad.append(BadLine(number, "invalid_json", None, _why_no_row(text, error), json.dumps(text)))
    tables, more = row_tables(values, odd_as_json=True)
    return [with_texts(table, texts) for table in tables], sorted(bad + more)


def _why_no_row(text: str, error: ValueError) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if error.msg == "Extra data":
        rest = text[error.pos :].strip()[:20]
        return f"is not JSON: {error}: {rest!r} follows the object; write one object per line"
    return f"is not JSON: {error}"


def with_texts(rows: RowTable, texts: Mapping[int, str]) -> RowTable:
    """Return rows with their texts, found by their numbers."""
    return rows._replace(
        texts=pa.array([texts[number] for number in rows.numbers.tolist()], pa.large_string())
    )


def row_tables(
    values: list[tuple[int, Any]], *, odd_as_json: bool = False
) -> tuple[list[RowTable], list[BadLine]]:
    """Convert numbered JSON values to tables. A value that is not an object, or fits no Arrow type, is bad.

    With `odd_as_json`, a field with values of several kinds in one list is a column of the type Json.
    """
    bad = [
        BadLine(number, "invalid_json", None, "is not an object with fields", json_row(value))
        for number, value in values
        # An object without fields has nothing that a source could read.
        if not isinstance(value, dict) or not value
    ]
    rows, deep = _readable([(number, value) for number, value in values if isinstance(value, dict) and value])
    bad = sorted(bad + deep)
    if not rows:
        return [], bad
    try:
        return [row_table(rows)], bad
    except NOT_ARROW:  # some row is odd, or differs from the others: look at each
        tables, odd = group_by_schema(rows, odd_as_json=odd_as_json)
        originals = dict(values)
        lines = [_odd_row(number, row, originals[number], error) for number, row, error in odd]
        return tables, sorted(bad + lines)


def _readable(
    rows: list[tuple[int, dict[str, Any]]],
) -> tuple[list[tuple[int, dict[str, Any]]], list[BadLine]]:
    """Return the rows with the JSON texts that columns have, and those that are nested too deeply."""
    read, bad = [], []
    for number, row in rows:
        problem = repeated_key(row)
        if problem is not None:
            bad.append(BadLine(number, "invalid_json", None, problem, json_row(row)))
            continue
        try:
            read.append((number, with_json_texts(row)))
        except TooDeep:
            bad.append(BadLine(number, "invalid_json", None, TOO_DEEP, json.dumps(json_row(row))))
    return read, bad


def as_array(values: list[Any]) -> pa.Array | None:
    """Return parsed JSON as an array of whatever type fits all values, None if there is no such type."""
    for form in (list, with_parts):
        try:
            return array_of(form(values))
        except NOT_ARROW:
            continue
    return None


def loads(text: str | bytes, *, strict: bool = True) -> Any:
    """Parse a JSON text; integers are exact up to some thousand digits, beyond which they are infinite.

    Unless `strict`, texts may hold line breaks and other control characters as they are. Raises
    `RepeatedKey` or another `ValueError`, or `RecursionError`.
    """
    return json.loads(text, parse_int=_integer, strict=strict, object_pairs_hook=unrepeated)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= 4000 else float(digits)  # int() refuses more than 4300


def _odd_row(number: int, row: dict[str, Any], original: Any, error: Exception) -> BadLine:
    reason, detail = _explain(error)
    return BadLine(number, reason, _odd_field(row), detail, json_row(original))


def _odd_field(value: dict[str, Any]) -> str | None:
    for name, item in value.items():
        try:
            array_of([item])
        except NOT_ARROW:
            return name
    return None  # the name of a field is what Arrow cannot hold


def _explain(error: Exception) -> tuple[str, str]:
    if isinstance(error, UnicodeEncodeError):
        return "lone_surrogate", "holds half of a surrogate pair, which is not a character"
    return "mixed_types", "holds values of several kinds in one list"
