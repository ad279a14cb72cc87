"""Arrow arrays, read and built without a loop over rows. Nothing here knows what a candidate set is."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.int32]  # [lists + 1], from 0: list i is the values offsets[i] to offsets[i + 1]


def without_pandas() -> None:
    """Let pyarrow find no pandas when it looks for it, which it does once, at the first list made an array.

    It would import pandas, a third of a second of a short command, to ask of each list whether that is one of
    pandas' objects. For processes in which none is: an array that is made of one would have NaN for null.
    `to_pandas` and `from_pandas` find pandas as ever.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(finder)


class _NoPandas(MetaPathFinder):
    """Makes `import pandas` fail."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(name=fullname)


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of a type are texts (`large_string`, views and dictionaries of texts too)."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def is_list(kind: pa.DataType) -> bool:
    """Return whether values of a type are lists."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def is_json(kind: pa.DataType) -> bool:
    """Return whether values of a type are JSON, the type Json of `datasets`, or lists of JSON."""
    return is_json(kind.value_type) if is_list(kind) else isinstance(kind, pa.JsonType)


def is_number(kind: pa.DataType) -> bool:
    """Return whether values of a type are numbers (booleans are not)."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def mask(values: pa.Array) -> Mask:
    """Convert a boolean array to numpy, null to False."""
    # Arrow packs booleans into bits, so that they have to be copied.
    return np.asarray(pc.fill_null(values, False).to_numpy(zero_copy_only=False), dtype=np.bool_)


def present(values: pa.Array) -> Mask:
    """Mark the values that are not null."""
    return mask(pc.is_valid(values))


def filled(values: pa.Array) -> Mask:
    """Mark the values that are neither null nor an empty list or text."""
    if pa.types.is_null(values.type):
        return np.zeros(len(values), dtype=np.bool_)
    if is_list(values.type):
        return mask(pc.greater(pc.list_value_length(values), 0))
    if is_text(values.type):
        return mask(pc.greater(pc.binary_length(values.cast(pa.string())), 0))
    return present(values)


def parse_numbers(texts: pa.Array) -> pa.Array:
    """Convert texts to float64, a text that is not a number to null."""
    # polars, because one text that is not a number makes Arrow's cast refuse the whole column.
    series = pl.from_arrow(texts.cast(pa.string()))
    assert isinstance(series, pl.Series)
    return series.str.strip_chars().cast(pl.Float64, strict=False).to_arrow()


def repeat(value: Any, size: int, kind: pa.DataType) -> pa.Array:
    """Return an array of `size` times one value."""
    # Arrow repeats no list 0 times.
    return pa.repeat(pa.scalar(value, kind), size) if size else pa.array([], kind)


def offsets(lengths: Any) -> Offsets:
    """Return the offsets of lists of these lengths."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def listed(cuts: Any, flat: pa.Array) -> pa.ListArray:
    """Cut `flat` into lists at `cuts`, the offsets of the lists."""
    return pa.ListArray.from_arrays(pa.array(cuts, pa.int32()), flat)


def flatten(lists: pa.Array) -> tuple[Offsets, pa.Array]:
    """Return offsets from 0 and the values of a list array, whatever its slice, nulls and kind of list.

    Lists of which nothing but nulls is known are empty, and so is what is not a list.
    """
    if not is_list(lists.type):
        return np.zeros(len(lists) + 1, np.int64), pa.nulls(0)
    # `list_flatten` leaves out null lists, so their length has to be 0.
    lengths = pc.fill_null(pc.list_value_length(lists), 0)
    return offsets(lengths.to_numpy(zero_copy_only=False)), pc.list_flatten(lists)


def cast_or_null(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast values to a type; all are null where Arrow cannot cast them."""
    try:
        return values.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        return pa.nulls(len(values), kind)


def list_indices(cuts: Offsets | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the index of the list that each value of lists is in, `[cuts[-1]]`.

    >>> list_indices(np.array([0, 2, 2, 3])).tolist()
    [0, 0, 2]
    """
    return np.repeat(np.arange(len(cuts) - 1), np.diff(cuts))


def indices_within(cuts: Offsets) -> npt.NDArray[np.int64]:
    """Return the index of each value in its list, `[cuts[-1]]`.

    >>> indices_within(np.array([0, 2, 2, 3])).tolist()
    [0, 1, 0]
    """
    return np.arange(int(cuts[-1])) - np.repeat(cuts[:-1], np.diff(cuts))


def filter_lists(lists: pa.Array, kept: Mask) -> pa.ListArray:
    """Leave out the values of the flattened lists that are not `kept`; every list stays."""
    cuts, flat = flatten(lists)
    return listed(offsets(kept)[cuts], flat.filter(pa.array(kept)))


def interleave(parts: Sequence[pa.Array]) -> pa.Array:
    """Build lists of the i-th value of every part: two columns become lists of two."""
    count, size = len(parts), len(parts[0])
    order = np.arange(count * size).reshape(count, size).T.ravel()
    return listed(np.arange(size + 1) * count, pa.concat_arrays(parts).take(pa.array(order)))


def prepend(lists: pa.Array, firsts: pa.Array, selected: Mask) -> pa.ListArray:
    """Put the value of `firsts` before the values of each `selected` list."""
    cuts, flat = flatten(lists)
    longer = offsets(np.diff(cuts) + selected)
    heads = longer[:-1][selected]
    # Positions in the concatenation of values and firsts, so that one take builds all lists.
    order = np.empty(longer[-1], dtype=np.int64)
    order[heads] = len(flat) + np.flatnonzero(selected)
    rest = np.ones(longer[-1], dtype=np.bool_)
    rest[heads] = False
    order[rest] = np.arange(len(flat))
    return listed(longer, pa.concat_arrays([flat, firsts]).take(pa.array(order)))


def structs(kind: pa.StructType, length: int, **columns: pa.Array) -> pa.StructArray:
    """Build `length` structs of a type; fields without a column are null."""
    arrays = [columns.get(field.name, pa.nulls(length, field.type)) for field in kind]
    return pa.StructArray.from_arrays(arrays, fields=list(kind))


def struct_fields(structs: pa.Array) -> dict[str, pa.Array]:
    """Return the fields of a struct array by name, null where the struct is."""
    # Not `field`, because that ignores the nulls of the structs themselves.
    return dict(zip((field.name for field in structs.type), structs.flatten(), strict=True))


def with_fields(structs: pa.StructArray, **columns: pa.Array) -> pa.StructArray:
    """Replace the named fields of `structs`."""
    arrays = [columns.get(field.name, pc.struct_field(structs, field.name)) for field in structs.type]
    return pa.StructArray.from_arrays(arrays, fields=list(structs.type))
