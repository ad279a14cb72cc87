"""Reading raw columns, and building the columns of candidate sets. Nothing here loops over rows.

`Columns` is a table, or the structs inside one of its lists, seen as named columns: an absent column reads
as null, and a value of the wrong type is reported as a problem of the row that it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import (
    Mask,
    Offsets,
    filter_lists,
    flatten,
    interleave,
    is_list,
    is_number,
    is_text,
    list_indices,
    listed,
    mask,
    parse_numbers,
    present,
    repeat,
    struct_fields,
    structs,
)
from pairkit.readers.written.raw_values import RAW, Place, Raw, Rest
from pairkit.schema import COMPLETION, SCORES
from pairkit.sources.base import RowProblem
from pairkit.sources.reading.labels import read_labels


@dataclass(frozen=True)
class Columns:
    """`size` values of named columns; `owners` maps each to one of the `rows` raw rows.

    `problems` is shared by all `Columns` of one table, and grows as columns are read. `roles` are the roles
    that a user gave to names of speakers. `raw` is what rows of JSON say of these values, as it is written.
    """

    arrays: Mapping[str, pa.Array]
    size: int
    rows: int
    problems: list[RowProblem]
    owners: np.ndarray[Any, np.dtype[np.int64]] | None = None
    prefix: str = ""
    roles: Mapping[str, str] = field(default_factory=dict)
    raw: Raw | None = None

    @classmethod
    def of(cls, table: pa.Table) -> Columns:
        """Return the columns of a table of raw rows."""
        arrays = {name: _one_chunk(table[name]) for name in table.column_names}
        raw = Raw.of_texts(arrays.pop(RAW)) if RAW in arrays else None
        return cls(arrays, table.num_rows, table.num_rows, [], raw=raw)

    def __contains__(self, name: str) -> bool:
        # A column of nothing but nulls has no type that could be right or wrong, so it counts as absent.
        return name in self.arrays and not pa.types.is_null(self.arrays[name].type)

    def report(self, where: Mask, reason: str, detail: str, name: str | None) -> None:
        """Report the values in `where`, and with them the rows that they belong to, as unusable."""
        if not where.any():
            return
        rows = where
        if self.owners is not None:
            rows = np.zeros(self.rows, dtype=np.bool_)
            rows[self.owners[where]] = True
        place = (self.prefix + (name or "")).removesuffix(".") or None
        self.problems.append(RowProblem(rows, reason, detail, place))

    def text(self, name: str) -> pa.Array:
        """Read a column of texts; values of other types are reported as `not_text` and read as null."""
        if name not in self:
            return pa.nulls(self.size, pa.string())
        values = self.arrays[name]
        if is_text(values.type):
            return values if pa.types.is_string(values.type) else values.cast(pa.string())
        self.report(present(values), "not_text", f"is {_kind(values.type)}, not a text", name)
        return pa.nulls(self.size, pa.string())

    def number(self, name: str) -> pa.Array:
        """Read a column as float64; a value that is no finite number is `invalid_score` and read as null.

        A text that holds a number counts as a number, because CSV has only texts.
        """
        if name not in self:
            return pa.nulls(self.size, pa.float64())
        return self.finite(self.arrays[name], name)

    def finite(self, values: pa.Array, name: str) -> pa.Array:
        """Convert values that were computed from the column `name` as `number` does."""
        if is_text(values.type):
            numbers = parse_numbers(values)
            self.report(present(values) & ~present(numbers), "invalid_score", "is not a number", name)
        elif is_number(values.type):
            # Unsafe, because an integer beyond 2**53 is rounded, as JSON readers do.
            numbers = values.cast(pa.float64(), safe=False)
        else:
            self.report(present(values), "invalid_score", f"is {_kind(values.type)}, not a number", name)
            return pa.nulls(len(values), pa.float64())
        infinite = mask(pc.invert(pc.is_finite(numbers)))
        self.report(infinite, "invalid_score", "is not a finite number", name)
        return pc.if_else(pa.array(infinite), None, numbers) if infinite.any() else numbers

    def rank(self, name: str) -> pa.Array:
        """Read a column of whole numbers, integers or floats; any other number is `invalid_rank`."""
        numbers = self.number(name)
        # Writers turn whole numbers with nulls into floats, so 2.0 is a rank and 2.5 is not.
        partial = present(numbers) & ~mask(pc.equal(numbers, pc.round(numbers)))
        self.report(partial, "invalid_rank", "is not a whole number", name)
        # Ranks are stored as int32.
        huge = mask(pc.greater(pc.abs(numbers), 1e9))
        self.report(huge, "invalid_rank", "is out of range", name)
        return pc.if_else(pa.array(partial | huge), None, numbers).cast(pa.int32())

    def truth(self, name: str) -> pa.Array:
        """Read a column of booleans, or the words and numbers of `labels.py`; others are `invalid_label`."""
        if name not in self:
            return pa.nulls(self.size, pa.bool_())
        read, problems = read_labels(self.arrays[name])
        for where, detail in problems:
            self.report(where, "invalid_label", detail, name)
        return read

    def struct(self, name: str) -> Columns:
        """Read the fields of a column of structs; none if it is absent or of another type."""
        values = self.arrays.get(name)
        arrays = struct_fields(values) if values is not None and pa.types.is_struct(values.type) else {}
        raw = None if self.raw is None else self.raw.field(name)
        return replace(self, arrays=arrays, prefix=f"{self.prefix}{name}.", raw=raw)

    def items(self, name: str, *, of: str = "objects") -> tuple[Offsets, Columns]:
        """Read a column of lists of structs: the offsets of the lists `[size + 1]`, and the structs' fields.

        Lists of other values are reported as `not_text`, where `of` names what they should hold. A null list
        counts as empty.
        """
        values = self.arrays.get(name)
        if values is None or not is_list(values.type):
            if values is not None:
                self.report(present(values), "not_text", f"is {_kind(values.type)}, not a list", name)
            return np.zeros(self.size + 1, np.int32), self._below({}, np.zeros(0, np.int64), name)
        offsets, flat = flatten(values)
        owners = list_indices(offsets)
        if self.owners is not None:
            # A list within a list: owners are raw rows, however deep the value is.
            owners = self.owners[owners]
        if pa.types.is_struct(flat.type):
            raw = None if self.raw is None else self.raw.field(name).items(np.diff(offsets))
            return offsets, self._below(struct_fields(flat), owners, name, raw)
        below = self._below({}, owners, name)
        below.report(present(flat), "not_text", f"holds {_kind(flat.type)}, not {of}", None)
        return offsets, below

    def flat(self, name: str) -> tuple[Offsets, Columns]:
        """Return the offsets of a column of lists `[size + 1]`, and the items as a column named ""."""
        cuts, items = flatten(self.arrays[name])
        owners = list_indices(cuts)
        return cuts, self._below({"": items}, owners if self.owners is None else self.owners[owners], name)

    def _below(
        self, arrays: Mapping[str, pa.Array], owners: Any, name: str, raw: Raw | None = None
    ) -> Columns:
        prefix = f"{self.prefix}{name}."
        return replace(self, arrays=arrays, size=len(owners), owners=owners, prefix=prefix, raw=raw)

    def only(self, name: str, where: Mask) -> Columns:
        """Return the same columns with one of them null except `where`."""
        if name not in self or where.all():
            return self
        values = self.arrays[name]
        index = pa.array(np.arange(self.size), mask=~where)
        return replace(self, arrays={**self.arrays, name: values.take(index)})

    def first_of(self, names: Sequence[str]) -> str:
        """Return the first of `names` that exists; the first name if none does."""
        return next((name for name in names if name in self), names[0])

    def firsts(self, names: Iterable[str]) -> dict[str, Mask]:
        """Return the columns of `names`, and where each is read if a value counts under its first name.

        Value by value, because which columns there are depends on the other rows.
        """
        masks: dict[str, Mask] = {}
        free = np.ones(self.size, dtype=np.bool_)
        for name in names:
            if name in self:
                masks[name] = free
                free = free & ~present(self.arrays[name])
        return masks

    def without(self, read: Mapping[str, Mask]) -> Columns:
        """Return the columns without what was read of them: `read` is what `firsts` returns."""
        remainders = {name: self.only(name, ~where).arrays[name] for name, where in read.items()}
        some = {name: values for name, values in remainders.items() if values.null_count < len(values)}
        arrays = {name: some.get(name, values) for name, values in self.arrays.items()}
        columns = {name: values for name, values in arrays.items() if name in some or name not in read}
        if self.raw is None or not some:
            return replace(self, arrays=columns)
        gone = [[name for name in some if read[name][place]] for place in range(self.size)]
        return replace(self, arrays=columns, raw=self.raw.without(gone))

    def rest(self, read_names: Iterable[str]) -> Rest:
        """Return the columns that are not in `read_names`."""
        names = set(read_names)
        return self.those([name for name in self.arrays if name not in names])

    def those(self, names: Iterable[str]) -> Rest:
        """Return the columns of these names."""
        arrays = {name: self.arrays[name] for name in names}
        return Rest(arrays, {} if self.raw is None else {name: Place(self.raw, name) for name in arrays})


def completions(text: pa.Array, **columns: pa.Array | str | float | int | None) -> pa.Array:
    """Build a COMPLETION array from `text` and other fields, each an array or one value for all.

    By default `origin` is "source" and `scores` is empty.
    """
    fields = {"text": text, "origin": "source", "scores": named_scores({}, len(text)), **columns}
    arrays = {
        name: _column(value, len(text), COMPLETION.field(name).type)
        for name, value in fields.items()
        if value is not None
    }
    return structs(COMPLETION, len(text), **arrays)


def _column(value: Any, size: int, kind: pa.DataType) -> pa.Array:
    if not isinstance(value, pa.Array):
        return repeat(value, size, kind)
    return value if value.type == kind else value.cast(kind)


def named_scores(scores: Mapping[str, pa.Array], size: int) -> pa.Array:
    """Build lists of (name, value), sorted by name; null values are left out."""
    # Sorted, because equal scores in another order would be other bytes.
    names = sorted(name for name, values in scores.items() if values.null_count < size)
    if not names:
        # One offset per completion and one more.
        return listed(np.zeros(size + 1), pa.array([], SCORES.value_type))
    parts = [
        pa.StructArray.from_arrays(
            [repeat(name, size, pa.string()), scores[name].cast(pa.float64())], fields=list(SCORES.value_type)
        )
        for name in names
    ]
    lists = interleave(parts)
    return filter_lists(lists, present(flatten(lists)[1].field("value")))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    # One array, because offsets and fields are read off a single array.
    chunk = column.combine_chunks()
    return chunk if isinstance(chunk, pa.Array) else pa.concat_arrays(chunk.chunks)


def _kind(kind: pa.DataType) -> str:
    names = {
        "a number": is_number(kind),
        "a truth value": pa.types.is_boolean(kind),
        "a text": is_text(kind),
        "a list": is_list(kind),
        "an object": pa.types.is_struct(kind),
    }
    return next((name for name, fits in names.items() if fits), f"of type {kind}")
