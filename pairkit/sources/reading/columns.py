"""Reading raw columns, and building the columns of candidate sets. Nothing here loops over rows.

`Columns` is a table, or the structs inside one of its lists, seen as named columns: whatever is absent
reads as null, whatever has the wrong kind is reported as a problem of the row that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    flatten,
    is_list,
    is_number,
    is_text,
    listed,
    mask,
    parse_numbers,
    present,
    repeat,
    struct_fields,
)
from pairkit.schema import COMPLETION, SCORES
from pairkit.sources.base import Problem


@dataclass(frozen=True)
class Columns:
    """`size` values of named columns; `owners` says which of the `rows` raw rows each belongs to.

    `problems` is shared with everything that is reached from here, and grows as columns are read.
    """

    arrays: Mapping[str, pa.Array]
    size: int
    rows: int
    problems: list[Problem]
    owners: np.ndarray[Any, np.dtype[np.int64]] | None = None
    prefix: str = ""

    @classmethod
    def of(cls, table: pa.Table) -> Columns:
        """The columns of a table of raw rows."""
        arrays = {name: _whole(table[name]) for name in table.column_names}
        return cls(arrays, table.num_rows, table.num_rows, [])

    def __contains__(self, name: str) -> bool:
        return name in self.arrays and not pa.types.is_null(self.arrays[name].type)

    def report(self, where: Mask, reason: str, detail: str, name: str | None) -> None:
        """Says that the values in `where` cannot be used, and so the rows that they belong to."""
        if not where.any():
            return
        rows = where
        if self.owners is not None:
            rows = np.zeros(self.rows, dtype=np.bool_)
            rows[self.owners[where]] = True
        field = (self.prefix + (name or "")).removesuffix(".") or None
        self.problems.append(Problem(rows, reason, detail, field))

    def text(self, name: str) -> pa.Array:
        """A column of texts; other kinds are reported as `not_text` and read as null."""
        if name not in self:
            return pa.nulls(self.size, pa.string())
        values = self.arrays[name]
        if is_text(values.type):
            return values if pa.types.is_string(values.type) else values.cast(pa.string())
        self.report(present(values), "not_text", f"is {_kind(values.type)}, not a text", name)
        return pa.nulls(self.size, pa.string())

    def number(self, name: str) -> pa.Array:
        """A column of numbers as float64; what is no finite number is `invalid_score` and read as null.

        A text that holds a number counts as one: CSV knows texts only.
        """
        if name not in self:
            return pa.nulls(self.size, pa.float64())
        return self.finite(self.arrays[name], name)

    def finite(self, values: pa.Array, name: str) -> pa.Array:
        """As `number`, of values that were made from the column `name`."""
        if is_text(values.type):
            numbers = parse_numbers(values)
            self.report(present(values) & ~present(numbers), "invalid_score", "is not a number", name)
        elif is_number(values.type):
            numbers = values.cast(pa.float64(), safe=False)
        else:
            self.report(present(values), "invalid_score", f"is {_kind(values.type)}, not a number", name)
            return pa.nulls(len(values), pa.float64())
        endless = mask(pc.invert(pc.is_finite(numbers)))
        self.report(endless, "invalid_score", "is not a finite number", name)
        return pc.if_else(pa.array(endless), None, numbers) if endless.any() else numbers

    def rank(self, name: str) -> pa.Array:
        """A column of whole numbers, as integers or floats; another number is `invalid_rank`."""
        numbers = self.number(name)
        partial = present(numbers) & ~mask(pc.equal(numbers, pc.round(numbers)))
        self.report(partial, "invalid_rank", "is not a whole number", name)
        huge = mask(pc.greater(pc.abs(numbers), 1e9))
        self.report(huge, "invalid_rank", "is out of range", name)
        return pc.if_else(pa.array(partial | huge), None, numbers).cast(pa.int32())

    def truth(self, name: str) -> pa.Array:
        """A column of truth values; also 0 and 1, "true" and "false". The rest is `invalid_label`."""
        if name not in self:
            return pa.nulls(self.size, pa.bool_())
        values = self.arrays[name]
        if pa.types.is_boolean(values.type):
            return values
        if is_text(values.type) or is_number(values.type):
            words = pc.utf8_lower(pc.utf8_trim_whitespace(values.cast(pa.string())))
            yes = pc.is_in(words, pa.array(["true", "1", "1.0"]))
            no = pc.is_in(words, pa.array(["false", "0", "0.0"]))
            known = pc.or_(yes, no)
        else:
            yes = known = pa.array(np.zeros(self.size, dtype=np.bool_))
        self.report(present(values) & ~mask(known), "invalid_label", "is neither true nor false", name)
        return pc.if_else(known, yes, None)

    def struct(self, name: str) -> Columns:
        """The fields of a column of structs; without fields where it is absent or of another kind."""
        values = self.arrays.get(name)
        found = values is not None and pa.types.is_struct(values.type)
        arrays = struct_fields(values) if found else {}
        return Columns(arrays, self.size, self.rows, self.problems, self.owners, f"{self.prefix}{name}.")

    def items(self, name: str, *, of: str = "objects") -> tuple[np.ndarray[Any, np.dtype[np.int32]], Columns]:
        """A column of lists of structs, flat: the offsets of each list (size + 1), and the structs' fields.

        Lists that hold something else are reported as `not_text`, `of` being what they should hold; a null
        list is an empty one.
        """
        values = self.arrays.get(name)
        if values is None or not is_list(values.type):
            if values is not None:
                self.report(present(values), "not_text", f"is {_kind(values.type)}, not a list", name)
            return np.zeros(self.size + 1, np.int32), self._below({}, np.zeros(0, np.int64), name)
        offsets, flat = flatten(values)
        owners = np.repeat(np.arange(self.size), np.diff(offsets))
        if self.owners is not None:
            owners = self.owners[owners]
        if pa.types.is_struct(flat.type):
            return offsets, self._below(struct_fields(flat), owners, name)
        below = self._below({}, owners, name)
        below.report(present(flat), "not_text", f"holds {_kind(flat.type)}, not {of}", None)
        return offsets, below

    def _below(self, arrays: Mapping[str, pa.Array], owners: Any, name: str) -> Columns:
        return Columns(arrays, len(owners), self.rows, self.problems, owners, f"{self.prefix}{name}.")

    def rest(self, used: Iterable[str]) -> dict[str, pa.Array]:
        """The columns that are not in `used`."""
        taken = set(used)
        return {name: array for name, array in self.arrays.items() if name not in taken}


def completions(text: pa.Array, **columns: pa.Array | str | float | int | None) -> pa.Array:
    """A COMPLETION array: `text` and any other of its fields, as an array or one value for all.

    `origin` is "source" and `scores` empty where they are not given.
    """
    given = {"text": text, "origin": "source", "scores": named_scores({}, len(text)), **columns}
    arrays = []
    for field in COMPLETION:
        value = given.get(field.name)
        if isinstance(value, pa.Array):
            arrays.append(value if value.type == field.type else value.cast(field.type))
        elif value is None:
            arrays.append(pa.nulls(len(text), field.type))
        else:
            arrays.append(repeat(value, len(text), field.type))
    return pa.StructArray.from_arrays(arrays, fields=list(COMPLETION))


def interleave(parts: Sequence[pa.Array]) -> pa.Array:
    """Lists of the i-th value of every part: chosen and rejected columns as sets of two."""
    count, size = len(parts), len(parts[0])
    order = np.arange(count * size).reshape(count, size).T.ravel()
    return listed(np.arange(size + 1) * count, pa.concat_arrays(parts).take(pa.array(order)))


def named_scores(scores: Mapping[str, pa.Array], size: int) -> pa.Array:
    """Lists of (name, value), names sorted; a null value is left out."""
    names = sorted(name for name, values in scores.items() if values.null_count < size)
    if not names:
        return listed(np.zeros(size + 1), pa.array([], SCORES.value_type))
    count = len(names)
    order = np.arange(count * size).reshape(count, size).T.ravel()
    values = pa.concat_arrays([scores[name].cast(pa.float64()) for name in names]).take(pa.array(order))
    labels = pa.DictionaryArray.from_arrays(pa.array(np.tile(np.arange(count), size)), pa.array(names))
    kept = present(values)
    offsets = np.concatenate([[0], np.cumsum(kept.reshape(size, count).sum(axis=1))])
    keep = pa.array(kept)
    pair = [labels.cast(pa.string()).filter(keep), values.filter(keep)]
    return listed(offsets, pa.StructArray.from_arrays(pair, fields=list(SCORES.value_type)))


def _whole(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return combined if isinstance(combined, pa.Array) else pa.concat_arrays(combined.chunks)


def _kind(kind: pa.DataType) -> str:
    names = {
        "a number": is_number(kind),
        "a truth value": pa.types.is_boolean(kind),
        "a text": is_text(kind),
        "a list": is_list(kind),
        "an object": pa.types.is_struct(kind),
    }
    return next((name for name, fits in names.items() if fits), f"of type {kind}")
