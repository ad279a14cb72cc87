"""The rows of a JSON file that is one value, or several that follow each other.

A list is read value by value, so that a file of any length takes the memory of its longest value.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from pairkit.errors import InputError
from pairkit.readers.blocks import ROW_BYTES
from pairkit.readers.json_shapes import rows_of
from pairkit.readers.written.exact_json import Repeated, twice
from pairkit.readers.written.value_stream import JsonRow, Values, too_long

# Of a file that is one object, or a row over several lines: its end alone says what it is.
WHOLE_BYTES = 256 << 20
NAMELESS = 1000  # rows, after which a list without objects is none of rows


def json_rows(stream: pa.NativeFile, path: Path) -> Iterator[JsonRow]:
    """Yield the rows of a file that is one list, one object that holds rows, or values one after the other.

    Raises `InputError` for what is no JSON, an object that could be read in two ways, a list without any
    object, and a value that is too long.
    """
    values = Values(stream, path)
    if values.peek() == "[":
        yield from _objects(values.items(), path)
        if values.peek():
            raise values.error("something follows the list")
        return
    first = values.whole(WHOLE_BYTES)
    if values.peek():
        # As jq prints them.
        yield first.row()
        while values.peek():
            yield values.value(ROW_BYTES)
        return
    if isinstance(first.value, Repeated):
        raise InputError(f"{path}: {twice(first.value.name)}; keep one of them, or write one row per line")
    rows = rows_of(first.value, path) if isinstance(first.value, dict) else None
    if rows is not None:
        yield from first.rows_of(rows)
    elif len(first.text) > ROW_BYTES:
        raise too_long(path, "one row", ROW_BYTES)
    else:
        yield first.row()


def _objects(rows: Iterator[JsonRow], path: Path) -> Iterator[JsonRow]:
    """Yield rows; raise `InputError` if none of the first is an object with names of fields."""
    first, length = [], 0
    for row in rows:
        first.append(row)
        length += row.length
        # A deep row may be an object.
        if row.is_deep or isinstance(row.value, dict):
            break
        if len(first) == NAMELESS or length > ROW_BYTES:
            raise _nameless(first, path)
    else:
        if first:
            raise _nameless(first, path)
    yield from chain(first, rows)


def _nameless(rows: list[JsonRow], path: Path) -> InputError:
    return InputError(
        f"{path}: a list of {_kind(rows[0].value)}, so that no field has a name; rows have to be "
        'objects, as in [{"prompt": ...}] (pandas: orient="records")'
    )


def _kind(value: Any) -> str:
    return "lists" if isinstance(value, list) else "texts" if isinstance(value, str) else "values"
