"""Rows and columns as JSON texts: how fields that a candidate set has no column for are kept.

The text depends on the row alone. What a row of JSON says is kept as it is written (written/). Other
formats have one type and one list of keys for all rows (written/typed_values.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl
import pyarrow as pa

from pairkit.arrow import repeat
from pairkit.readers.written.exact_json import dumps_exact, dumps_known, json_row, loads_exact
from pairkit.readers.written.raw_values import Raw, Rest
from pairkit.readers.written.typed_values import canonical, is_odd, plain_values, without_nulls

# In JSON a quote inside a text is escaped, and between the end of one text and the start of the next there is
# a comma or a colon. A pattern without those two therefore matches keys only.
NULL_AFTER = r',"[^"\\,:]*":null'
NULL_FIRST = r'\{"[^"\\,:]*":null,?'
NOTHING = "{}"


def json_objects(columns: Mapping[str, pa.Array], size: int) -> pa.Array:
    """Return one JSON object per row: the columns' values, without those that are null; `{}` if all are.

    The values of a `Rest` that come from JSON are as they are written, in their order, before the others.
    """
    if not isinstance(columns, Rest) or not columns.places:
        return _typed_objects(columns, size)
    originals = _written(columns, size)
    others = {name: column for name, column in columns.items() if name not in originals.names}
    typed = _typed_objects(others, size).to_pylist() if others else [NOTHING] * size
    # Values of a row that is no JSON, among others that are.
    whole = _typed_objects(dict(columns), size).to_pylist() if None in originals.objects else []
    return pa.array(
        [
            whole[row] if objects is None else _joined(objects, typed[row])
            for row, objects in enumerate(originals.objects)
        ],
        pa.string(),
    )


class _Written:
    """The values of columns that JSON rows have, per row; None for a row without JSON."""

    def __init__(self, names: set[str], objects: list[dict[str, Any] | None]) -> None:
        self.names = names
        self.objects = objects


def _written(columns: Rest, size: int) -> _Written:
    by_objects: dict[int, tuple[Raw, dict[str, list[str]]]] = {}
    for name, place in columns.places.items():
        _, keys = by_objects.setdefault(id(place.objects), (place.objects, {}))
        keys.setdefault(place.key, []).append(name)
    rows: list[dict[str, Any] | None] = [{} for _ in range(size)]
    names: set[str] = set()
    for raw, keys in by_objects.values():
        for row, value in enumerate(raw.values):
            if not isinstance(value, dict):
                rows[row] = None
                continue
            items = {name: value[key] for key in value if key in keys for name in keys[key]}
            names.update(items)
            if (fields := rows[row]) is not None:
                fields.update({name: item for name, item in items.items() if item is not None})
    return _Written(names, rows)


def _joined(objects: Mapping[str, Any], typed: str) -> str:
    text = dumps_known(objects)
    if typed == NOTHING:
        return text
    return typed if not objects else f"{text[:-1]},{typed[1:]}"


def _typed_objects(columns: Mapping[str, pa.Array], size: int) -> pa.Array:
    plain = {name: canonical(column) for name, column in columns.items()}
    members = {name: column for name, column in plain.items() if not pa.types.is_null(column.type)}
    if not members or not size:
        return repeat(NOTHING, size, pa.string())
    structs = pa.StructArray.from_arrays(list(members.values()), list(members))
    if is_odd(structs):
        return pa.array([dumps_exact(without_nulls(row)) for row in plain_values(structs)], pa.string())
    series = pl.from_arrow(structs)
    assert isinstance(series, pl.Series)
    texts = series.struct.json_encode()
    if texts.str.contains(":null", literal=True).any():
        texts = texts.str.replace_all(NULL_AFTER, "").str.replace_all(NULL_FIRST, "{")
    return texts.to_arrow().cast(pa.string())


def rows_as_json(table: pa.Table, texts: pa.Array | None) -> Iterator[str]:
    """Yield raw rows as JSON, for quarantine: as they are written where they come from JSON."""
    if texts is not None:
        rows = (None if text is None else loads_exact(text) for text in texts.to_pylist())
        yield from map(json_row, rows)
        return
    columns = [
        plain_values(canonical(pa.concat_arrays(column.chunks), binary=True)) for column in table.columns
    ]
    for values in zip(*columns, strict=True):
        yield json_row(dict(zip(table.column_names, values, strict=True)))
