"""A survey of a file: every column that any row has, its types, and how many rows have a value.

The first rows do not decide what a file holds: in JSON a column may begin at any row.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from pairkit.arrow import is_list
from pairkit.readers.blocks import RawBlock
from pairkit.readers.formats import blocks
from pairkit.readers.kinds import Kinds

SURVEY_ROWS = 1000
STEP = re.compile(r"\.?([^.\[\]]+)|\[\d*\]")


@dataclass(frozen=True)
class Survey:
    """The columns of a whole file.

    Attributes:
        rows: rows of the file, with those that cannot be read.
        columns: name -> types of its values, in the order in which the columns first appear. Several where
            rows differ (a text here, messages there); a difference inside lists and objects is a union there;
            `(null,)` if no row has a value.
        non_null: name -> number of rows that have a value.
    """

    rows: int
    columns: Mapping[str, tuple[pa.DataType, ...]]
    non_null: Mapping[str, int]

    @property
    def schema(self) -> pa.Schema:
        """Return the columns as a schema, in which a column of several types is a union."""
        return pa.schema([(name, _joined(kinds)) for name, kinds in self.columns.items()])

    def types(self, path: str) -> tuple[pa.DataType, ...]:
        """Return the types at a path: `input.messages`, `completions[].text`, `completions[0].text`.

        A column whose name is the whole path comes first. Empty if no row has the path.
        """
        if path in self.columns:
            return self.columns[path]
        # Longest first, because a column's own name may contain a dot.
        for name in sorted(self.columns, key=len, reverse=True):
            rest = path.removeprefix(name)
            if rest != path and rest[0] in ".[":
                return _walk(self.columns[name], rest)
        return ()


def survey(path: Path) -> Survey:
    """Return the columns of all rows of a file. Raises `InputError` for a file that cannot be read."""
    return _survey_blocks(block.load() for block in blocks(path, SURVEY_ROWS))


def _survey_blocks(loaded: Iterable[RawBlock]) -> Survey:
    rows, columns, non_null = 0, dict[str, Kinds](), dict[str, int]()
    for raw in loaded:
        rows += raw.size
        for table, _ in raw.tables:
            for field in table.schema:
                columns.setdefault(field.name, Kinds()).add(field.type)
                values = table.num_rows - table[field.name].null_count
                non_null[field.name] = non_null.get(field.name, 0) + values
    return Survey(rows, {name: kinds.types() for name, kinds in columns.items()}, non_null)


def _joined(kinds: tuple[pa.DataType, ...]) -> pa.DataType:
    if len(kinds) == 1:
        return kinds[0]
    return pa.dense_union([pa.field(str(number), kind) for number, kind in enumerate(kinds)])


def _walk(kinds: tuple[pa.DataType, ...], path: str) -> tuple[pa.DataType, ...]:
    for step in STEP.finditer(path):
        kinds = tuple(found for kind in kinds for found in _inside(kind, step[1]))
    return kinds


def _inside(kind: pa.DataType, field: str | None) -> tuple[pa.DataType, ...]:
    """Return the types of a field, or of a list's items if `field` is None."""
    inner = None
    if field is None and is_list(kind):
        inner = kind.value_type
    elif field is not None and pa.types.is_struct(kind) and kind.get_field_index(field) >= 0:
        inner = kind.field(field).type
    if inner is None:
        return ()
    return (
        tuple(inner.field(i).type for i in range(inner.num_fields)) if pa.types.is_union(inner) else (inner,)
    )
