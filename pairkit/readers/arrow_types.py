"""Arrow types as JSON rows have them: without views, large offsets, dictionaries, runs and maps."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import flatten, is_list, listed, mask, struct_fields
from pairkit.arrow import offsets as offsets_of


def plain(table: pa.Table) -> pa.Table:
    """Return the same values with texts as `string`, bytes as `binary`, and lists, views and maps as `list`.

    Raises `pa.ArrowException` for a type that Arrow cannot convert.
    """
    return pa.table(
        {
            name: pa.chunked_array([plain_array(chunk) for chunk in column.chunks], plain_type(column.type))
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )


def plain_array(array: pa.Array) -> pa.Array:
    """Return an array of the type `plain_type`. Raises `pa.ArrowException`."""
    kind = array.type
    if kind == plain_type(kind):
        return array
    if isinstance(kind, pa.UuidType):
        return pa.array([each and str(each) for each in array.to_pylist()], pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        return plain_array(array.storage)
    if pa.types.is_dictionary(kind):
        # Views in a dictionary cannot be taken from, so the dictionary is converted first.
        return pa.DictionaryArray.from_arrays(
            array.indices, plain_array(array.dictionary)
        ).dictionary_decode()
    if pa.types.is_run_end_encoded(kind):
        return plain_array(pc.run_end_decode(array))
    if pa.types.is_map(kind):
        return plain_array(array.cast(_entries(kind)))
    if _is_list_view(kind):
        return _from_views(array)
    if is_list(kind):
        offsets, flat = flatten(array)
        return _with_nulls(listed(offsets, plain_array(flat)), array)
    if pa.types.is_struct(kind):
        fields = {name: plain_array(values) for name, values in struct_fields(array).items()}
        return pa.StructArray.from_arrays(list(fields.values()), list(fields), mask=pc.is_null(array))
    return array.cast(plain_type(kind))


def _from_views(array: pa.Array) -> pa.Array:
    """Return lists of views as lists; Arrow's own cast loses items, or ends in broken offsets."""
    sizes = np.where(mask(pc.is_valid(array)), array.sizes.to_numpy(zero_copy_only=False), 0).astype(np.int64)
    cuts = offsets_of(sizes)
    starts = array.offsets.to_numpy(zero_copy_only=False)[: len(sizes)].astype(np.int64)
    places = np.repeat(starts - cuts[:-1], sizes) + np.arange(int(cuts[-1]))
    items = plain_array(array.values).take(pa.array(places, pa.int64()))
    return _with_nulls(listed(cuts, items), array)


def _with_nulls(lists: pa.Array, like: pa.Array) -> pa.Array:
    if not like.null_count:
        return lists
    return pc.if_else(pc.is_valid(like), lists, pa.scalar(None, lists.type))


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that `plain` converts a type to. Raises `UnicodeDecodeError` for a broken name."""
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain_type(kind.value_type)
    if isinstance(kind, pa.UuidType):
        return pa.string()
    # Texts of the type Json of `datasets` are read as JSON.
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.JsonType):
        return plain_type(kind.storage_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_map(kind):
        return plain_type(_entries(kind))
    if is_list(kind) or _is_list_view(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind])
    return kind


def _entries(kind: pa.MapType) -> pa.DataType:
    return pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def is_binary(kind: pa.DataType) -> bool:
    """Return whether values of a plain type are bytes."""
    return bool(pa.types.is_binary(kind))


def has_views(kind: pa.DataType) -> bool:
    """Return whether a type holds views, maps, runs or extensions, for which Arrow has few functions."""
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind) or _is_list_view(kind):
        return True
    if pa.types.is_map(kind) or pa.types.is_run_end_encoded(kind):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return not isinstance(kind, pa.JsonType)
    if pa.types.is_dictionary(kind) or is_list(kind):
        return has_views(kind.value_type)
    return pa.types.is_struct(kind) and any(has_views(field.type) for field in kind)


def unreadable(names: Iterable[str], types: Iterable[pa.DataType]) -> str | None:
    """Return what is wrong with the types of columns, None if all can be read.

    Of two fields of one name in an object, one would be lost.
    A schema that is nested without bound would end in Python's recursion, or in that of Arrow, which crashes.
    """
    for name, kind in zip(names, types, strict=True):
        problem = _unreadable(kind)
        if problem:
            return f"the column {name[:100]!r} {problem}"
    return None


MAX_LEVELS = 128


def _unreadable(kind: pa.DataType) -> str | None:
    waiting = [(kind, 1)]
    while waiting:
        kind, level = waiting.pop()
        if level > MAX_LEVELS:
            return f"is nested more than {MAX_LEVELS} levels deep; write what is inside as a text of JSON"
        if pa.types.is_union(kind):
            return f"is a union ({str(kind)[:100]}), which no other format has; write it as text"
        names = [kind.field(place).name for place in range(kind.num_fields)]
        if pa.types.is_struct(kind) and len({*names}) < len(names):
            repeated = next(name for place, name in enumerate(names) if name in names[:place])
            return f"has two fields named {repeated[:100]!r} in one object; rename one of them"
        if isinstance(kind, pa.BaseExtensionType):
            waiting.append((kind.storage_type, level))
        elif pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
            waiting.append((kind.value_type, level))
        else:
            waiting += [(kind.field(place).type, level + 1) for place in range(kind.num_fields)]
    return None


def as_bytes(kind: pa.DataType) -> pa.DataType:
    """Return the type of the same buffers in which texts are bytes."""
    if pa.types.is_string(kind):
        return pa.binary()
    if pa.types.is_large_string(kind):
        return pa.large_binary()
    if pa.types.is_string_view(kind):
        return pa.binary_view()
    if pa.types.is_large_list(kind):
        return pa.large_list(as_bytes(kind.value_type))
    if pa.types.is_list(kind):
        return pa.list_(as_bytes(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(as_bytes(field.type)) for field in kind])
    return kind
