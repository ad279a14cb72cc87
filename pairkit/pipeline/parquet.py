"""Parquet as pairkit publishes it: settings that give the same bytes for the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# Free text and ids hardly repeat: a dictionary of them costs time and is thrown away when it is full.
_NO_DICTIONARY = frozenset({"text", "content", "metadata", "set_id", "prompt_id", "detail", "row"})


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer of zstd Parquet."""
    dictionary = [leaf for leaf in leaves(schema) if leaf.rsplit(".", 1)[-1] not in _NO_DICTIONARY]
    return pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=dictionary, write_statistics=False
    )


def leaves(schema: pa.Schema) -> list[str]:
    """The dotted paths of a schema's leaf columns, as Parquet names them."""
    return [path for field in schema for path in _leaves(field.type, field.name)]


def _leaves(kind: pa.DataType, path: str) -> Iterator[str]:
    if pa.types.is_list(kind):
        yield from _leaves(kind.value_type, f"{path}.list.element")
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(field.type, f"{path}.{field.name}")
    else:
        yield path
