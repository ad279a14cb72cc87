"""The size of each row of a table as its texts would be written out, without writing them out.

Dictionaries, views and runs hold a text once for any number of rows: a file of some MB may mean terabytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pairkit.arrow import is_list, present

Sizes = npt.NDArray[np.int64]
FIXED = 8  # bytes of a value that is no text


def row_sizes(table: pa.Table | pa.RecordBatch) -> Sizes:
    """Return the bytes of each row, `[rows]`."""
    total = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.columns:
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        total += np.concatenate([np.zeros(0, np.int64), *map(_sizes, chunks)])
    return total


def _sizes(array: pa.Array) -> Sizes:
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return _sizes(array.storage)
    if pa.types.is_dictionary(kind):
        return _taken(_sizes(array.dictionary), array.indices)
    if pa.types.is_run_end_encoded(kind):
        ends = np.clip(np.asarray(array.run_ends) - array.offset, 0, len(array))
        return np.repeat(_sizes(array.values), np.diff(ends, prepend=0))
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _view_sizes(array)
    if _is_binary(kind):
        return _numbers(pc.binary_length(array))
    if pa.types.is_struct(kind):
        parts = [_sizes(array.field(place)) for place in range(kind.num_fields)]
        return np.sum(parts, axis=0, dtype=np.int64) if parts else np.zeros(len(array), np.int64)
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        starts = np.asarray(array.offsets, dtype=np.int64)
        return _within(array.values, starts, starts + np.asarray(array.sizes, dtype=np.int64))
    if (is_list(kind) and not pa.types.is_fixed_size_list(kind)) or pa.types.is_map(kind):
        cuts = np.asarray(array.offsets, dtype=np.int64)
        return _within(array.items if pa.types.is_map(kind) else array.values, cuts[:-1], cuts[1:])
    if pa.types.is_fixed_size_list(kind):
        starts = (np.arange(len(array)) + array.offset) * kind.list_size
        return _within(array.values, starts, starts + kind.list_size)
    return np.full(len(array), FIXED, np.int64)


def _within(values: pa.Array, starts: Sizes, ends: Sizes) -> Sizes:
    sums = np.concatenate([[0], np.cumsum(_sizes(values))])
    return np.asarray(sums[ends] - sums[starts] + FIXED * (ends - starts), dtype=np.int64)


def _taken(sizes: Sizes, indices: pa.Array) -> Sizes:
    return _numbers(pc.take(pa.array(sizes), indices))


def _numbers(array: pa.Array) -> Sizes:
    return np.asarray(pc.fill_null(array.cast(pa.int64()), 0), dtype=np.int64)


def _view_sizes(array: pa.Array) -> Sizes:
    # Arrow has no function for it. A view is 16 bytes, the first 4 of which are its length.
    views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)
    lengths = views[array.offset : array.offset + len(array), 0].astype(np.int64)
    return np.where(present(array), lengths, 0)


def _is_binary(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_string(kind)
        or types.is_large_string(kind)
        or types.is_binary(kind)
        or types.is_large_binary(kind)
    )
