"""Pairs whose chosen and rejected are no texts: they name a column, a position or a model of their row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import is_number, is_text
from pairkit.errors import InputError
from pairkit.readers.formats import blocks
from pairkit.sources.layouts.field_map import columns_of
from pairkit.sources.layouts.fields import fields_of
from pairkit.sources.layouts.layout import Layout
from pairkit.sources.layouts.paths import VALUE_ROWS, Types, values_at
from pairkit.sources.layouts.suggest import written
from pairkit.sources.layouts.table import LAYOUTS
from pairkit.sources.layouts.winners import bare, place_of
from pairkit.sources.reading.columns import Columns

LONGEST = 100  # characters of a name
KEPT = ("prompt", "messages", "system", "history", "tools", "chat_template_kwargs")


class _Alternatives(NamedTuple):
    """Where the completions of a row may be that a name stands for."""

    layout: str
    completions: tuple[str, ...]
    models: tuple[str, ...] = ()

    def named(self, value: Any, row: Mapping[str, Any]) -> bool:
        """Return whether a value names one of the completions of a row, and is not the text of one."""
        if not self.layout:
            return value in self.completions and value != row[value]
        texts, models = (
            list(_flat(row[name] for name in names)) for names in (self.completions, self.models)
        )
        place = place_of(str(value), self.completions)
        # Up to their count, because it may count from 1.
        is_place = place is not None and 0 <= place <= len(texts)
        return value not in texts and (is_place or bare(value) in map(bare, models))


def by_name(
    path: Path, columns: Types, layout: Layout, fields: dict[str, str], mapped: Mapping[str, Any]
) -> tuple[Layout, dict[str, str]]:
    """Return the layout and fields of rows that are compared where their pairs name other columns.

    Rows whose chosen and rejected are texts stay as they are. The whole file decides.
    Raises `InputError` if some rows name completions and others do not, or if a map reads names as texts.
    """
    sides = (fields["chosen"], fields["rejected"])
    if not all(name in columns and all(map(_may_name, columns[name])) for name in sides):
        return layout, fields
    for each in _alternatives(columns, fields):
        names = _names(path, sides, each)
        if names:
            new_layout = LAYOUTS[each.layout or "compared"]
            layout_fields = fields_of(new_layout, columns) if each.layout else {}
            new_fields = {name: value for name, value in fields.items() if name in KEPT}
            new_fields |= {
                name: layout_fields[name] for name in ("scores", "models") if name in layout_fields
            }
            # In the order of the file's columns, as winners count them.
            completions = each.completions if each.layout else (name for name in columns if name in names)
            new_fields |= {"completions": "+".join(completions), "winner": sides[0], "loser": sides[1]}
            if "chosen" in mapped:
                raise InputError(
                    f"{path}: {sides[0]} and {sides[1]} are not texts, but name {new_fields['completions']}; "
                    f"give --map {written(new_fields)}"
                )
            return new_layout, new_fields
    return layout, fields


def _alternatives(columns: Types, fields: Mapping[str, str]) -> Iterator[_Alternatives]:
    for layout in ("compared", "sets"):
        layout_fields = fields_of(LAYOUTS[layout], columns)
        if "completions" in layout_fields:
            models = columns_of(layout_fields["models"], columns) if "models" in layout_fields else ()
            yield _Alternatives(layout, columns_of(layout_fields["completions"], columns), models)
    paths = {path for value in fields.values() for path in columns_of(value, columns)}
    texts = (name for name, kinds in columns.items() if name not in paths and any(map(is_text, kinds)))
    yield _Alternatives("", tuple(texts))


def _names(path: Path, sides: tuple[str, str], each: _Alternatives) -> set[Any]:
    """Return the names that the two sides of all rows hold, empty if they are texts.

    Raises `InputError` if only some are names.
    """
    names: set[Any] = set()
    texts = 0
    for block in blocks(path, VALUE_ROWS):
        for part in block.load().tables:
            arrays, size = Columns.of(part.table).arrays, part.table.num_rows
            paths = (*sides, *each.completions, *each.models)
            table = pa.table({name: values_at(arrays, name, size) for name in dict.fromkeys(paths)})
            table = table.filter(pc.and_(*(pc.is_valid(table[side]) for side in sides)))
            short = table.filter(pc.and_(*(_is_short(table[side]) for side in sides)))
            texts += table.num_rows - short.num_rows
            for row in short.to_pylist():
                values = [row[side] for side in sides]
                if all(each.named(value, row) for value in values):
                    names.update(values)
                else:
                    texts += 1
            if names and texts:
                raise InputError(
                    f"{path}: {sides[0]} and {sides[1]} are texts in some rows, and in others name "
                    f"{', '.join(each.completions)}; write the texts into all rows"
                )
            # Columns of any name are rarely meant.
            if texts and not each.layout:
                return set()
    return names


def _may_name(kind: pa.DataType) -> bool:
    return is_text(kind) or is_number(kind) or pa.types.is_null(kind)


def _is_short(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.less_equal(pc.utf8_length(values.cast(pa.string())), LONGEST)


def _flat(values: Iterator[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list) else (value,)
