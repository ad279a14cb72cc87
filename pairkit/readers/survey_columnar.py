"""A survey of Parquet and Arrow files: types from the schema, nulls from statistics or one column alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pairkit.errors import InputError
from pairkit.readers import arrow_file
from pairkit.readers.arrow_file import arrow_errors, open_reader, read_batches
from pairkit.readers.arrow_types import plain_type
from pairkit.readers.parquet import parquet_file
from pairkit.readers.survey_parts import Part
from pairkit.readers.unpacked.parquet_footer import Column, columns_of
from pairkit.readers.unpacked.parquet_pages import unit_rows


def survey_parquet(path: Path) -> Iterator[Part]:
    """Yield what the rows of a Parquet file hold. Raises `InputError`."""
    with parquet_file(path) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
        # Before anything is unpacked.
        unit_rows(file, path, 1)
        with path.open("rb") as raw:
            groups = columns_of(file, raw, path)
        leaves = _cheapest_leaves(file, groups)
        try:
            nulls = {
                name: _nulls(file, name, [group[leaf] for group in groups]) for name, leaf in leaves.items()
            }
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: the Parquet file is damaged: {error}") from error
        # A struct without fields has no leaf, and no value that a row could use.
        non_null = {name: rows - nulls.get(name, rows) for name in schema.names}
        yield Part(rows, {field.name: plain_type(field.type) for field in schema}, non_null)


def _cheapest_leaves(file: pq.ParquetFile, groups: list[list[Column]]) -> dict[str, int]:
    """Return for each column the number of its leaf that is smallest on disk.

    Any leaf will do, because each knows where its column is null.
    """
    sizes = [sum(group[leaf].size for group in groups) for leaf in range(len(file.schema))]
    chosen, first = {}, 0
    # By their order, because names with dots make paths of leaves ambiguous.
    for field in file.schema_arrow:
        after = first + _leaf_count(field.type)
        if after > first:
            chosen[field.name] = min(range(first, after), key=sizes.__getitem__)
        first = after
    return chosen


def _leaf_count(kind: pa.DataType) -> int:
    if isinstance(kind, pa.BaseExtensionType):
        return _leaf_count(kind.storage_type)
    return (
        sum(_leaf_count(kind.field(place).type) for place in range(kind.num_fields)) if kind.num_fields else 1
    )


def _nulls(file: pq.ParquetFile, name: str, leaves: list[Column]) -> int:
    counts = [leaf.nulls for leaf in leaves if leaf.path == name and leaf.nulls is not None]
    if len(counts) == len(leaves):
        return sum(counts)
    batches = file.iter_batches(columns=[leaf.path for leaf in leaves[:1]], use_threads=True)
    return sum(batch.column(name).null_count for batch in batches)


def survey_arrow(path: Path) -> Iterator[Part]:
    """Yield what the rows of an Arrow file hold. Raises `InputError`."""
    # Before anything is unpacked.
    arrow_file.unit_rows(path, 1)
    with arrow_errors(path), pa.OSFile(str(path)) as source:
        reader = open_reader(path, source)
        types = {field.name: plain_type(field.type) for field in reader.schema}
        for batch in read_batches(reader):
            nulls = dict(zip(types, (column.null_count for column in batch.columns), strict=True))
            yield Part(batch.num_rows, types, {name: batch.num_rows - count for name, count in nulls.items()})
