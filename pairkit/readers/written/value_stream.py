"""A stream of JSON that is parsed value by value.

A value is parsed again when more of it has been read; what is read doubles each time, so that the work stays
linear.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pairkit.errors import InputError
from pairkit.json_depth import end_of, is_deep_value
from pairkit.readers.blocks import CHUNK, ROW_BYTES
from pairkit.readers.text import convert
from pairkit.readers.written.exact_json import exact_decoder, json_row
from pairkit.readers.written.shallow_json import Deep, loads_shallow

FILLED = re.compile(r"[^ \t\n\r]")
AS_LINES = "write its rows as one object per line (pandas: orient='records', lines=True; jq: -c '.KEY[]')"
DECODER = exact_decoder()
# What the parser may report about a text that only has to be read further: an escape or a name cut in two.
TORN = 16


class JsonRow(NamedTuple):
    """A row, the length of its text, and the text where it is known.

    A row that is nested too deeply has its text and no value.
    """

    value: Any
    length: int
    text: str | None = None
    is_deep: bool = False


class Whole(NamedTuple):
    """The text of a value that may hold rows, and the value without what was cut out of it."""

    text: str
    value: Any
    deep: Deep | None

    def row(self) -> JsonRow:
        return _row(self.value, self.text)

    def rows_of(self, rows: list[Any]) -> Iterator[JsonRow]:
        """Yield the rows that the value holds, each with its share of the text's length."""
        for row in rows:
            length = len(self.text) // len(rows)
            text = None if self.deep is None else self.deep.restored(json_row(row))
            yield JsonRow(row, length) if text is None else JsonRow(None, length, text, is_deep=True)


def _row(value: Any, text: str) -> JsonRow:
    deep = is_deep_value(text.encode())
    return JsonRow(None if deep else value, len(text), text, deep)


def too_long(path: Path, what: str, most: int) -> InputError:
    """Build the error about a value of more than `most` characters."""
    return InputError(f"{path}: holds {what} of more than {most:,} characters of JSON; {AS_LINES}")


class Values:
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
            match = FILLED.search(self._text, self._place)
            if match is not None:
                self._place = match.start()
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
        try:
            value, text = self._parsed(most)
        except RecursionError:
            text = self._bracketed(most)
            return JsonRow(None, len(text), text, is_deep=True)
        return _row(value, text)

    def whole(self, most: int) -> Whole:
        """Return the value that begins here, without what no parser follows. Raises as `value` does."""
        try:
            value, text = self._parsed(most)
        except RecursionError:
            begin = self._place
            text = self._bracketed(most)
            try:
                return Whole(text, *loads_shallow(text))
            except (ValueError, RecursionError) as error:
                raise self.error(str(error), begin) from error
        return Whole(text, value, None)

    def _parsed(self, most: int) -> tuple[Any, str]:
        """Parse the value that begins here. Raises `InputError`, or `RecursionError` for a deep one."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._place)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_go_on(error):
                    raise self.error(error.msg, error.pos) from error
            else:
                # The digits of a number may continue.
                if end < len(self._text) or self._ended:
                    return value, self._passed(end, most)
            self._read_more(most)

    def _bracketed(self, most: int) -> str:
        """Return the text of the list or object that begins here, without parsing it."""
        while (length := end_of(rest := self._text[self._place :].encode())) is None:
            if self._ended:
                raise self.error("a value that begins here has no end")
            self._read_more(most)
        return self._passed(self._place + len(rest[:length].decode()), most)

    def _passed(self, end: int, most: int) -> str:
        """Return the text up to `end`, after which the next one begins."""
        if end - self._place > most:
            raise too_long(self._path, "a value", most)
        text = self._text[self._place : end]
        self._place = end
        return text

    def _read_more(self, most: int) -> None:
        if len(self._text) - self._place > most:
            raise too_long(self._path, "a value", most)
        self._read_on()

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
