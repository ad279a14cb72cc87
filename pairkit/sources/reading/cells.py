"""Cells whose texts hold more than a text: dialogues, lists of completions, turns of a history.

Such cells are parsed, one by one, because no columnar parser takes JSON of any shape. Rows that then have other
types than the rest are read apart and put back into their places, so that one column may hold both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from pairkit.arrow import flatten, is_list, is_text, mask
from pairkit.readers.json_rows import row_tables
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.dialogues import MAYBE, dialogue_in
from pairkit.sources.reading.literals import parse
from pairkit.sources.reading.roles import known_roles

# From a text and the known roles to what it holds, None if it is a text. Raises `ValueError` for a broken one.
Parser = Callable[[str, Mapping[str, str]], Any]


def read_apart(
    columns: Columns, parsers: Mapping[str, Parser], read: Callable[[Columns], Sequence[pa.Array | None]]
) -> list[pa.Array | None]:
    """Return what `read` makes of `columns`, one value per row, with the cells of some columns parsed.

    `parsers` has one function per column, which gets each text that may be more and the known roles. Cells that
    cannot be parsed are reported as `invalid_json`; their rows are null in the result.
    """
    names = [name for name in parsers if name in columns and _holds_texts(columns.arrays[name].type)]
    parsed = {name: _parse(columns, name, parsers[name]) for name in names}
    rows = np.unique([row for cells in parsed.values() for row in cells]).astype(np.int64)
    if not len(rows):
        return list(read(columns))
    parts = (
        [_subset(columns, np.setdiff1d(np.arange(columns.size), rows), {})]
        if len(rows) < columns.size
        else []
    )
    parts += _parsed_parts(columns, rows, names, parsed)
    parts = parts or [_subset(columns, rows[:0], {})]
    return _in_order(columns.size, [(places, read(part)) for part, places in parts])


def dialogue_cell(text: str, roles: Mapping[str, str]) -> Any:
    """Parse a text that is a dialogue."""
    return dialogue_in(text, roles)


def list_cell(text: str, roles: Mapping[str, str]) -> Any:
    """Parse a text that has to be a list or an object; of a list of texts, each may be a dialogue."""
    found = dialogue_in(text, roles)
    if found is not None:
        return found
    try:
        value = parse(text)
    except ValueError as error:
        raise ValueError(f"is not a JSON list: it {error}") from None
    if not isinstance(value, list | dict):
        raise ValueError("is not a JSON list")
    return value if isinstance(value, dict) else dialogues_of(value, roles) or value


def _holds_texts(kind: pa.DataType) -> bool:
    return is_text(kind) or (is_list(kind) and is_text(kind.value_type))


def _parse(columns: Columns, name: str, parser: Parser) -> dict[int, Any]:
    """Return row -> value of the cells that hold more than a text, and report those that are broken."""
    values = columns.arrays[name]
    roles = known_roles(columns.roles)
    if is_text(values.type):
        places = np.flatnonzero(_candidates(values, parser))
        cells = zip(places.tolist(), values.take(pa.array(places)).to_pylist(), strict=True)
        return _parsed_cells(columns, name, cells, lambda text: parser(text, roles))
    cuts, flat = flatten(values)
    # A list is parsed if one of its items may be a dialogue.
    owners = np.repeat(np.arange(columns.size), np.diff(cuts))
    places = np.unique(owners[_candidates(flat, dialogue_cell)])
    cells = zip(places.tolist(), values.take(pa.array(places)).to_pylist(), strict=True)
    return _parsed_cells(columns, name, cells, lambda texts: dialogues_of(texts, roles))


def dialogues_of(texts: Sequence[Any], roles: Mapping[str, str]) -> list[Any] | None:
    """Return the items of a list with the dialogues among them parsed, None if there is none."""
    items = [dialogue_in(text, roles) if isinstance(text, str) else None for text in texts]
    if all(item is None for item in items):
        return None
    return [text if item is None else item for item, text in zip(items, texts, strict=True)]


def _candidates(texts: pa.Array, parser: Parser) -> Any:
    series = pl.from_arrow(texts.cast(pa.string()))
    assert isinstance(series, pl.Series)
    if parser is dialogue_cell:
        return mask(series.str.contains(MAYBE).to_arrow())
    return mask(series.is_not_null().to_arrow())


def _parsed_cells(columns: Columns, name: str, cells: Any, parser: Callable[[Any], Any]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    wrong: dict[str, list[int]] = {}
    for place, text in cells:
        try:
            value = parser(text)
        except ValueError as error:
            wrong.setdefault(str(error), []).append(place)
            value = ()  # the row is read apart, and not as a text
        if value is not None:
            found[place] = value
    for detail, places in wrong.items():
        columns.report(np.isin(np.arange(columns.size), places), "invalid_json", detail, name)
    return {place: None if value == () else value for place, value in found.items()}


Part = tuple[Columns, np.ndarray[Any, np.dtype[np.int64]]]


def _parsed_parts(
    columns: Columns, rows: Any, names: Sequence[str], parsed: Mapping[str, Mapping[int, Any]]
) -> list[Part]:
    """Return the rows with parsed cells as parts, each of rows that have the same types."""
    originals = {name: columns.arrays[name].take(pa.array(rows)).to_pylist() for name in names}
    values = [
        (
            int(row),
            # The key only makes a row of nulls a row.
            {name: parsed[name].get(int(row), originals[name][place]) for name in names} | {"": place},
        )
        for place, row in enumerate(rows)
    ]
    tables, bad = row_tables(values)
    for line in bad:
        columns.report(np.arange(columns.size) == line.number, line.reason, line.detail, line.field)
    return [
        _subset(columns, numbers, {name: table[name].combine_chunks() for name in names})
        for table, numbers in tables
    ]


def _subset(columns: Columns, places: Any, changed: Mapping[str, pa.Array]) -> Part:
    arrays = {
        name: changed[name] if name in changed else array.take(pa.array(places))
        for name, array in columns.arrays.items()
    }
    owners = places if columns.owners is None else columns.owners[places]
    return replace(columns, arrays=arrays, size=len(places), owners=owners), places


def _in_order(size: int, parts: Sequence[tuple[Any, Sequence[pa.Array | None]]]) -> list[pa.Array | None]:
    places = np.concatenate([places for places, _ in parts])
    order = np.full(size, -1)
    order[places] = np.arange(len(places))
    index = pa.array(order, mask=order < 0)  # rows that were reported are null
    read = [arrays for _, arrays in parts]
    return [
        None
        if column[0] is None
        else pa.concat_arrays([each for each in column if each is not None]).take(index)
        for column in zip(*read, strict=True)
    ]
