"""Columns whose texts are JSON or numbers, as in CSV: a layout is recognized by what they hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import is_text, parse_numbers
from pairkit.readers.kinds import Kinds
from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.paths import Types, first_column, parsed, values_in


def with_typed_texts(path: Path, columns: Types, value_columns: Types, layouts: Iterable[Layout]) -> Types:
    """Return the columns of a file, where texts that a layout looks into have the types of what they hold.

    The whole file decides: a column with one text that is not a list, object or number stays one of texts.
    Only columns in `value_columns`, those with a value, are read.
    """
    types = _held(path, _looked_into(columns, layouts) & value_columns.keys())
    return {name: types.get(name) or kinds for name, kinds in columns.items()}


def _looked_into(columns: Types, layouts: Iterable[Layout]) -> set[str]:
    """Return the columns of texts inside which a layout needs something, if its other columns exist.

    A list of texts is not looked for, because a reply may well be one.
    """
    names: set[str] = set()
    for layout in layouts:
        needs = {need: first_column(need.partition(":")[0], columns) for need in layout.needs}
        # What expands rows reads them as they are.
        if layout.expand is None and all(first in columns for first in needs.values()):
            inside = {first for need, first in needs.items() if need not in (first, f"{first}:texts")}
            numbers = {*layout.needs_one, *str(layout.fields.get("ratings", "")).split("|")} & columns.keys()
            names |= {name for name in inside | numbers if all(is_text(kind) for kind in columns[name])}
    return names


def _held(path: Path, names: set[str]) -> dict[str, tuple[pa.DataType, ...]]:
    """Return the types of what columns of texts hold, without the columns that hold something else."""
    columns = {name: Kinds() for name in sorted(names)}
    for name, texts in values_in(path, sorted(names)):
        if name not in columns:
            continue
        values = _read(texts.cast(pa.string()).drop_null())
        if values is not None and not values.null_count:
            columns[name].add(values.type)
            continue
        del columns[name]
        # The rest of a large file could change nothing.
        if not columns:
            break
    types = {name: kinds.types() for name, kinds in columns.items()}
    return {name: kinds for name, kinds in types.items() if not pa.types.is_null(kinds[0])}


def _read(texts: pa.Array) -> pa.Array | None:
    """Return numbers, or what texts hold as JSON; None where a text is neither."""
    if not len(texts):
        return pa.nulls(0)
    numbers = parse_numbers(texts)
    if not numbers.null_count:
        return numbers
    begins = pc.match_substring_regex(texts, r"^\s*[\[{]")
    return parsed(texts) if pc.all(begins).as_py() else None
