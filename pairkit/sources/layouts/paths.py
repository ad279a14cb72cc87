"""Paths into raw rows: `input.messages`, `completions[0].text`, `generations[].text`.

A name is a column or a key, `[0]` an item of a list (`[-1]` the last one), and `[]` every item. A column that
is itself named `a.b` goes before the path. Where a text holds JSON, as in CSV, the path continues inside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pairkit.arrow import Offsets, flatten, is_json, is_list, is_text, listed, struct_fields
from pairkit.errors import RecipeError
from pairkit.readers.formats import blocks
from pairkit.readers.json_rows import as_array
from pairkit.readers.written.json_fields import with_json_texts
from pairkit.sources.reading.columns import Columns
from pairkit.sources.reading.literals import parse

Types = Mapping[str, Sequence[pa.DataType]]  # column -> the types that it has in the rows of a file
EVERY = None  # the step `[]`
Step = str | int | None
VALUE_ROWS = 10_000  # per block that is read for some values alone: columns of nulls have millions of rows
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(-?\d*)\]")


def first_column(path: str, names: Iterable[str]) -> str:
    """Return the column that a path starts at."""
    return path if path in names else re.split(r"[.\[]", path, maxsplit=1)[0]


@lru_cache(1 << 12)
def steps(path: str) -> tuple[Step, ...]:
    """Parse a path. Raises `RecipeError`."""
    parts, end = [], 0
    for match in _STEP.finditer(path):
        if match.start() != end:
            break
        end = match.end()
        name, index = match.groups()
        parts.append(name if name is not None else int(index) if index else EVERY)
    if end != len(path) or not parts or not isinstance(parts[0], str):
        raise RecipeError(
            f"cannot read the path {path!r}: write column, column.key, column[0] or column[].key"
        )
    return tuple(parts)


def types_at(columns: Types, path: str) -> list[pa.DataType]:
    """Return the types that a path has in a file; none if it does not exist, null if only the rows tell."""
    if path in columns:
        return list(columns[path])
    first, *rest = steps(path)
    types = list(columns.get(str(first), ()))
    for step in rest:
        types = [inner for kind in types for inner in _types_below(kind, step)]
    return types


def _types_below(kind: pa.DataType, step: Step) -> list[pa.DataType]:
    if pa.types.is_union(kind):  # of a survey: values of several types in one place
        return [inner for field in kind for inner in _types_below(field.type, step)]
    if is_text(kind) or is_json(kind) or pa.types.is_null(kind):
        return [pa.null()]  # maybe JSON, of which a survey knows nothing
    if is_list(kind):
        if isinstance(step, str):
            return [pa.list_(inner) for inner in _types_below(kind.value_type, step)]
        return [kind.value_type if isinstance(step, int) else kind]
    if pa.types.is_struct(kind) and isinstance(step, str) and kind.get_field_index(step) >= 0:
        return [kind.field(step).type]
    return []


def values_at(columns: Mapping[str, pa.Array], path: str, size: int) -> pa.Array:
    """Return the values at a path, one per row; null where it leads nowhere."""
    if path in columns:
        return columns[path]
    first, *rest = steps(path)
    values = columns.get(str(first), pa.nulls(size))
    for step in rest:
        values = _below(values, step)
    return values


def values_in(file: Path, paths: Sequence[str]) -> Iterator[tuple[str, pa.Array]]:
    """Yield the values at paths in all rows of a file: each path with an array per table of rows.

    Raises `InputError` for a file that cannot be read to its end.
    """
    # Without a path there is nothing to read for.
    for block in blocks(file, VALUE_ROWS) if paths else ():
        for rows in block.load().tables:
            columns = Columns.of(rows.table).arrays
            for path in paths:
                yield path, values_at(columns, path, rows.table.num_rows)


def _below(values: pa.Array, step: Step) -> pa.Array:
    if is_text(values.type) or is_json(values.type):
        values = parsed(values)
    if is_list(values.type):
        offsets, flat = flatten(values)
        if isinstance(step, str):
            return listed(offsets, _below(flat, step))
        return _items(offsets, flat, step) if isinstance(step, int) else values
    if pa.types.is_struct(values.type) and isinstance(step, str):
        return struct_fields(values).get(step, pa.nulls(len(values)))
    return pa.nulls(len(values))


def _items(offsets: Offsets, flat: pa.Array, index: int) -> pa.Array:
    places = (offsets[:-1] if index >= 0 else offsets[1:]) + index
    inside = (places >= offsets[:-1]) & (places < offsets[1:])
    return flat.take(pa.array(np.where(inside, places, 0), mask=~inside))


def parsed(texts: pa.Array) -> pa.Array:
    """Parse texts of JSON; null where a text is none, or where the rows fit no type together."""
    if isinstance(texts.type, pa.BaseExtensionType):
        texts = texts.storage
    values = as_array([_parsed(text) for text in texts.to_pylist()])
    return pa.nulls(len(texts)) if values is None else values


def _parsed(text: str | None) -> object:
    try:
        value = parse(text) if text else None
        return with_json_texts(value) if isinstance(value, dict | list) else None
    except ValueError:
        return None
