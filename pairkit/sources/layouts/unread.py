"""Columns that no field reads: which they are, and whether the metadata of a set keeps them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from pairkit.arrow import is_list, is_text, struct_fields
from pairkit.readers.survey import Survey
from pairkit.readers.written.raw_values import Place, Rest
from pairkit.readers.written.typed_values import has_json
from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.paths import Step, Types, first_column, steps
from pairkit.sources.layouts.sets import unread_keys

# Of sets that pairkit wrote, next to `metadata`.
IDENTITY = ("set_id", "prompt_id", "source")


def unread_columns(read_names: Collection[str], survey: Survey) -> dict[str, float]:
    """Return the share of rows with a value of each column that is not in `read_names`, in the file's order.

    Columns without any value are left out, as are those by which pairkit identifies its own sets.
    """
    own = (*IDENTITY, "metadata") if is_own(survey.columns) else ()
    return {
        name: survey.non_null[name] / survey.rows
        for name in survey.columns
        if survey.non_null[name] and name not in read_names and name not in own
    }


def unread_parts(columns: Types, paths: Iterable[str]) -> list[str]:
    """Return the paths inside objects that no path of `paths` reads, of columns that one of them does."""
    by_column = _steps_by_column(columns, paths)
    return [
        part
        for name, below in by_column.items()
        for kind in columns.get(name, ())
        for part in _parts_left(name, kind, below)
    ]


def unread_of_completions(columns: Types, fields: Mapping[str, str], paths: Collection[str]) -> list[str]:
    """Return the paths to fields of completions in a list of objects that become their metadata."""
    name = fields.get("completions", "")
    if name not in columns or is_own(columns):
        return []
    keys = (key for kind in columns[name] if is_list(kind) for key in unread_keys(kind.value_type))
    return [path for key in dict.fromkeys(keys) if (path := f"{name}[].{key}") not in paths]


def without_read(columns: Rest, paths: Iterable[str]) -> Rest:
    """Return what is left of the objects that paths read a part of, by column."""
    by_column = _steps_by_column(columns, paths)
    remainders = {
        name: _without(columns[name], below) for name, below in by_column.items() if name in columns
    }
    arrays = {name: values for name, values in remainders.items() if values is not None}
    places = {
        name: Place(columns.places[name].objects.map(partial(_left_of, name, by_column[name])), name)
        for name in arrays
        if name in columns.places
    }
    return Rest(arrays, places)


def _left_of(name: str, paths: Sequence[tuple[Step, ...]], row: Any) -> dict[str, Any]:
    """Return what is left of one field of a row of JSON; nothing where all of it is read."""
    remainder = _without_written(row.get(name), paths) if isinstance(row, dict) else None
    return {} if remainder is None else {name: remainder}


def _without_written(value: Any, paths: Sequence[tuple[Step, ...]]) -> Any:
    if () in paths or not isinstance(value, dict):
        return None
    remainder = {}
    for name, inner in value.items():
        below = [each[1:] for each in paths if each[0] == name]
        rest = _without_written(inner, below) if below else inner
        # A null says something where the whole object is kept.
        if rest is not None or not below:
            remainder[name] = rest
    return remainder or None


def _steps_by_column(names: Collection[str], paths: Iterable[str]) -> dict[str, list[tuple[Step, ...]]]:
    """Return the steps below each column that a path begins at; none where the whole column is read."""
    by_column: dict[str, list[tuple[Step, ...]]] = {}
    for path in paths:
        name = first_column(path, names)
        by_column.setdefault(name, []).append(() if path == name else steps(path)[1:])
    return by_column


def _parts_left(path: str, kind: pa.DataType, paths: Sequence[tuple[Step, ...]]) -> Iterator[str]:
    # A list that is read in part counts as read: its other items are other values, not other fields.
    if () in paths or not pa.types.is_struct(kind):
        return
    for field in kind:
        below = [each[1:] for each in paths if each[0] == field.name]
        if below:
            yield from _parts_left(f"{path}.{field.name}", field.type, below)
        elif not pa.types.is_null(field.type):
            yield f"{path}.{field.name}"


def _without(values: pa.Array, paths: Sequence[tuple[Step, ...]]) -> pa.Array | None:
    if () in paths or not pa.types.is_struct(values.type):
        return None
    remainder = {}
    for name, inner in struct_fields(values).items():
        below = [each[1:] for each in paths if each[0] == name]
        rest = _without(inner, below) if below else inner
        if rest is not None:
            remainder[name] = rest
    return pa.StructArray.from_arrays(list(remainder.values()), list(remainder)) if remainder else None


def is_own(columns: Types) -> bool:
    """Return whether rows with these columns are sets that pairkit wrote, with metadata of their own."""
    # Without a set of the columns, because this is asked for each of them.
    own = all(name in columns for name in (*IDENTITY, "metadata"))
    return own and all(is_text(kind) for kind in columns["metadata"])


def repeats_the_pair(layout: Layout, fields: Mapping[str, str], name: str) -> bool:
    """Return whether a column repeats prompt and chosen, as `messages` does next to a prompt column."""
    return layout.shape == "pairs" and "prompt" in fields and name == "messages"


def is_kept(layout: Layout, fields: Mapping[str, str], columns: Types, name: str) -> bool:
    """Return whether an unread column becomes metadata."""
    lost = is_own(columns) or repeats_the_pair(layout, fields, name)
    return not lost and any(has_json(kind) for kind in columns[name])
