"""The values of fields: from a column, a path, several columns, a constant, or JSON in cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import interleave, is_json, is_text, present, repeat
from pairkit.readers.json_rows import as_array, loads
from pairkit.readers.written.json_fields import with_json_texts
from pairkit.sources.layouts.field_map import COLLECTED, JOINED, columns_of, is_constant
from pairkit.sources.layouts.paths import values_at
from pairkit.sources.reading.cells import LIST, PROMPT, REPLY, WHOLE, Cells
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.history import HISTORY
from pairkit.sources.reading.literals import parse

LISTS = ("scores", "ranks", "order", "labels", "models", "reasonings")  # in CSV, JSON in the cell
CELLS = {"messages": LIST, "history": HISTORY}  # as JSON or Python's literals
JSON = ("tools", "chat_template_kwargs")  # kept as texts
# Of an Alpaca `input`: phrases for "empty".
NO_INPUT = ("", "no input", "noinput")  # also "<no input>" and "No input."


def gather(columns: Columns, fields: Mapping[str, str]) -> Columns:
    """Add a column for every field that is none: a path, joined columns, a constant, JSON cells.

    Completions that several columns hold stay apart, because each may be a text or a dialogue.
    """
    arrays = dict(columns.arrays)
    for field, value in fields.items():
        if is_constant(value):
            arrays[value] = repeat(value[1:-1], columns.size, pa.string())
            continue
        parts = columns_of(value, columns.arrays)
        for path in parts:
            arrays[path] = values_at(columns.arrays, path, columns.size)
        current = replace(columns, arrays=arrays)
        if len(parts) > 1 and field in JOINED:
            arrays[value] = _join(current, parts)
        elif len(parts) > 1 and field in COLLECTED and field != "completions":
            arrays[value] = _collect(current, field, parts)
        elif field in LISTS and value in current and is_text(arrays[value].type):
            if field == "models" and not _bracketed(arrays[value]):
                continue  # one model for all completions of a row
            arrays[value] = _decode(current, value)
        elif field not in JSON and value in current and is_json(arrays[value].type):
            arrays[value] = _array(current, value, _values(arrays[value]))
    return replace(columns, arrays=arrays)


def _join(columns: Columns, names: Sequence[str]) -> pa.Array:
    first, *others = (pl.Series(name, columns.text(name)) for name in names)
    bare = [pl.col(other.name).str.to_lowercase().str.strip_chars(" \n<>.") for other in others]
    tail = [
        pl.when(~word.is_in(NO_INPUT)).then(pl.col(other.name))
        for word, other in zip(bare, others, strict=True)
    ]
    frame = pl.DataFrame([first, *others])
    # A null first text is a missing prompt, whatever the others hold, and a blank one adds no lines.
    head = pl.when(pl.col(first.name).str.strip_chars() != "").then(pl.col(first.name))
    text = pl.concat_str([head, *tail], separator="\n\n", ignore_nulls=True)
    result = frame.select(text=pl.when(pl.col(first.name).is_not_null()).then(text))
    return result["text"].to_arrow().cast(pa.string())


def _collect(columns: Columns, field: str, names: Sequence[str]) -> pa.Array:
    readers = {"scores": columns.number, "ranks": columns.number, "flags": columns.truth}
    read = readers.get(field, columns.text)
    return interleave([read(name) for name in names])


def cells_of(fields: Mapping[str, str], names: Iterable[str]) -> dict[str, Cells]:
    """Return how the texts of each gathered column are read that may be more than texts."""
    cells: dict[str, Cells] = {}
    reply = REPLY if "prompt" in fields else WHOLE
    for field, value in fields.items():
        if field == "completions":
            parts = columns_of(value, names)
            cells |= dict.fromkeys(parts, LIST if len(parts) == 1 else reply)
        elif field in ("prompt", "chosen", "rejected", "completion"):
            cells[value] = PROMPT if field == "prompt" else reply
        elif field in CELLS:
            cells[value] = CELLS[field]
    return cells


def _bracketed(texts: pa.Array) -> bool:
    return bool(pc.any(pc.starts_with(pc.utf8_ltrim_whitespace(texts.cast(pa.string())), "[")).as_py())


def replies_of(fields: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """Return the columns that hold one reply per row."""
    columns = [fields[name] for name in ("chosen", "rejected", "completion") if name in fields]
    parts = columns_of(fields["completions"], names) if "completions" in fields else ()
    return [*columns, *(parts if len(parts) > 1 else ())]


def _decode(columns: Columns, name: str) -> pa.Array:
    """Decode cells of JSON lists, as in CSV, one by one: no columnar parser takes JSON of any shape."""
    values, broken = [], []
    for text in columns.text(name).to_pylist():
        try:
            value = None if text is None else with_json_texts(parse(text))
        except ValueError:
            value = None
        values.append(value if isinstance(value, list) else None)
        broken.append(text is not None and values[-1] is None)
    columns.report(np.array(broken, np.bool_), "invalid_json", "is not a JSON list", name)
    return _array(columns, name, values)


def _values(column: pa.Array) -> list[Any]:
    """Parse values of the type Json of `datasets`, or lists of them, one by one as `_decode` does."""

    def parsed(value: Any) -> Any:
        if isinstance(value, list):
            return [parsed(item) for item in value]
        return with_json_texts(loads(value)) if value is not None else None

    return [parsed(value) for value in column.to_pylist()]


def _array(columns: Columns, name: str, values: list[Any]) -> pa.Array:
    """Make a column of parsed JSON, of whatever type fits all rows."""
    array = as_array(values)
    if array is not None:
        return array
    detail = "holds values of several kinds in one list"
    columns.report(present(columns.arrays[name]), "mixed_types", detail, name)
    return pa.nulls(columns.size)
