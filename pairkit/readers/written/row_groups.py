"""Rows of JSON that share no schema, as tables of one schema each.

A field whose value has no type in Arrow, because one of its lists has values of several kinds, can be a
column of JSON texts: where no source reads it, the metadata of its row keeps it as it is written.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pairkit.readers.blocks import RowTable
from pairkit.readers.written.json_fields import json_text, with_parts
from pairkit.readers.written.shapes import shape_of
from pairkit.readers.written.truths import floats_in, holds_truths

# pyarrow's errors for a value of mixed types and for a lone surrogate.
NOT_ARROW = (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError)
_MIXED = (pa.ArrowInvalid, pa.ArrowTypeError)


class _Typed(NamedTuple):
    """A row that has a type in Arrow, the type, and the fields whose texts are JSON."""

    row: dict[str, Any]
    kind: pa.StructType
    json: frozenset[str] = frozenset()


class _Group(NamedTuple):
    kind: pa.StructType
    json: frozenset[str]
    rows: list[tuple[int, dict[str, Any]]]


def array_of(values: list[Any], kind: pa.DataType | None = None) -> pa.Array:
    """Return values as an array. Raises one of `NOT_ARROW`, also for truth values among numbers."""
    array = pa.array(values, kind)
    floats = floats_in(array.type)
    if floats is not None and any(holds_truths(value, floats) for value in values):
        raise pa.ArrowTypeError("truth values among numbers")
    return array


def row_table(rows: list[tuple[int, dict[str, Any]]], kind: pa.StructType | None = None) -> RowTable:
    """Return numbered rows as one table. Raises one of `NOT_ARROW`."""
    structs = array_of([value for _, value in rows], kind)
    return RowTable(pa.Table.from_struct_array(structs), np.array([number for number, _ in rows]))


def group_by_schema(
    rows: list[tuple[int, dict[str, Any]]], *, odd_as_json: bool
) -> tuple[list[RowTable], list[tuple[int, dict[str, Any], Exception]]]:
    """Return tables, and the rows that have no type in Arrow with the reason."""
    groups: list[_Group] = []
    bad = []
    types = _Types(odd_as_json=odd_as_json)
    for number, row in rows:
        try:
            typed = types.typed(row)
        except NOT_ARROW as error:
            bad.append((number, row, error))
            continue
        for place, group in enumerate(groups):
            kind = types.common(group.kind, typed.kind) if group.json == typed.json else None
            if kind is not None:
                group.rows.append((number, typed.row))
                groups[place] = group._replace(kind=kind)
                break
        else:
            groups.append(_Group(typed.kind, typed.json, [(number, typed.row)]))
    return [table for group in groups for table in _tables(group)], bad


class _Types:
    """The types of rows, found once per shape, and the common ones of two types, once per pair."""

    def __init__(self, *, odd_as_json: bool) -> None:
        self._odd_as_json = odd_as_json
        self._of_shapes: dict[Hashable, pa.StructType] = {}
        # By identity, because a hash of a type takes as long as what it saves. A value holds the two types,
        # so that no other type gets their identity.
        self._common: dict[tuple[int, int], tuple[pa.StructType, pa.StructType, pa.StructType | None]] = {}

    def typed(self, row: dict[str, Any]) -> _Typed:
        """Return a row with its type. Raises one of `NOT_ARROW`."""
        shape = shape_of(row)
        kind = None if shape is None else self._of_shapes.get(shape)
        if kind is not None:
            return _Typed(row, kind)
        typed = _typed(row, self._odd_as_json)
        if shape is not None and typed.row is row:
            self._of_shapes[shape] = typed.kind
        return typed

    def common(self, left: pa.StructType, right: pa.StructType) -> pa.StructType | None:
        """Return the type that values of both have, None without one."""
        pair = id(left), id(right)
        if pair not in self._common:
            kind = _unify(left, right)
            # The same object where nothing was added, so that the next row of this type finds it.
            self._common[pair] = left, right, left if kind == left else kind
        return self._common[pair][2]


def _typed(row: dict[str, Any], odd_as_json: bool) -> _Typed:
    """Return a row with the type that Arrow has for it. Raises one of `NOT_ARROW`."""
    read = row
    try:
        try:
            kind = pa.infer_type([read])
        except pa.ArrowInvalid:
            read = with_parts(row)
            kind = pa.infer_type([read])
        # The type may be found although the value has no form in Arrow.
        array_of([read], kind)
        return _Typed(read, kind)
    except _MIXED:
        if not odd_as_json:
            raise
        return _with_json(row, read)


def _with_json(row: dict[str, Any], read: dict[str, Any]) -> _Typed:
    odd = frozenset(name for name, value in read.items() if _is_mixed(value))
    texts = {name: json_text(row[name]) if name in odd else value for name, value in read.items()}
    return _Typed(texts, array_of([texts]).type, odd)


def _is_mixed(value: Any) -> bool:
    """Return whether a list in a value has values of several kinds. Raises `UnicodeEncodeError`."""
    try:
        array_of([value])
    except _MIXED:
        return True
    return False


def _tables(group: _Group) -> list[RowTable]:
    try:
        tables = [row_table(group.rows, group.kind)]
    except NOT_ARROW:  # an integer beyond 2**53 among floats: no common type after all
        tables = [row_table([row]) for row in group.rows]
    return [part._replace(table=_as_json(part.table, group.json)) for part in tables]


def _as_json(table: pa.Table, names: frozenset[str]) -> pa.Table:
    for place, name in enumerate(table.column_names):
        if name in names:
            texts = table.column(place).combine_chunks().cast(pa.string())
            table = table.set_column(place, name, pa.ExtensionArray.from_storage(pa.json_(), texts))
    return table


def _unify(left: pa.StructType, right: pa.StructType) -> pa.StructType | None:
    try:
        schemas = [pa.schema(list(left)), pa.schema(list(right))]
        return pa.struct(list(pa.unify_schemas(schemas, promote_options="permissive")))
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None
