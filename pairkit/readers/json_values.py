"""JSON values that follow each other in a stream, or in one list, read one after the other.

A file of any length takes the memory of its longest value. A value is parsed again when more of it has been
read; what is read doubles each time, so that the work stays linear.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pairkit.errors import InputError
from pairkit.readers.blocks import CHUNK, ROW_BYTES
from pairkit.readers.json_rows import DECODER
from pairkit.readers.json_shapes import rows_of
from pairkit.readers.text import convert

# Of a file that is one object, or a row over several lines: its end alone says what it is.
WHOLE_BYTES = 256 << 20
FILLED = re.compile(r"[^ \t\n\r]")
NAMELESS = 1000  # rows, after which a list without objects is none of rows
AS_LINES = "write its rows as one object per line (pandas: orient='records', lines=True; jq: -c '.KEY[]')"
# What the parser may report about a text that only has to be read further: an escape or a name cut in two.
TORN = 16


class JsonRow(NamedTuple):
    """A row, and the length of its text."""

    value: Any
    length: int


def json_rows(stream: pa.NativeFile, path: Path) -> Iterator[JsonRow]:
    """Yield the rows of a file that is one list, one object that holds rows, or values one after the other.

    Raises `InputError` for what is no JSON, an object that could be read in two ways, a list without any
    object, and a value that is too long.
    """
    values = _Values(stream, path)
    if values.peek() == "[":
        yield from _objects(values.items(), path)
        if values.peek():
            raise values.error("something follows the list")
        return
    first = values.value(WHOLE_BYTES)
    if values.peek():
        # As jq prints them.
        yield first
        while values.peek():
            yield values.value(ROW_BYTES)
        return
    rows = rows_of(first.value, path) if isinstance(first.value, dict) else None
    if rows is None and first.length > ROW_BYTES:
        raise _too_long(path, "one row", ROW_BYTES)
    if rows is None:
        yield first
    else:
        # They were parsed together, so that each has its share of the text.
        yield from (JsonRow(row, first.length // len(rows)) for row in rows)


def _objects(rows: Iterator[JsonRow], path: Path) -> Iterator[JsonRow]:
    """Yield rows; raise `InputError` if none of the first is an object with names of fields."""
    first = list(islice(rows, NAMELESS))
    if first and not any(isinstance(row.value, dict) for row in first):
        raise InputError(
            f"{path}: a list of {_kind(first[0].value)}, so that no field has a name; rows have to be "
            'objects, as in [{"prompt": ...}] (pandas: orient="records")'
        )
    yield from chain(first, rows)


def _kind(value: Any) -> str:
    return "lists" if isinstance(value, list) else "texts" if isinstance(value, str) else "values"


def _too_long(path: Path, what: str, most: int) -> InputError:
    return InputError(f"{path}: holds {what} of more than {most:,} characters of JSON; {AS_LINES}")


class _Values:
    """The part of a stream that is read and not yet parsed, and where it is in the file."""

    def __init__(self, stream: pa.NativeFile, path: Path) -> None:
        self._stream, self._path = stream, path
        # The mark of UTF-8 is dropped.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._text, self._place, self._ended = "", 0, False
        self._line, self._column = 1, 1  # of the first character in `_text`

    def peek(self) -> str:
        """Return the next character that is not white space, "" at the end of the file."""
        while True:
            found = FILLED.search(self._text, self._place)
            if found is not None:
                self._place = found.start()
                return self._text[self._place]
            self._place = len(self._text)
            if self._ended:
                return ""
            self._read_on()

    def items(self) -> Iterator[JsonRow]:
        """Yield the values of the list that begins here."""
        self._place += 1
        if self.peek() == "]":
            self._place += 1
            return
        while True:
            self.peek()
            yield self.value(ROW_BYTES)
            mark = self.peek()
            if mark not in (",", "]"):
                raise self.error("the list ends early" if not mark else "a comma is missing")
            self._place += 1
            if mark == "]":
                return

    def value(self, most: int) -> JsonRow:
        """Return the value that begins here. Raises `InputError`, also for more than `most` characters."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_go_on(error):
                    raise self.error(error.msg, error.pos) from error
            except (ValueError, RecursionError) as error:
                raise self.error(str(error)) from error
            else:
                # The digits of a number may go on.
                if end < len(self._text) or self._ended:
                    break
            if len(self._text) - self._place > most:
                raise _too_long(self._path, "a value", most)
            self._read_on()
        length = end - self._place
        if length > most:
            raise _too_long(self._path, "a value", most)
        self._place = end
        return JsonRow(value, length)

    def _may_go_on(self, error: json.JSONDecodeError) -> bool:
        # The position of a text without an end is its beginning.
        return error.msg.startswith("Unterminated") or error.pos >= len(self._text) - TORN

    def error(self, problem: str, place: int | None = None) -> InputError:
        """Build the error about the text at `place`, by default the next."""
        line, column = self._at(self._place if place is None else place)
        return InputError(
            f"{self._path}: not JSON ({problem}: line {line} column {column}); correct the file, or leave "
            "it out"
        )

    def _at(self, place: int) -> tuple[int, int]:
        before = self._text[:place]
        breaks = before.count("\n")
        if not breaks:
            return self._line, self._column + place
        return self._line + breaks, place - before.rfind("\n")

    def _read_on(self) -> None:
        """Read at least as much as is held."""
        chunk = self._stream.read(max(CHUNK, len(self._text) - self._place))
        self._ended = not chunk
        try:
            more = self._decoder.decode(chunk, final=self._ended)
        except UnicodeDecodeError as error:
            raise InputError(f"{self._path}: not JSON in UTF-8 ({error}); {convert(self._path)}") from error
        self._line, self._column = self._at(self._place)
        self._text, self._place = self._text[self._place :] + more, 0
