"""Arrow types as JSON rows have them: what other writers store in views, large offsets and dictionaries."""

from __future__ import annotations

import pyarrow as pa

from pairkit.arrow import is_list


def plain(table: pa.Table) -> pa.Table:
    """Return the same values with texts as `string`, bytes as `binary` and lists as `list`.

    Raises `pa.ArrowException` for a type that Arrow cannot convert.
    """
    return pa.table(
        {
            name: pa.chunked_array([_plain(chunk) for chunk in column.chunks], plain_type(column.type))
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )


def _plain(array: pa.Array) -> pa.Array:
    if pa.types.is_dictionary(array.type):
        # Views in a dictionary cannot be taken from, so the dictionary is converted first.
        values = _plain(array.dictionary)
        return pa.DictionaryArray.from_arrays(array.indices, values).dictionary_decode()
    kind = plain_type(array.type)
    return array if kind == array.type else array.cast(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that `plain` converts a type to. Raises `UnicodeDecodeError` for a broken name."""
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if is_list(kind) or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.list_(plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind])
    return kind


def has_views(kind: pa.DataType) -> bool:
    """Return whether a type holds views, for which Arrow has few functions."""
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return True
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return True
    if pa.types.is_dictionary(kind) or is_list(kind):
        return has_views(kind.value_type)
    return pa.types.is_struct(kind) and any(has_views(field.type) for field in kind)


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
