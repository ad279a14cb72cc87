"""The columns of a Parquet file, from its footer: a Thrift struct in the compact protocol.

The fields are those of FileMetaData, RowGroup and ColumnMetaData (https://github.com/apache/parquet-format,
parquet.thrift).
"""

from __future__ import annotations

from collections.abc import Iterator
from io import SEEK_END, BytesIO
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

import pyarrow.parquet as pq

from pairkit.errors import InputError
from pairkit.readers.unpacked.thrift import read_struct

TYPES = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
LENGTH = Struct("<I")


class Column(NamedTuple):
    """A column of a row group: where its pages begin, how many bytes they have, and how many values.

    `nulls` is None where the writer did not count them.
    """

    path: str
    kind: str
    codec: int
    values: int
    start: int
    size: int
    nulls: int | None


def columns_of(file: pq.ParquetFile, raw: BinaryIO, path: Path) -> list[list[Column]]:
    """Return the columns of each row group. Raises `InputError` for a footer that is damaged.

    Not from pyarrow's metadata, which ends the process for a codec, a type or a histogram that it does not
    expect.
    """
    raw.seek(-8, SEEK_END)
    (length,) = LENGTH.unpack(raw.read(4))
    raw.seek(-8 - length, SEEK_END)
    leaves = [file.schema.column(leaf) for leaf in range(len(file.schema))]
    try:
        footer = read_struct(BytesIO(raw.read(length)))
        groups = [[_column(leaf, about[3]) for leaf, about in _paired(leaves, group)] for group in footer[4]]
    except (EOFError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: the Parquet file is damaged: its footer has no columns") from error
    return groups


def _paired(leaves: list[pq.ColumnSchema], group: dict[int, Any]) -> Iterator[tuple[pq.ColumnSchema, Any]]:
    return zip(leaves, group[1], strict=True)


def _column(leaf: pq.ColumnSchema, about: dict[int, Any]) -> Column:
    if TYPES[about[1]] != leaf.physical_type:
        raise ValueError("another type than in the schema")
    starts = [about[9], about.get(11) or about[9]]
    nulls = about.get(12, {}).get(3)
    check_sizes((about[4], about[5], *starts, about[7], nulls or 0))
    return Column(leaf.path, TYPES[about[1]], about[4], about[5], min(starts), about[7], nulls)


def check_sizes(sizes: tuple[Any, ...]) -> None:
    """Raise `TypeError` for what is no number, as a damaged header may have it, `ValueError` below zero."""
    if min(sizes) < 0:
        raise ValueError("a negative size")
