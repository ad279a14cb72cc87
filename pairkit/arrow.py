"""Arrow arrays, read and built without a loop over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc


def offsets(lengths: npt.NDArray[np.integer]) -> pa.Array:
    """Arrow's list offsets for lists of these lengths."""
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def with_fields(structs: pa.StructArray, **columns: pa.Array) -> pa.StructArray:
    """`structs` with the named fields replaced."""
    arrays = [columns.get(field.name, pc.struct_field(structs, field.name)) for field in structs.type]
    return pa.StructArray.from_arrays(arrays, fields=list(structs.type))


def structs(kind: pa.StructType, length: int, **columns: pa.Array) -> pa.StructArray:
    """`length` structs of that kind; the fields that are not given are null."""
    arrays = [columns.get(field.name, pa.nulls(length, field.type)) for field in kind]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


Mask = np.ndarray[Any, np.dtype[np.bool_]]


def is_text(kind: pa.DataType) -> bool:
    """Whether values of that type are texts (`large_string`, views and dictionaries of texts too)."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether values of that type are lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether values of that type are numbers (truth values are not)."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def mask(values: pa.Array) -> Mask:
    """A boolean array as numpy, null as False."""
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def present(values: pa.Array) -> Mask:
    """Where the values are not null."""
    return mask(pc.is_valid(values))


def filled(values: pa.Array) -> Mask:
    """Where there is something: neither null nor an empty list or text."""
    if pa.types.is_null(values.type):
        return np.zeros(len(values), dtype=np.bool_)
    if is_list(values.type):
        return mask(pc.greater(pc.list_value_length(values), 0))
    if is_text(values.type):
        return mask(pc.greater(pc.binary_length(values.cast(pa.string())), 0))
    return present(values)


def flatten(lists: pa.Array) -> tuple[np.ndarray[Any, np.dtype[np.int32]], pa.Array]:
    """Offsets from 0 and the values of a list array, whatever its slice, nulls and kind of list."""
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(zero_copy_only=False))]).astype(np.int32)
    return offsets, pc.list_flatten(lists)


def struct_fields(structs: pa.Array) -> dict[str, pa.Array]:
    """The fields of a struct array by name, null where the struct is."""
    return dict(zip((field.name for field in structs.type), structs.flatten(), strict=True))


def parse_numbers(texts: pa.Array) -> pa.Array:
    """Texts as float64, null where a text is no number."""

    numbers = pl.from_arrow(texts.cast(pa.string())).str.strip_chars().cast(pl.Float64, strict=False)  # type: ignore[union-attr]
    return numbers.to_arrow()


def listed(offsets: Any, flat: pa.Array) -> pa.Array:
    """Lists of `flat`'s values, cut at `offsets`."""
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)


def prepend(lists: pa.Array, firsts: pa.Array, wanted: Mask) -> pa.Array:
    """The lists with a value of `firsts` put before those where it is `wanted`."""
    offsets, flat = flatten(lists)
    cuts = np.concatenate([[0], np.cumsum(np.diff(offsets) + wanted)])
    heads = cuts[:-1][wanted]
    order = np.empty(cuts[-1], dtype=np.int64)
    order[heads] = len(flat) + np.flatnonzero(wanted)
    rest = np.ones(cuts[-1], dtype=np.bool_)
    rest[heads] = False
    order[rest] = np.arange(len(flat))
    return listed(cuts, pa.concat_arrays([flat, firsts]).take(pa.array(order)))


def repeat(value: Any, size: int, kind: pa.DataType) -> pa.Array:
    """An array of one value."""
    return pa.repeat(pa.scalar(value, kind), size)
